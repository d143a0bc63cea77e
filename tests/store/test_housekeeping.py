"""Retention removes what nobody needs any more, and nothing else; the intake stops before the store is full."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway.config import StoreSettings
from gateway.store import housekeeping as housekeeping_module
from gateway.store import log as log_module
from gateway.store.connection import Store
from gateway.store.housekeeping import Housekeeping
from gateway.store.log import received_ms
from gateway.store.parked import Change
from gateway.store.quarantine import KeptRequests
from gateway.store.recount import recount
from tests.store.partition import NOW_MS, Partition, Subscriber, bury, dead, event, hash_of, kept, park
from tests.support.clock import Clock
from tests.support.stores import Kind, StoreServer, running

DAY_MS = 86_400_000


def keeper(
    store: Store,
    *partitions: Partition,
    now_ms: int = NOW_MS,
    monotonic: Callable[[], float] = lambda: 0.0,
    is_configured: Callable[[str], bool] = lambda _: True,
) -> Housekeeping:
    """The housekeeping of these partitions."""
    keys = [each.keys for each in partitions]
    return Housekeeping(store, keys, wall_ms=lambda: now_ms, monotonic=monotonic, is_configured=is_configured)


def keeping(**settings: Any) -> StoreSettings:
    """Settings that keep a day and a lot of bytes, unless said otherwise."""
    return StoreSettings(**{"retention_s": 86_400.0, "retention_bytes": 1 << 30, **settings})


def aged(name: str, days: float, **rest: Any) -> Any:
    """An event received so many days ago."""
    return event(name, received_ms=NOW_MS - int(days * DAY_MS), **rest)


def test_old_entries_go_and_young_ones_stay(server: StoreServer) -> None:
    """Without subscribers age alone decides; the account explains what is gone, and counts bytes truly."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await partition.commit(aged("a", 3), aged("b", 1.1), aged("c", 0.9), aged("d", 0))
            assert await keeper(store, partition).trim(keeping()) == 2
            assert await partition.names() == ["c", "d"]
            account = await partition.account()
            assert (account.trimmed, account.entries, account.holes) == (2, 2, 0)
            entries = await partition.log.read(0, 10)
            assert account.log_bytes == sum(len(each.event_json) + len(each.raw_json) for each in entries)
            assert await keeper(store, partition).trim(keeping()) == 0

    asyncio.run(check())


def test_what_a_subscriber_still_needs_stays(server: StoreServer) -> None:
    """Not read, parked, held and dead events of any subscriber keep their entry, however old; the others go."""
    key = hash_of("chat")

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await partition.commit(*[aged(f"{number}", 9) for number in range(1, 11)])
            crm = await partition.subscriber("crm")
            await crm.settle(8, park(2, key=key), Change("hold", 3, key), dead(5), delivered=5)
            other = Subscriber(partition, "other", crm.epoch)
            other.cursor = (await other.store.subscribe(0, NOW_MS)).seq
            await other.settle(9, park(7), filtered=8)
            assert await keeper(store, partition).trim(keeping()) == 4
            assert await partition.names() == ["2", "3", "5", "7", "9", "10"]
            assert (await partition.ledger()).unaccounted == 0
            # Whoever follows finds its entry; and once all is settled, all goes.
            await crm.settle(10, Change("done", 2, key), delivered=2)
            await crm.settle(None, bury(3, key=key))
            await other.settle(10, Change("done", 7), delivered=1)
            assert await keeper(store, partition).trim(keeping()) == 4
            assert await partition.names() == ["3", "5"]
            ledger = await partition.ledger()
            assert ledger.unaccounted == 0
            assert ledger.subscribers["crm"].dead == 2

    asyncio.run(check())


