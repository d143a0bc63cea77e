"""The settler of one lane on a real store: what is settled together, in which order, once, and when it ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from gateway.delivery import settling
from gateway.delivery.parcel import Delivery, Slot
from gateway.delivery.settling import SETTLE_CHANGES, Settler
from gateway.delivery.window import Window
from gateway.errors import LeaseLost, StoreUnavailable
from gateway.store.firsts import First, unpack
from gateway.store.log import Entry
from gateway.store.parked import Change
from tests.store.partition import NOW_MS, Partition, Subscriber, event, hash_of, park
from tests.support.proxy import Proxy, proxied
from tests.support.stores import StoreServer

PATIENCE_S = 5.0


class Lane:
    """A settler with its window, and what it told."""

    def __init__(self, subscriber: Subscriber, other: Subscriber, proxy: Proxy) -> None:
        """``other`` is the same subscriber, past the proxy."""
        self.subscriber = other
        self.proxy = proxy
        self.window = Window(0)
        self.told: list[tuple[list[Change], list[Change], list[str]]] = []
        self.room = 0
        self.stopped = asyncio.Event()
        self.is_last = True
        self.asked = 0
        self.settler = Settler(
            subscriber.store,
            self.window,
            epoch=subscriber.epoch,
            cursor=0,
            wall_ms=lambda: NOW_MS,
            taken_out=self._taken_out,
            settled=self._settled,
        )

    def ask_last(self) -> bool:
        """Whether nothing more will come."""
        self.asked += 1
        return self.is_last

    def _taken_out(self) -> None:
        self.room += 1

    async def _settled(self, passed: list[Change], of_parked: list[Change], freed: list[str]) -> None:
        self.told.append((passed, of_parked, freed))

    def take_in(self, *seqs: int) -> list[Slot]:
        """Events the subscriber wants, with nothing between them."""
        wanted = [(at, Delivery(Entry(seq, b"{}", b""), f"evt_{seq}", "t", "")) for at, seq in enumerate(seqs)]
        return self.window.take_in(seqs[-1], len(seqs), wanted)

    async def finish(self) -> None:
        """Settle what is there, and end."""
        self.stopped.set()
        self.settler.stir()
        async with asyncio.timeout(PATIENCE_S):
            await self.settler.run(stopped=self.stopped, is_last=self.ask_last)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The settler runs meanwhile."""
        task = asyncio.create_task(self.settler.run(stopped=self.stopped, is_last=self.ask_last))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for a condition."""
        async with asyncio.timeout(PATIENCE_S):
            while not true():
                await asyncio.sleep(0.002)


def with_lane(server: StoreServer, number: int, check: Callable[[Lane], Awaitable[None]]) -> None:
    """Run a check on a lane of a log with so many events."""

    async def run() -> None:
        async with proxied(server.socket) as proxy, server.store(url=proxy.url) as store, server.store() as direct:
            partition = Partition(direct)
            await partition.commit(*[event(f"{each}") for each in range(1, number + 1)])
            other = await partition.subscriber()
            await check(Lane(Subscriber(Partition(store), "crm", other.epoch), other, proxy))

    asyncio.run(run())


def test_outcomes_that_come_together_are_settled_together(server: StoreServer) -> None:
    """One step of the store for what was resolved in the same moment; the counts are right and the lane is told."""

    async def check(lane: Lane) -> None:
        first, second, third = lane.take_in(1, 2, 3)
        async with lane.running():
            lane.settler.resolve(first, None)
            lane.settler.resolve(second, park(2))
            lane.settler.resolve(third, None)
            await lane.until(lambda: bool(lane.told))
            assert (lane.told, lane.room) == ([([park(2)], [], [])], 1)
            assert (lane.settler.cursor, lane.proxy.scripts) == (3, 1)
        line = await lane.subscriber.line()
        assert (line["delivered"], line["pending"], line["unaccounted"]) == (2, 1, 0)

    with_lane(server, 3, check)


def test_what_became_of_parked_events_follows_what_the_cursor_passes(server: StoreServer) -> None:
    """An event is parked before it is done, in the same settle, though it was said the other way round."""

    async def check(lane: Lane) -> None:
        (slot,) = lane.take_in(1)
        done = Change("done", 1, hash_of("k"))
        lane.settler.add(done)
        lane.settler.resolve(slot, park(1, key=hash_of("k")))
        await lane.finish()
        assert lane.told == [([park(1, key=hash_of("k"))], [done], [hash_of("k")])]
        assert lane.settler.changes == []
        line = await lane.subscriber.line()
        assert (line["delivered"], line["pending"]) == (1, 0)

    with_lane(server, 1, check)


def test_many_changes_take_several_settles(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store does nothing else during one, so one is bounded; the next follows by itself, in order."""
    monkeypatch.setattr(settling, "SETTLE_CHANGES", 3)
    assert SETTLE_CHANGES > 3

    async def check(lane: Lane) -> None:
        await lane.subscriber.settle(7, *[park(seq) for seq in range(1, 8)])
        lane.settler.cursor = lane.window.read_seq = 7
        async with lane.running():
            lane.settler.add(*[Change("done", seq) for seq in range(1, 8)])
            await lane.until(lambda: len(lane.told) == 3)
        assert [[change.seq for change in of_parked] for _, of_parked, _ in lane.told] == [[1, 2, 3], [4, 5, 6], [7]]
        line = await lane.subscriber.line()
        assert (line["delivered"], line["pending"]) == (7, 0)

    with_lane(server, 7, check)


