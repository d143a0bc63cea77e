"""Group commit: requests share batches within bounds, each is answered, and a lost reply costs and doubles nothing."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import pytest

from gateway.errors import BatchRefused, IntakeFull, StoreUnavailable
from gateway.intake import committer as committer_module
from gateway.intake import notes as notes_module
from gateway.intake.committer import MAX_BATCH_BYTES, MAX_BATCH_EVENTS, Committer
from gateway.store.layout import Keys
from gateway.store.log import Batch, PartitionLog
from gateway.store.quarantine import KeptRequests
from tests.store.partition import SOURCE, Partition, event, kept
from tests.support.proxy import Proxy, proxied
from tests.support.stores import StoreServer

ACCEPTED = (SOURCE, "accepted")


class Room:
    """A committer on a real partition behind a proxy, the batches it made, and a way to the store past the proxy."""

    def __init__(self, partition: Partition, log: PartitionLog, proxy: Proxy, committer: Committer) -> None:
        self.partition = partition
        self.proxy = proxy
        self.committer = committer
        self.batches: list[Batch] = []
        commit = log.commit

        async def watched(number: int, batch: Batch, *, committer: str | None = None) -> list[int]:
            self.batches.append(batch)
            return await commit(number, batch, committer=committer)

        log.commit = watched  # type: ignore[method-assign]  # it looks, and changes nothing

    def submit(self, *names: str, pad_bytes: int = 0) -> "asyncio.Future[list[int]]":
        """One request with these events."""
        return self.committer.submit([event(name, pad_bytes=pad_bytes) for name in names], count=ACCEPTED)

    async def accepted(self) -> int:
        """Requests counted as accepted."""
        return (await self.partition.ledger()).requests.accepted


@asynccontextmanager
async def room(server: StoreServer, *, max_queue_bytes: int = 1 << 26) -> AsyncIterator[Room]:
    """A started committer, closed at the end."""
    async with proxied(server.socket) as proxy, server.store(url=proxy.url) as store, server.store() as direct:
        log = PartitionLog(store, Keys("0"))
        committer = Committer(log, monotonic=time.monotonic, max_queue_bytes=max_queue_bytes)
        made = Room(Partition(direct), log, proxy, committer)
        committer.start()
        try:
            yield made
        finally:
            proxy.passing.set()
            await committer.close()


def test_requests_that_wait_share_a_batch(valkey: StoreServer) -> None:
    """While one batch is on its way the next requests gather; each is answered with its own events' numbers."""

    async def check() -> None:
        async with room(valkey) as made:
            made.proxy.passing.clear()
            first = made.submit("a")
            async with asyncio.timeout(5):
                while not made.proxy.scripts:
                    await asyncio.sleep(0)
            rest = [made.submit(f"{number}", f"{number}x", "a") for number in range(20)]
            made.proxy.passing.set()
            assert await first == [1]
            assert await asyncio.gather(*rest) == [[2 * number + 2, 2 * number + 3, 0] for number in range(20)]
            assert [len(batch.events) for batch in made.batches] == [1, 60]
            assert made.batches[1].counts == [(SOURCE, "accepted", 20)]
            assert await made.accepted() == 21

    asyncio.run(check())


def test_batches_are_bounded_and_requests_never_split(valkey: StoreServer) -> None:
    """At most so many events and bytes a batch; a request that is larger than that travels alone and whole."""

    async def check() -> None:
        async with room(valkey) as made:
            sizes = [1, MAX_BATCH_EVENTS - 1, 1, MAX_BATCH_EVENTS + 50, 3, 200, 57]
            waiting = [made.submit(*[f"{at}-{number}" for number in range(size)]) for at, size in enumerate(sizes)]
            await asyncio.gather(*waiting)
            assert [len(batch.events) for batch in made.batches] == [256, 1, 306, 203, 57]
            made.batches.clear()
            large = MAX_BATCH_BYTES // 2 - 1_000
            waiting = [made.submit(f"l{at}", pad_bytes=pad) for at, pad in enumerate((large, large, 10, 3 * large, 10))]
            await asyncio.gather(*waiting)
            assert [len(batch.events) for batch in made.batches] == [3, 1, 1]
            assert (await made.partition.ledger()).unaccounted == 0

    asyncio.run(check())


