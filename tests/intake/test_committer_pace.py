"""When a committer goes and for whom it gives up: by a clock of the test's, so that no machine is too slow for it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from gateway.errors import BatchRefused, StoreUnavailable
from gateway.intake import committer as committer_module
from gateway.intake.committer import Committer
from gateway.store.layout import Keys
from gateway.store.log import Batch, PartitionLog
from tests.store.partition import SOURCE, Partition, event
from tests.support.stores import StoreServer

PATIENCE_S = 5.0


class Room:
    """A committer on a real partition. ``before`` is called before each of its batches goes, and may refuse it."""

    def __init__(self, log: PartitionLog, partition: Partition) -> None:
        self.now_s = 1e9
        self.partition = partition
        self.sizes: list[int] = []
        self.before: Callable[[], None] = lambda: None
        self.committer = Committer(log, monotonic=lambda: self.now_s)
        self._number = 0
        commit = log.commit

        async def watched(number: int, batch: Batch, *, committer: str | None = None) -> list[int]:
            self.sizes.append(len(batch.events))
            self.before()
            return await commit(number, batch, committer=committer)

        log.commit = watched  # type: ignore[method-assign]  # it looks, and may refuse

    def submit(self, events: int = 1) -> "asyncio.Future[list[int]]":
        """A request with so many new events."""
        self._number += 1
        return self.committer.submit(
            [event(f"{self._number}-{each}") for each in range(events)], count=(SOURCE, "accepted")
        )

    async def all_of(self, *futures: "asyncio.Future[list[int]]") -> None:
        """They are committed."""
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*futures)


@asynccontextmanager
async def room(server: StoreServer) -> AsyncIterator[Room]:
    """A started committer, ended whatever it waits for."""
    async with server.store() as store:
        log = PartitionLog(store, Keys("0"))
        made = Room(log, Partition(store))
        made.committer.start()
        task = made.committer._task
        assert task is not None
        try:
            yield made
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def turns() -> None:
    """The loop turns a few times: what can go without waiting for a clock has gone."""
    for _ in range(20):
        await asyncio.sleep(0)


def refuse() -> None:
    """The store is away."""
    raise StoreUnavailable("it is away")


def test_who_waited_for_half_of_the_patience_is_told_with_the_batch(
    valkey: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They could not wait for another one; who came later gets one of its own."""
    monkeypatch.setattr(committer_module, "GIVE_UP_S", 10.0)

    async def check() -> None:
        async with room(valkey) as made:
            began_s = made.now_s
            behind: list[asyncio.Future[list[int]]] = []

            def away() -> None:
                for after_s in (4.9, 5.0, 5.1):
                    made.now_s = began_s + after_s
                    behind.append(made.submit())
                made.now_s = began_s + 10
                made.before = lambda: None
                refuse()

            made.before = away
            first = made.submit()
            with pytest.raises(StoreUnavailable):
                await first
            await made.all_of(behind[2])
            assert [type(each.exception()) for each in behind] == [StoreUnavailable, StoreUnavailable, type(None)]

    asyncio.run(check())


