"""Where a new subscriber starts, and that it starts only once."""

import asyncio

from gateway.store.lease import Lease
from gateway.store.ledger import subscribers_of
from gateway.store.parked import Cursor, SubscriberStore
from tests.store.partition import NOW_MS, Partition, Subscriber, event, park
from tests.support.stores import StoreServer


def test_starts_where_it_is_told(server: StoreServer) -> None:
    """``now`` is the end of the log, a number the event after it; what came before is not offered."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            first = SubscriberStore(store, partition.keys, "first")
            assert await first.subscribe("now", NOW_MS) == Cursor(0, True)  # a log that has nothing yet
            await partition.commit(event("a"), event("b"), event("c"))
            for name, start, cursor in (("all", 0, 0), ("late", "now", 3), ("middle", 2, 2)):
                assert await SubscriberStore(store, partition.keys, name).subscribe(start, NOW_MS) == Cursor(
                    cursor, True
                )
            lines = (await partition.ledger()).subscribers
            offered = {name: (line.offered, line.pending, line.unaccounted) for name, line in lines.items()}
            assert offered == {"first": (3, 3, 0), "all": (3, 3, 0), "late": (0, 0, 0), "middle": (1, 1, 0)}

    asyncio.run(check())


def test_a_subscriber_keeps_its_cursor(server: StoreServer) -> None:
    """After a restart it goes on where it was, whatever the configuration says of the start."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await partition.commit(event("a"), event("b"), event("c"))
            subscriber = await partition.subscriber()
            await subscriber.settle(2, park(1), delivered=1)
            assert await subscriber.again() == Cursor(2, False)
            assert (await subscriber.line())["offered"] == 3

    asyncio.run(check())


def test_a_time_is_found_in_the_log(server: StoreServer) -> None:
    """The last event before a time is found by halving, also where entries were trimmed or nothing is that old."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            assert await partition.log.last_before(NOW_MS) == 0
            times = [NOW_MS + each * 1_000 for each in range(20)]
            await partition.commit(*[event(f"{at}", received_ms=at) for at in times])
            for seq, at in enumerate(times, 1):
                assert await partition.log.last_before(at) == seq - 1
                assert await partition.log.last_before(at + 1) == seq
            await store.call("XDEL", partition.keys.log, *[f"{seq}-0" for seq in (1, 2, 3, 8, 9, 10, 20)])
            assert await partition.log.last_before(times[10]) in (7, 8, 9, 10)  # nothing of these is there
            assert await partition.log.last_before(times[12]) == 12

    asyncio.run(check())


def test_the_names_of_all_subscribers_are_known(server: StoreServer) -> None:
    """Also those that the configuration no longer names: their events still count."""

    async def check() -> None:
        async with server.store() as store:
            partition, other = Partition(store), Partition(store, "1-0")
            epoch = (await Lease(store, partition.keys, "tester").take()).epoch
            for name in ("crm", "former"):
                await Subscriber(partition, name, epoch).store.subscribe("now", NOW_MS)
            assert await subscribers_of(store, [partition.keys, other.keys]) == [{"crm", "former"}, set()]

    asyncio.run(check())