def test_a_lost_reply_is_asked_for_again_and_counts_once(valkey: StoreServer) -> None:
    """The store has logged the batch, but the connection broke: events are ``logged``, not duplicates, and counted
    once, as are requests, quarantined and rejected ones."""

    async def check() -> None:
        async with room(valkey) as made:
            await made.submit("warm")
            passed, made.proxy.lose_replies = made.proxy.scripts, 3
            made.committer.note(SOURCE, "rejected", kept(b"r"), number=2)
            quarantined = made.committer.submit([], count=(SOURCE, "quarantined"), quarantined=kept(b"q"))
            answers = await asyncio.gather(made.submit("a", "b"), made.submit("b"), quarantined)
            assert list(answers) == [[2, 3], [0], []]
            assert made.proxy.scripts == passed + 4
            ledger = await made.partition.ledger()
            assert (ledger.events.logged, ledger.events.duplicate, ledger.unaccounted) == (3, 1, 0)
            requests = ledger.requests
            assert (requests.accepted, requests.quarantined, requests.rejected) == (3, 1, 2)
            for shelf in ("quarantine", "rejected"):
                assert len(await KeptRequests(made.partition.store, made.partition.keys, shelf).list(None, 9)) == 1

    asyncio.run(check())


@pytest.mark.parametrize(
    ("ill", "sizes"),
    [(13, [1, 40, 20, 20, 10, 4, 6, 2, 4, 2, 2, 10]), (0, [1, 40, 20, 10, 4, 2, 2, 6, 10, 20])],
    ids=["inside", "first"],
)
def test_of_a_batch_that_the_store_never_takes_only_the_request_at_fault_is_refused(
    valkey: StoreServer, ill: int, sizes: list[int]
) -> None:
    """What shared its batch is in, in order, and answered as such; each request is counted once, noted ones too."""

    async def check() -> None:
        async with room(valkey) as made:
            await made.submit("warm")
            requests = [[event(f"{number}"), event(f"{number}x")] for number in range(20)]
            requests[ill][1] = event("ill", seen_ttl_s=1 << 60)
            made.committer._expected = len(requests)
            made.committer.note(SOURCE, "rejected", number=2)
            waiting = [made.committer.submit(events, count=ACCEPTED) for events in requests]
            answers = await asyncio.gather(*waiting, return_exceptions=True)
            assert [len(each.events) for each in made.batches] == sizes
            refused = [number for number, each in enumerate(answers) if not isinstance(each, list)]
            assert refused == [ill]
            assert "EVENT" in str(answers[ill])
            await made.submit("after")
            names = await made.partition.names()
            wanted = [name for number in range(20) for name in (f"{number}", f"{number}x") if name != f"{ill}x"]
            assert names == ["warm", *wanted, "after"]
            ledger = await made.partition.ledger()
            assert (ledger.requests.accepted, ledger.requests.rejected, ledger.unaccounted) == (21, 2, 0)

    asyncio.run(check())