def test_a_batch_waits_for_a_part_of_the_company_of_the_last(
    valkey: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three quarters of its requests, or a part of its time, whichever is there first; one alone goes at once."""

    async def check() -> None:
        async with room(valkey) as made:

            def take_long() -> None:
                made.now_s += 3_600

            made.before = take_long
            for _ in range(2):
                await made.all_of(made.submit())
            await made.all_of(*[made.submit() for _ in range(8)])
            five = [made.submit() for _ in range(5)]
            await turns()
            assert made.sizes == [1, 1, 8]
            await made.all_of(made.submit(), *five)
            assert made.sizes == [1, 1, 8, 6]

            monkeypatch.setattr(committer_module, "COMPANY_TIME_PART", 1e-6)
            await made.all_of(*[made.submit() for _ in range(8)])
            await made.all_of(made.submit())
            assert made.sizes[4:] == [8, 1]

    asyncio.run(check())


def test_after_a_refusal_it_pauses(valkey: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is away is not asked as fast as the loop can."""
    monkeypatch.setattr(committer_module, "RETRY_PAUSE_S", 3_600.0)

    async def check() -> None:
        async with room(valkey) as made:
            made.before = refuse
            with pytest.raises(StoreUnavailable):
                await made.submit()
            made.submit()
            await turns()
            assert made.sizes == [1]

    asyncio.run(check())


def test_a_batch_is_tried_again_after_a_pause_while_there_is_time_for_one(
    valkey: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at once; and where the pause would take all that is left, it is given up without it."""
    monkeypatch.setattr(committer_module, "RETRY_PAUSE_S", 3_600.0)
    monkeypatch.setattr(committer_module, "GIVE_UP_S", 7_200.0)

    async def check() -> None:
        async with room(valkey) as made:
            made.before = refuse
            made.submit()
            await turns()
            assert made.sizes == [1]
        async with room(valkey) as made:

            def away() -> None:
                made.now_s += 3_600
                refuse()

            made.before = away
            with pytest.raises(StoreUnavailable):
                await made.all_of(made.submit())
            assert made.sizes == [1]

    asyncio.run(check())


def test_counts_that_were_refused_go_again_by_themselves(valkey: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without anybody's request to take them along."""
    monkeypatch.setattr(committer_module, "GIVE_UP_S", 0.0)
    monkeypatch.setattr(committer_module, "NOTES_AGAIN_S", 0.001)

    async def check() -> None:
        async with room(valkey) as made:

            def away() -> None:
                if len(made.sizes) < 3:
                    refuse()

            made.before = away
            made.committer.note(SOURCE, "rejected")
            async with asyncio.timeout(PATIENCE_S):
                while (await made.partition.ledger()).requests.rejected < 1:
                    await asyncio.sleep(0.002)
            assert made.sizes[:3] == [0, 0, 0]

    asyncio.run(check())


def test_counts_alone_may_go_to_the_spool_in_their_time_or_at_a_stop(valkey: StoreServer) -> None:
    """Not without counts, and not sooner than so often."""

    async def check() -> None:
        async with room(valkey) as made:
            may, began_s = made.committer._may_spool_notes, made.now_s
            assert not may()
            made.committer.note(SOURCE, "rejected")
            assert [may(), may()] == [True, False]
            made.now_s = began_s + committer_module.NOTES_SPOOLED_S - 0.001
            assert not may()
            made.now_s = began_s + committer_module.NOTES_SPOOLED_S
            assert [may(), may()] == [True, False]
            made.committer._closing = True
            assert [may(), may()] == [True, True]

    asyncio.run(check())


def test_who_came_meanwhile_goes_when_the_company_is_enough_for_the_next_batch(valkey: StoreServer) -> None:
    """It was not for the last: what counts is how many that one had, and not what was expected when they came."""

    async def check() -> None:
        async with room(valkey) as made:
            meanwhile: list[asyncio.Future[list[int]]] = []

            def take_long() -> None:
                made.now_s += 3_600
                if len(made.sizes) == 2:
                    meanwhile.extend(made.submit() for _ in range(4))

            made.before = take_long
            await made.all_of(*[made.submit() for _ in range(8)])
            await made.all_of(*[made.submit() for _ in range(6)])
            await made.all_of(*meanwhile)
            assert made.sizes == [8, 6, 4]

    asyncio.run(check())


def test_what_did_not_fit_into_a_batch_waits_for_no_company(valkey: StoreServer) -> None:
    """It goes with the next, though that one has fewer requests than the one before."""

    async def check() -> None:
        async with room(valkey) as made:
            await made.all_of(*[made.submit() for _ in range(6)], made.submit(committer_module.MAX_BATCH_EVENTS))
            assert made.sizes == [6, committer_module.MAX_BATCH_EVENTS]

    asyncio.run(check())


def test_the_halves_of_a_refused_batch_go_before_what_came_meanwhile(valkey: StoreServer) -> None:
    """Then that goes at once: it has waited enough, with company or without."""

    async def check() -> None:
        async with room(valkey) as made:
            meanwhile: list[asyncio.Future[list[int]]] = []

            def refuse_the_second() -> None:
                made.now_s += 3_600
                if len(made.sizes) == 2:
                    meanwhile.append(made.submit())
                    raise BatchRefused("EVENT")

            made.before = refuse_the_second
            await made.all_of(*[made.submit() for _ in range(8)])
            await made.all_of(*[made.submit() for _ in range(6)])
            await made.all_of(*meanwhile)
            assert made.sizes == [8, 6, 3, 3, 1]

    asyncio.run(check())


def test_a_stop_waits_for_both_halves(valkey: StoreServer) -> None:
    """Nobody who shared a refused batch is left without an answer."""

    async def check() -> None:
        async with room(valkey) as made:

            def refuse_the_first() -> None:
                if len(made.sizes) == 1:
                    raise BatchRefused("EVENT")

            made.before = refuse_the_first
            waiting = [made.submit() for _ in range(4)]
            async with asyncio.timeout(PATIENCE_S):
                await made.committer.close()
            assert [each.result() for each in waiting] == [[1], [2], [3], [4]]
            assert made.sizes == [4, 2, 2]

    asyncio.run(check())
