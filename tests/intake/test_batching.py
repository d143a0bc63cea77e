"""A batch from what requests bring, and each request's part of the answer: pure, without a store."""

import asyncio

from gateway.intake.batching import Work, answer, batch_of
from gateway.intake.notes import Doubt
from gateway.store.log import Batch, KeptRequest
from tests.store.partition import event, kept


def work(*names: str, count: tuple[str, str] | None = None, quarantined: KeptRequest | None = None) -> Work:
    """A request with these events. Call it while a loop runs."""
    return Work([event(name) for name in names], count, quarantined, 0, 0.0, asyncio.get_running_loop().create_future())


def test_a_batch_has_what_its_requests_bring_and_what_goes_along() -> None:
    """Events in order, requests counted with what was noted, and what came with none of them beside it."""

    async def check() -> None:
        noted = {("s", "rejected"): 2, ("s", "accepted"): 5}
        works = [
            work("a", "b", count=("s", "accepted")),
            work("c"),  # counted in the partition of its first event
            work(count=("s", "quarantined"), quarantined=kept(b"q")),
            work("d", count=("s", "accepted")),
        ]
        doubt = Doubt("c", 7, {("s", "rejected"): 3, ("t", "rejected"): 1})
        batch = batch_of(works, noted, doubt, [kept(b"r")])
        assert batch == Batch(
            events=[event(name) for name in "abcd"],
            counts=[("s", "rejected", 2), ("s", "accepted", 7), ("s", "quarantined", 1)],
            quarantined=[kept(b"q")],
            rejected=[kept(b"r")],
            doubtful=[("s", "rejected", 3), ("t", "rejected", 1)],
            doubtful_number=7,
        )
        assert noted == {("s", "rejected"): 2, ("s", "accepted"): 5}, "they go again alone where the batch fails"
        assert batch_of(works[:1], {}, None, []) == Batch([event("a"), event("b")], [("s", "accepted", 1)], [], [])

    asyncio.run(check())


def test_each_request_gets_the_numbers_of_its_own_events() -> None:
    """Also behind one without events, and behind one whose provider hung up."""

    async def check() -> None:
        works = [work("a", "b"), work(), work("c"), work("d", "e")]
        works[2].done.cancel()
        answer(works, [4, 0, 5, 6, -1])
        assert [each.done.cancelled() or each.done.result() for each in works] == [[4, 0], [], True, [6, -1]]

    asyncio.run(check())