def test_where_the_store_goes_away_meanwhile_nobody_waits_for_one_half_after_another(
    valkey: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that shared the refused batch are told with the first of its parts."""
    monkeypatch.setattr(committer_module, "GIVE_UP_S", 0.2)
    tried: set[int] = set()

    async def commit(_log: PartitionLog, _number: int, batch: Batch, **_: object) -> list[int]:
        tried.add(len(batch.events))
        raise BatchRefused("EVENT") if len(batch.events) == 10 else StoreUnavailable("gone")

    async def check() -> None:
        async with room(valkey) as made:
            monkeypatch.setattr(made.committer._log, "commit", partial(commit, made.committer._log))
            made.committer._expected = 8
            answers = await asyncio.gather(
                *[made.submit(*[f"{size}-{each}" for each in range(size)]) for size in (1, 1, 1, 1, 0, 2, 2, 2)],
                return_exceptions=True,
            )
            assert [str(each) for each in answers] == ["gone"] * 8
            assert tried == {10, 4}, "and not the half of six"
            monkeypatch.undo()
            assert await made.submit("a") == [1]

    asyncio.run(check())


def test_a_store_that_is_away_for_long_is_given_up(valkey: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Providers do not wait for ever: they are told to come again; and when the store is back so are we."""
    monkeypatch.setattr(committer_module, "GIVE_UP_S", 0.2)

    async def check() -> None:
        async with room(valkey) as made:
            await made.submit("a")
            made.proxy.refuse = True
            made.proxy.cut()
            started_s = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await made.submit("b")
            assert time.monotonic() - started_s < 2
            made.committer.note(SOURCE, "rejected")  # what nobody waits for is not forgotten
            with pytest.raises(StoreUnavailable):
                await made.submit("c")
            made.proxy.refuse = False
            assert await made.submit("b") == [2]
            assert (await made.partition.ledger()).requests.rejected == 1
            assert await made.accepted() == 2

    asyncio.run(check())


def test_nobody_waits_for_one_batch_after_another(valkey: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the store does not answer, those behind the first batch are told with it, not each batch in its turn.

    Story: with 700 connections and a store that hung, providers that wait 5 s were answered 503 after 8 s."""
    monkeypatch.setattr(committer_module, "GIVE_UP_S", 0.5)

    async def check() -> None:
        async with room(valkey) as made:
            await made.submit("warm")
            made.proxy.passing.clear()
            started_s = time.monotonic()
            waiting = [made.submit(f"{number}") for number in range(8 * MAX_BATCH_EVENTS)]
            answers = await asyncio.gather(*waiting, return_exceptions=True)
            assert {type(answer) for answer in answers} == {StoreUnavailable}
            assert time.monotonic() - started_s < 3  # in turn it would be eight times 0.5 s
            assert made.committer.queue_bytes == 0
            made.proxy.passing.set()
            assert await asyncio.gather(*[made.submit(f"a{number}") for number in range(3)])
            assert (await made.partition.ledger()).unaccounted == 0

    asyncio.run(check())


def test_those_who_have_just_come_wait_for_the_next_batch(valkey: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is answered to those it kept waiting; who came at its end gets a try of its own."""
    monkeypatch.setattr(committer_module, "GIVE_UP_S", 0.5)

    async def check() -> None:
        async with room(valkey) as made:
            await made.submit("warm")
            made.proxy.passing.clear()
            first = made.submit("first")
            await asyncio.sleep(0.4)
            second = made.submit("second")
            with pytest.raises(StoreUnavailable):
                await first
            made.proxy.passing.set()
            assert len(await second) == 1

    asyncio.run(check())


def test_a_reply_that_comes_too_late_answers_nobody_else(valkey: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that was given up may be in the log: the retry is then a duplicate, and no later batch is told its
    numbers."""
    monkeypatch.setattr(committer_module, "GIVE_UP_S", 0.1)

    async def check() -> None:
        async with room(valkey) as made:
            await made.submit("a")
            made.proxy.passing.clear()
            with pytest.raises(StoreUnavailable, match=r"within 0\.1 s"):
                await made.submit("b", "c", "d")
            made.proxy.passing.set()
            assert await made.submit("e") == [5]
            assert await made.submit("b", "c", "f") == [0, 0, 6]
            ledger = await made.partition.ledger()
            assert (ledger.events.logged, ledger.unaccounted) == (6, 0)

    asyncio.run(check())


def test_whatever_goes_wrong_nobody_is_left_waiting(valkey: StoreServer) -> None:
    """A defect in the batch is an answer too, for the request that has it; the others, and the next, are committed.

    Story: the script ended in the middle, after an entry and before its number was written down, and then the log
    refused every batch there ever was."""

    async def check() -> None:
        async with room(valkey) as made:
            broken = msgspec.structs.replace(event("b"), seen_ttl_s=-1)  # the server refuses the script in the middle
            waiting = [made.submit("a"), made.committer.submit([broken], count=ACCEPTED), made.submit("c")]
            answers = await asyncio.gather(*waiting, return_exceptions=True)
            assert isinstance(answers.pop(1), StoreUnavailable)
            assert answers == [[0], [2]]  # a was in before the defect
            assert list(await asyncio.gather(made.submit("a"), made.submit("d"))) == [[0], [3]]
            ledger = await made.partition.ledger()
            assert (ledger.events.produced, ledger.events.logged, ledger.unaccounted) == (5, 3, 0)

    asyncio.run(check())


def test_the_queue_is_bounded_in_bytes(valkey: StoreServer) -> None:
    """What has no room is refused at once, before memory runs out; what leaves makes room again."""

    async def check() -> None:
        async with room(valkey, max_queue_bytes=10_000) as made:
            made.proxy.passing.clear()
            waiting = [made.submit("first")]
            async with asyncio.timeout(5):
                while not made.proxy.scripts:
                    await asyncio.sleep(0)
            while True:
                try:
                    waiting.append(made.submit(f"{len(waiting)}", pad_bytes=900))
                except IntakeFull:
                    break
            assert 4_000 < made.committer.queue_bytes <= 5_000  # the other half is for other sources
            with pytest.raises(IntakeFull):
                made.committer.submit([], count=(SOURCE, "quarantined"), quarantined=kept(b"x" * 2_000))
            made.proxy.passing.set()
            await asyncio.gather(*waiting)
            assert made.committer.queue_bytes == 0
            await made.submit("last", pad_bytes=900)
            assert await made.accepted() == len(waiting) + 1

    asyncio.run(check())


def test_a_provider_that_hangs_up_changes_nothing_for_the_others(valkey: StoreServer) -> None:
    """Its event is logged all the same: it was sent, and its retry will be a duplicate."""

    async def check() -> None:
        async with room(valkey) as made:

            async def ask(name: str) -> list[int]:
                return await made.submit(name)

            made.proxy.passing.clear()
            tasks = [asyncio.create_task(ask(name)) for name in "abc"]
            async with asyncio.timeout(5):
                while not made.proxy.scripts:
                    await asyncio.sleep(0)
            tasks[1].cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await tasks[1]
            made.proxy.passing.set()
            assert [await tasks[0], await tasks[2]] == [[1], [3]]
            assert await made.submit("b") == [0]

    asyncio.run(check())


def test_a_part_of_a_request_that_is_counted_elsewhere_travels_too(valkey: StoreServer) -> None:
    """Its events are logged here; the request is in the account of another partition."""

    async def check() -> None:
        async with room(valkey) as made:
            assert await made.committer.submit([event("a")], count=None) == [1]
            assert made.batches[0].counts == []
            assert await made.accepted() == 0

    asyncio.run(check())


def test_counts_alone_travel_too(valkey: StoreServer) -> None:
    """Rejected requests are counted soon, also when nothing else comes; of their bytes only so many wait."""

    async def check() -> None:
        async with room(valkey) as made:
            for number in range(200):
                made.committer.note(SOURCE, "rejected", kept(b"%d" % number))
            async with asyncio.timeout(5):
                while (await made.partition.ledger()).requests.rejected != 200:
                    await asyncio.sleep(0.005)
            assert len(made.batches) == 1
            assert len(made.batches[0].rejected) == notes_module.MAX_BODIES

    asyncio.run(check())


def test_of_rejected_bodies_only_so_many_bytes_wait(valkey: StoreServer) -> None:
    """Of large ones a few; one that is larger than all may be has the place alone."""

    async def check() -> None:
        most = notes_module.MAX_BODIES_BYTES
        for size_bytes, number in ((most // 4, 4), (most + 1, 1)):
            async with room(valkey) as made:
                for _ in range(10):
                    made.committer.note(SOURCE, "rejected", kept(b"r" * size_bytes))
                async with asyncio.timeout(5):
                    while not made.batches:
                        await asyncio.sleep(0.005)
                assert len(made.batches[0].rejected) == number
                assert made.batches[0].counts == [(SOURCE, "rejected", 10)]

    asyncio.run(check())


def test_counts_alone_travel_again_and_again(valkey: StoreServer) -> None:
    """Each time without anybody's request to take them along."""

    async def check() -> None:
        async with room(valkey) as made:
            for rejected in (1, 2, 3):
                made.committer.note(SOURCE, "rejected")
                async with asyncio.timeout(5):
                    while (await made.partition.ledger()).requests.rejected < rejected:
                        await asyncio.sleep(0.005)

    asyncio.run(check())


def test_closing_commits_what_is_queued(valkey: StoreServer) -> None:
    """After a stop nothing that was promised is missing, and nothing new is taken in."""

    async def check() -> None:
        async with room(valkey) as made:
            waiting = [made.submit(f"{number}") for number in range(600)]
            made.committer.note(SOURCE, "rejected")
            await made.committer.close()
            assert [await each for each in waiting] == [[number] for number in range(1, 601)]
            assert len(made.batches) == 3
            assert (await made.partition.ledger()).requests.rejected == 1
            with pytest.raises(IntakeFull):
                made.submit("late")

    asyncio.run(check())


def test_closing_without_a_store_ends(valkey: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits is told, and the stop does not wait for a store that is away."""
    monkeypatch.setattr(committer_module, "GIVE_UP_S", 0.1)

    async def check() -> None:
        async with room(valkey) as made:
            made.proxy.refuse = True
            made.proxy.cut()
            waiting = made.submit("a")
            made.committer.note(SOURCE, "rejected")
            async with asyncio.timeout(5):
                await made.committer.close()
            with pytest.raises(StoreUnavailable):
                await waiting

    asyncio.run(check())


def test_many_requests_at_once(valkey: StoreServer) -> None:
    """A thousand requests, some of them copies, over connections that keep breaking: every one answered truly."""

    async def check() -> None:
        async with room(valkey) as made:

            async def ask(number: int) -> tuple[int, list[int]]:
                return number, await made.submit(f"{number}", f"{number // 2}")

            async def disturb() -> None:
                while True:
                    await asyncio.sleep(0.02)
                    made.proxy.cut()

            disturbing = asyncio.create_task(disturb())
            answers = []
            for start in range(0, 1_000, 100):
                answers += await asyncio.gather(*[ask(number) for number in range(start, start + 100)])
            disturbing.cancel()
            names = await made.partition.names()
            assert len(names) == len(set(names)) == 1_000
            logged = [seq for _, sequence in answers for seq in sequence if seq]
            assert sorted(logged) == list(range(1, 1_001))  # each entry was reported as logged to exactly one request
            for number, sequence in answers:
                for seq, name in zip(sequence, (f"{number}", f"{number // 2}"), strict=True):
                    assert not seq or names[seq - 1] == name
            ledger = await made.partition.ledger()
            assert (ledger.requests.accepted, ledger.events.produced, ledger.unaccounted) == (1_000, 2_000, 0)

    asyncio.run(check())
