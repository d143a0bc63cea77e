"""Settling: outcomes, counts and the cursor in one step, once, and only by who holds the lease."""

import asyncio

import pytest

from gateway.errors import LeaseLost, StoreError
from gateway.store.lease import Lease
from gateway.store.parked import CLOCK_JUMP_MS, Change, Parked, SubscriberStore
from tests.store.partition import NOW_MS, Partition, Subscriber, again, bury, dead, event, park
from tests.support.stores import StoreServer


async def with_events(partition: Partition, number: int) -> Subscriber:
    """A subscriber at the beginning of a log of ``number`` events."""
    await partition.commit(*[event(f"{each}") for each in range(1, number + 1)])
    return await partition.subscriber()


def test_each_outcome_has_its_term(server: StoreServer) -> None:
    """Delivered, filtered, discarded, parked and dead events of one settle stand in one line that adds up."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(Partition(store), 10)
            await subscriber.settle(9, park(3), park(5), dead(7), delivered=3, filtered=2, discarded=1)
            assert await subscriber.line() == {
                "offered": 10,
                "delivered": 3,
                "filtered": 2,
                "dead": 1,
                "discarded": 1,
                "pending": 3,  # two parked, one not read
                "unaccounted": 0,
            }

    asyncio.run(check())


def test_a_parked_event_ends_once(server: StoreServer) -> None:
    """Done, bury and drop count only for an event that is still parked, however often they are said."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(Partition(store), 4)
            await subscriber.settle(4, park(1), park(2), park(3), park(4))
            for _ in range(2):
                await subscriber.settle(None, Change("done", 1), bury(2), Change("drop", 3))
            # What has ended cannot end otherwise, come back, or be buried again.
            await subscriber.settle(None, Change("done", 2), again(1), bury(3), Change("drop", 1))
            line = await subscriber.line()
            assert (line["delivered"], line["dead"], line["discarded"], line["pending"]) == (1, 1, 1, 1)
            assert line["unaccounted"] == 0
            assert await subscriber.due(NOW_MS + 5_000) == [4]

    asyncio.run(check())


def test_a_repeated_settle_counts_once_and_answers_as_before(server: StoreServer) -> None:
    """After a lost reply the same number brings the same reply, though the cursor has moved and keys were freed."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(Partition(store), 5)
            await subscriber.settle(2, park(1, key="k"), delivered=1)
            number = subscriber.store.next_settle()
            for _ in range(3):
                freed = await subscriber.settle(
                    5, Change("done", 1, "k"), dead(4), number=number, cursor=2, delivered=1, filtered=1
                )
                assert freed == ["k"]
            line = await subscriber.line()
            assert (line["delivered"], line["filtered"], line["dead"], line["pending"]) == (3, 1, 1, 0)
            assert line["unaccounted"] == 0

    asyncio.run(check())


def test_a_settle_from_another_cursor_changes_nothing(server: StoreServer) -> None:
    """Whoever does not know where the cursor stands has lost the partition."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            subscriber = await with_events(partition, 5)
            await subscriber.settle(2, delivered=2)
            before = await subscriber.line()
            with pytest.raises(LeaseLost, match="CURSOR it is at 2, not at 1"):
                await subscriber.settle(3, park(3), cursor=1)
            assert await subscriber.line() == before
            assert await subscriber.due(NOW_MS * 2) == []

    asyncio.run(check())