def test_beyond_the_bytes_the_oldest_settled_go_first(server: StoreServer) -> None:
    """The limit in bytes is shared by the partitions, and costs nobody an undelivered event."""

    async def check() -> None:
        async with server.store() as store:
            partition, other = Partition(store), Partition(store, "1-0")
            await partition.commit(*[aged(f"{number}", 0, pad_bytes=850) for number in range(1, 11)])
            size = (await partition.account()).log_bytes // 10
            subscriber = await partition.subscriber()
            await subscriber.settle(6, park(1), delivered=5)
            settings = keeping(retention_bytes=2 * (7 * size + size // 2))  # seven and a half for each of the two
            assert await keeper(store, partition, other).trim(settings) == 3  # not the first three: 1 is parked
            assert await partition.names() == ["1", *[f"{number}" for number in range(5, 11)]]
            settings = keeping(retention_bytes=0)
            assert await keeper(store, partition, other).trim(settings) == 2
            assert await partition.names() == ["1", "7", "8", "9", "10"]
            assert (await partition.ledger()).unaccounted == 0

    asyncio.run(check())


def test_a_long_log_is_trimmed_in_steps(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages follow one another past entries that must stay; the rest of a round waits for the next."""
    monkeypatch.setattr(housekeeping_module, "PAGE", 10)
    monkeypatch.setattr(housekeeping_module, "MAX_PAGES", 3)

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await partition.commit(*[aged(f"{number}", 9) for number in range(1, 51)])
            subscriber = await partition.subscriber()
            await subscriber.settle(50, *[park(seq) for seq in range(1, 16)], delivered=35)
            keep = keeper(store, partition)
            assert [await keep.trim(keeping()) for _ in range(4)] == [15, 15, 5, 0]
            assert (await partition.ledger()).unaccounted == 0
            assert (await partition.account()).entries == 15

    asyncio.run(check())


def test_large_events_are_looked_at_a_few_at_a_time(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is bounded in bytes too, for retention and for the recount.

    Story: with events of a megabyte every round of the retention read two hundred of them at once, and the gateway
    grew from 86 to 401 MB over it."""
    monkeypatch.setattr(log_module, "PAGE_BYTES", 10_000)

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await partition.commit(*[aged(f"{number}", 9, pad_bytes=2_000) for number in range(1, 31)])
            asked: list[int] = []
            call, script = store.call, store.script

            async def watched(*command: Any) -> Any:
                if command[0] == "XRANGE":
                    asked.append(command[-1])
                return await call(*command)

            async def watched_script(name: str, keys: list[str], args: list[Any]) -> Any:
                if name == "scan":
                    asked.append(args[2])
                return await script(name, keys, args)

            monkeypatch.setattr(store, "call", watched)
            monkeypatch.setattr(store, "script", watched_script)
            assert (await recount(store, partition.keys, set(), 30)).entries == 30
            assert await keeper(store, partition).trim(keeping()) == 30
            assert len(asked) > 10
            assert max(asked) == 4

    asyncio.run(check())


def test_a_log_that_is_held_back_is_not_read_in_vain(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the slowest subscriber has not read cannot go, so it is not looked at: being behind costs the store nothing.

    Story: with a million events waiting, forty thousand of them were read and decoded every five seconds."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            subscriber = await partition.subscriber()
            await Subscriber(partition, "other", subscriber.epoch).store.subscribe(0, NOW_MS)
            await partition.commit(*[aged(f"{number}", 9) for number in range(1, 31)])
            await subscriber.settle(30, delivered=30)
            decoded: list[bytes] = []

            def watched(event_json: bytes) -> int:
                decoded.append(event_json)
                return received_ms(event_json)

            monkeypatch.setattr(housekeeping_module, "received_ms", watched)
            assert await keeper(store, partition).trim(keeping()) == 0
            assert decoded == []

    asyncio.run(check())


def test_a_round_that_ends_in_a_defect_is_not_the_last(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a round meets, the next one comes: else the log would grow, or the intake stay shut, without a word."""
    monkeypatch.setattr(housekeeping_module, "LOOK_S", 0.01)
    monkeypatch.setattr(housekeeping_module, "TRIM_S", 0.01)

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await partition.commit(aged("a", 3))
            await store.call("SET", partition.keys.quarantine, "somebody else's")  # WRONGTYPE, which is none of ours
            keep = keeper(store, partition)
            await keep.start(keeping())
            await asyncio.sleep(0.1)
            await store.call("DEL", partition.keys.quarantine)
            await partition.commit(aged("b", 3))
            async with asyncio.timeout(5):
                while await partition.names():
                    await asyncio.sleep(0.01)
            await keep.stop()

    asyncio.run(check())


def test_quarantine_ends_by_retention(server: StoreServer) -> None:
    """A quarantined request goes when it is old by the store's clock, which dates it, and by ours.

    Story: its age was the store's date against our clock: one that ran a year ahead emptied the quarantine."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await partition.commit(quarantined=(kept(b"q"),), counts=[("s", "quarantined", 1)])
            seconds, _ = await store.call("TIME")
            shelf, stored_ms = KeptRequests(store, partition.keys, "quarantine"), int(seconds) * 1_000
            await keeper(store, partition, now_ms=stored_ms + 365 * DAY_MS).trim(keeping())
            assert len(await shelf.list(None, 10)) == 1
            short = keeping(retention_s=0.001)
            await asyncio.sleep(0.01)  # older than that by any clock
            await keeper(store, partition, now_ms=stored_ms - DAY_MS).trim(short)
            assert len(await shelf.list(None, 10)) == 1
            async with asyncio.timeout(5):
                while await shelf.list(None, 10):
                    await keeper(store, partition, now_ms=stored_ms + DAY_MS).trim(short)
            assert (await partition.ledger()).requests.quarantined == 1  # the count stays

    asyncio.run(check())


@pytest.mark.parametrize("jump_s", [1, 3_600, 365 * 86_400, -1, -3_600, -365 * 86_400])
def test_a_clock_that_jumps_makes_nothing_old(server: StoreServer, jump_s: int) -> None:
    """What is kept for a day is kept for a day, set the clock who will; the control: a day that passes counts."""

    async def check() -> None:
        async with server.store() as store:
            partition, clock = Partition(store), Clock()
            keep = Housekeeping(store, [partition.keys], wall_ms=clock.wall_ms, monotonic=clock.monotonic)
            await partition.commit(event("a", received_ms=clock.wall_ms()))
            clock.advance(40_000)
            clock.jump(jump_s)
            assert await keep.trim(keeping()) == 0
            clock.jump(-jump_s)  # somebody mended it
            assert await keep.trim(keeping()) == 0
            clock.advance(50_000 + max(0, -jump_s))  # after a step back it errs on the side that keeps
            assert await keep.trim(keeping()) == 1

    asyncio.run(check())


def test_the_intake_stops_before_the_store_is_full_and_opens_again(store_kind: Kind) -> None:
    """At 85 % of maxmemory there is no room; below it, or without a limit, there is."""
    with running(store_kind) as small:

        async def check() -> None:
            async with small.store() as store:
                keep = keeper(store, Partition(store))
                used = int((await store.info("memory"))["used_memory"])
                room = []
                for limit in (0, int(used / 0.9), int(used / 0.7)):
                    await store.call("CONFIG", "SET", "maxmemory", limit)
                    await keep.look_at_memory()
                    room.append(keep.has_room)
                assert room == [True, False, True]

        asyncio.run(check())


def test_the_intake_stops_while_the_store_is_not_durable(store_kind: Kind) -> None:
    """Somebody who changes appendfsync on the running server stops the intake within a second, and only so long."""

    async def check() -> None:
        with running(store_kind) as server:
            async with server.store() as store:
                keep = keeper(store, Partition(store))
                open_while = {}
                for setting in ("always", "everysec", "no", "always"):
                    await store.call("CONFIG", "SET", "appendfsync", setting)
                    await keep.look()
                    open_while[setting] = keep.has_room
                assert open_while == {"always": True, "everysec": False, "no": False}

    asyncio.run(check())


def test_the_background_work_survives_a_store_that_is_away(store_kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round that fails is made again later; stopping ends it at once."""
    monkeypatch.setattr(housekeeping_module, "LOOK_S", 0.01)
    monkeypatch.setattr(housekeeping_module, "TRIM_S", 0.01)
    with running(store_kind) as short_lived:

        async def check() -> None:
            async with short_lived.store() as store:
                partition = Partition(store)
                keep = keeper(store, partition)
                await keep.start(keeping())
                short_lived.kill()
                await asyncio.sleep(0.05)
                short_lived.start()
                await partition.commit(aged("a", 3))
                async with asyncio.timeout(10):
                    while await partition.names():
                        await asyncio.sleep(0.01)
                await keep.stop()

        asyncio.run(check())