def test_a_lost_reply_is_asked_for_again_and_counts_once(server: StoreServer) -> None:
    """The cursor is where the settle left it, and the next settle goes on from there with a number of its own.

    How it was delivered is kept once, too.
    """

    async def check(lane: Lane) -> None:
        first, second = lane.take_in(1, 2)
        lane.proxy.lose_replies = 2
        async with lane.running():
            attempt = First(1, NOW_MS, 12, 204)
            lane.settler.resolve(first, None, attempt)
            await lane.until(lambda: lane.settler.cursor == 1)
            assert lane.proxy.scripts == 3
            kept = await lane.subscriber.partition.store.call("XRANGE", lane.subscriber.keys.firsts, "-", "+")
            assert [unpack(record) for _, (_, record) in kept] == [[attempt]]
            lane.settler.resolve(second, None)
            await lane.until(lambda: lane.settler.cursor == 2)
        line = await lane.subscriber.line()
        assert (line["delivered"], line["pending"], line["unaccounted"]) == (2, 0, 0)

    with_lane(server, 2, check)


def test_a_store_that_does_not_answer_is_asked_more_and_more_seldom(
    server: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each pause is twice the last, up to the longest, and each is told."""

    async def never(*_: object, **__: object) -> list[str]:
        raise StoreUnavailable("it is away")

    monkeypatch.setattr(settling, "AGAIN_S", 0.001)
    monkeypatch.setattr(settling, "AGAIN_MAX_S", 0.006)
    monkeypatch.setattr(settling, "SETTLE_WAIT_S", 0.0)

    async def check(lane: Lane) -> None:
        monkeypatch.setattr(lane.settler._store, "settle", never)
        lane.settler.resolve(lane.take_in(1)[0], None)
        with capture_logs() as told:
            async with lane.running():
                await lane.until(lambda: len(told) >= 6)
        pauses_s = [entry["again_in_s"] for entry in told if entry["event"] == "delivery.settle"]
        assert pauses_s[:6] == [0.001, 0.002, 0.004, 0.006, 0.006, 0.006]

        monkeypatch.setattr(settling, "AGAIN_S", 3_600.0)
        lane.settler.resolve(lane.take_in(2)[0], None)
        with capture_logs() as told:
            async with lane.running():
                await lane.until(lambda: len(told) > 0)
                for _ in range(10):
                    await asyncio.sleep(0)
        assert len(told) == 1, "it pauses"

    with_lane(server, 2, check)


def test_it_ends_when_it_was_stopped_and_nothing_more_will_come(server: StoreServer) -> None:
    """Not before: somebody may still have an attempt on the wire, whose end is settled as well."""

    async def check(lane: Lane) -> None:
        first, second = lane.take_in(1, 2)
        lane.is_last = False
        run = asyncio.create_task(lane.settler.run(stopped=lane.stopped, is_last=lane.ask_last))
        lane.settler.resolve(first, None)
        await lane.until(lambda: lane.settler.cursor == 1)
        lane.stopped.set()
        lane.settler.stir()
        await lane.until(lambda: lane.asked > 0)
        assert not run.done()
        lane.is_last = True
        lane.settler.resolve(second, None)
        async with asyncio.timeout(PATIENCE_S):
            await run
        assert lane.settler.cursor == 2

    with_lane(server, 2, check)


def test_a_stop_settles_all_that_is_there_first(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what does not fit into one settle."""
    monkeypatch.setattr(settling, "SETTLE_CHANGES", 2)

    async def check(lane: Lane) -> None:
        await lane.subscriber.settle(5, *[park(seq) for seq in range(1, 6)])
        lane.settler.cursor = lane.window.read_seq = 5
        lane.settler.add(*[Change("done", seq) for seq in range(1, 6)])
        await lane.finish()
        assert len(lane.told) == 3
        assert not lane.settler.has_work

    with_lane(server, 5, check)


def test_a_settle_waits_for_others_until_it_is_full_or_the_last(
    server: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events of the window and parked ones fill it together; a stop waits for nothing."""
    monkeypatch.setattr(settling, "SETTLE_EVENTS", 3)
    monkeypatch.setattr(settling, "SETTLE_WAIT_S", 3_600.0)

    async def check(lane: Lane) -> None:
        first, second, third = lane.take_in(1, 2, 3)
        lane.settler.resolve(first, None)
        lane.settler.add(Change("done", 9))
        async with lane.running():
            for _ in range(10):
                await asyncio.sleep(0)
            assert lane.room == 0, "two of three: it waits"
        lane.settler.resolve(second, None)
        async with lane.running():
            await lane.until(lambda: lane.settler.cursor == 2)
        lane.settler.resolve(third, None)
        await lane.finish()
        assert (lane.settler.cursor, lane.room) == (3, 2)

    with_lane(server, 3, check)


def test_with_nothing_to_say_the_store_is_not_asked(server: StoreServer) -> None:
    """A stir alone settles nothing, and neither does an event that waits behind one that is not done."""

    async def check(lane: Lane) -> None:
        _, second = lane.take_in(1, 2)
        assert not lane.settler.has_work
        lane.settler.resolve(second, None)
        assert not lane.settler.has_work
        await lane.finish()
        assert (lane.told, lane.room, lane.proxy.scripts) == ([], 0, 0)

    with_lane(server, 2, check)


def test_what_was_only_filtered_is_settled_when_asked(server: StoreServer) -> None:
    """An idle lane moves its cursor from time to time, and asks the store for nothing once it has."""

    async def check(lane: Lane) -> None:
        lane.window.take_in(2, 2, [])
        async with lane.running():
            lane.settler.stir_if_filtered()
            await lane.until(lambda: lane.settler.cursor == 2)
            lane.settler.stir_if_filtered()
        lane.take_in(3)
        lane.settler.stir_if_filtered()  # one that is wanted will bring the cursor along
        await lane.finish()
        assert (len(lane.told), lane.proxy.scripts) == (1, 1)
        line = await lane.subscriber.line()
        assert (line["filtered"], line["pending"]) == (2, 1)

    with_lane(server, 3, check)


def test_who_has_lost_the_partition_settles_nothing_more(server: StoreServer) -> None:
    """The run ends with it, and nothing is counted."""

    async def check(lane: Lane) -> None:
        (slot,) = lane.take_in(1)
        await lane.subscriber.partition.store.call("HINCRBY", lane.subscriber.partition.keys.state, "epoch", 1)
        lane.settler.resolve(slot, None)
        with pytest.raises(LeaseLost, match="another process"):
            await lane.finish()
        assert (lane.told, lane.settler.cursor) == ([], 0)

    with_lane(server, 1, check)