def test_a_settle_of_a_former_epoch_changes_nothing(server: StoreServer) -> None:
    """A process that lost its lease is told so at its next settle, even if the cursor is where it left it."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            subscriber = await with_events(partition, 5)
            number = subscriber.store.next_settle()
            await subscriber.settle(2, number=number, delivered=2)
            await Lease(store, partition.keys, "tester").give_back()
            assert (await Lease(store, partition.keys, "other").take()).epoch == subscriber.epoch + 1
            with pytest.raises(LeaseLost, match="LEASE"):
                await subscriber.settle(3, delivered=1)
            with pytest.raises(LeaseLost, match="LEASE"):  # not even the answer of its last one
                await subscriber.settle(2, number=number, cursor=0, delivered=2)
            # The successor numbers its settles from 1 again; they are not taken for its predecessor's.
            await subscriber.settle(4, number=number, epoch=subscriber.epoch + 1, cursor=2, delivered=2)
            assert (await subscriber.line())["delivered"] == 4

    asyncio.run(check())


def test_a_settle_without_a_cursor_is_refused(server: StoreServer) -> None:
    """A subscriber that never subscribed, or was removed, gets no counts out of nowhere."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            epoch = (await Lease(store, partition.keys, "tester").take()).epoch
            stranger = Subscriber(partition, "stranger", epoch)
            with pytest.raises(LeaseLost, match="GONE"):
                await stranger.settle(1, delivered=1)
            assert await store.call("EXISTS", stranger.keys.sub) == 0

    asyncio.run(check())


def test_a_defect_in_a_settle_is_not_called_a_lost_lease(server: StoreServer) -> None:
    """What the script refuses for another reason stops the lane with that reason."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(Partition(store), 1)
            with pytest.raises(StoreError, match="no such operation") as caught:
                await subscriber.settle(1, Change("eat", 1))  # type: ignore[arg-type]  # that is the defect
            assert not isinstance(caught.value, LeaseLost)

    asyncio.run(check())


def test_due_events_come_in_the_order_of_their_time(server: StoreServer) -> None:
    """Only what is due comes, the longest due first, without those in hand; and when the next one will be."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(Partition(store), 6)
            at = {1: 300, 2: 100, 3: 200, 4: 900, 5: 800, 6: 0}
            await subscriber.settle(6, *[park(seq, at_ms=NOW_MS + wait, attempt=seq) for seq, wait in at.items()])
            found, next_ms = await subscriber.store.due(NOW_MS + 500, 10, {3})
            assert [(each.seq, each.parked.attempt) for each in found] == [(6, 6), (2, 2), (1, 1)]
            assert next_ms == NOW_MS + 800
            found, _ = await subscriber.store.due(NOW_MS + 500, 2, {6})
            assert [each.seq for each in found] == [2, 3]
            await subscriber.settle(None, *[Change("done", seq) for seq in at])
            assert await subscriber.store.due(NOW_MS * 2, 10, set()) == ([], None)

    asyncio.run(check())


def test_a_due_time_beyond_any_schedule_is_due(server: StoreServer) -> None:
    """What was parked before the clock jumped back by years does not wait for years."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(Partition(store), 3)
            just_in_time = NOW_MS + CLOCK_JUMP_MS - 1
            await subscriber.settle(
                3, park(1, at_ms=NOW_MS + CLOCK_JUMP_MS), park(2, at_ms=just_in_time), park(3, at_ms=NOW_MS * 2)
            )
            assert sorted(await subscriber.due()) == [1, 3]

    asyncio.run(check())


def test_an_attempt_again_replaces_what_is_known_of_it(server: StoreServer) -> None:
    """The number of attempts and the due time of a parked event are those of its last attempt."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(Partition(store), 1)
            await subscriber.settle(1, park(1, attempt=1))
            await subscriber.settle(None, again(1, attempt=2, at_ms=NOW_MS + 60_000))
            assert await subscriber.due(NOW_MS + 59_999) == []
            (waiting,) = await subscriber.store.parked(0, 10)
            assert waiting.parked == Parked(attempt=2)
            assert (await subscriber.line())["pending"] == 1

    asyncio.run(check())


def test_subscribers_do_not_touch_one_another(server: StoreServer) -> None:
    """Two subscribers of one partition have a cursor, parked events and counts each."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            crm = await with_events(partition, 3)
            other = Subscriber(partition, "other", crm.epoch)
            await SubscriberStore(store, partition.keys, "other").subscribe(0, NOW_MS)
            await crm.settle(3, park(2), delivered=2)
            await other.settle(1, filtered=1)
            assert (await crm.line())["pending"] == 1
            line = await other.line()
            assert (line["pending"], line["filtered"], line["delivered"], line["unaccounted"]) == (2, 1, 0, 0)

    asyncio.run(check())
