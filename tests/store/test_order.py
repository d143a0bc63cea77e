"""Order by key: what waits behind a parked event, and how it follows."""

import asyncio

from gateway.store.parked import Change
from tests.store.partition import NOW_MS, Partition, Subscriber, again, bury, event, hash_of, park
from tests.support.stores import StoreServer

KEY, OTHER = hash_of("chat_1"), hash_of("chat_2")


async def behind_one(partition: Partition, key: str = KEY) -> Subscriber:
    """Four events of one key: the first parked, the others held behind it."""
    await partition.commit(*[event(f"{number}") for number in range(1, 5)])
    subscriber = await partition.subscriber()
    await subscriber.settle(4, park(1, key=key), *[Change("hold", seq, key) for seq in (2, 3, 4)])
    return subscriber


async def waiting(subscriber: Subscriber) -> list[bytes]:
    """The key's list: first the parked one, then the held ones."""
    found: list[bytes] = await subscriber.partition.store.call("LRANGE", subscriber.keys.key_prefix + KEY, 0, -1)
    return found


def test_held_events_are_pending_and_not_due(server: StoreServer) -> None:
    """Behind a parked event nothing of its key is tried, whatever the time."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await behind_one(Partition(store))
            line = await subscriber.line()
            assert (line["pending"], line["unaccounted"]) == (4, 0)
            assert await subscriber.due(NOW_MS + 5_000) == [1]
            assert await waiting(subscriber) == [b"1", b"2", b"3", b"4"]
            assert await subscriber.store.held_keys() == {KEY}

    asyncio.run(check())


def test_followers_come_one_by_one_in_log_order(server: StoreServer) -> None:
    """Each delivery lets the next of the key follow, due at once with a fresh schedule; the last one frees the key."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await behind_one(Partition(store))
            for done, following in ((1, 2), (2, 3), (3, 4)):
                assert await subscriber.settle(None, Change("done", done, KEY)) == []
                ((found,), _) = await subscriber.store.due(NOW_MS, 10, set())
                assert found.seq == following
                assert (found.parked.attempt, found.parked.key, found.parked.last_chance) == (0, KEY, False)
            assert await subscriber.settle(None, Change("done", 4, KEY)) == [KEY]
            assert await waiting(subscriber) == []
            assert await subscriber.store.held_keys() == set()
            line = await subscriber.line()
            assert (line["delivered"], line["pending"], line["unaccounted"]) == (4, 0, 0)

    asyncio.run(check())


def test_another_attempt_keeps_its_place(server: StoreServer) -> None:
    """A parked event that fails again is still the first of its key."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await behind_one(Partition(store))
            assert await subscriber.settle(None, again(1, key=KEY)) == []
            assert await waiting(subscriber) == [b"1", b"2", b"3", b"4"]
            assert await subscriber.due(NOW_MS + 9_000) == [1]

    asyncio.run(check())


def test_behind_a_dead_letter_each_follower_has_one_attempt(server: StoreServer) -> None:
    """After a burial the next one is a last chance; if it is delivered, the one after it has a full schedule again."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await behind_one(Partition(store))
            assert await subscriber.settle(None, bury(1, key=KEY)) == []
            ((second,), _) = await subscriber.store.due(NOW_MS, 10, set())
            assert (second.seq, second.parked.last_chance) == (2, True)
            await subscriber.settle(None, bury(2, key=KEY))
            ((third,), _) = await subscriber.store.due(NOW_MS, 10, set())
            assert (third.seq, third.parked.last_chance) == (3, True)
            await subscriber.settle(None, Change("done", 3, KEY))
            ((fourth,), _) = await subscriber.store.due(NOW_MS, 10, set())
            assert (fourth.seq, fourth.parked.last_chance) == (4, False)
            line = await subscriber.line()
            assert (line["dead"], line["delivered"], line["pending"], line["unaccounted"]) == (2, 1, 1, 0)

    asyncio.run(check())


def test_a_dropped_event_lets_the_next_follow(server: StoreServer) -> None:
    """Giving one up does not give up its key."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await behind_one(Partition(store))
            await subscriber.settle(None, Change("drop", 1, KEY))
            assert await subscriber.due() == [2]
            assert (await subscriber.line())["discarded"] == 1

    asyncio.run(check())


def test_an_event_held_behind_nothing_is_due_at_once(server: StoreServer) -> None:
    """The parked one ended while the hold was on its way: the held one must not wait for ever."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await partition.commit(event("1"), event("2"), event("3"))
            subscriber = await partition.subscriber()
            await subscriber.settle(1, park(1, key=KEY))
            assert await subscriber.settle(None, Change("done", 1, KEY)) == [KEY]
            await subscriber.settle(3, Change("hold", 2, KEY), Change("hold", 3, KEY))
            ((found,), _) = await subscriber.store.due(NOW_MS, 10, set())
            assert (found.seq, found.parked.key) == (2, KEY)
            await subscriber.settle(None, Change("done", 2, KEY))
            assert await subscriber.due() == [3]
            assert await subscriber.settle(None, Change("done", 3, KEY)) == [KEY]
            assert (await subscriber.line())["unaccounted"] == 0

    asyncio.run(check())


def test_ended_and_held_in_one_settle(server: StoreServer) -> None:
    """A key that is held anew in the settle that ends its parked event goes on in order."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await partition.commit(event("1"), event("2"))
            subscriber = await partition.subscriber()
            await subscriber.settle(1, park(1, key=KEY))
            assert await subscriber.settle(2, Change("hold", 2, KEY), Change("done", 1, KEY)) == []
            assert await subscriber.due() == [2]
            assert await waiting(subscriber) == [b"2"]

    asyncio.run(check())


def test_keys_do_not_wait_for_one_another(server: StoreServer) -> None:
    """A stuck key holds up no other."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await partition.commit(*[event(f"{number}") for number in range(1, 5)])
            subscriber = await partition.subscriber()
            await subscriber.settle(
                4, park(1, key=KEY), park(2, key=OTHER), Change("hold", 3, KEY), Change("hold", 4, OTHER)
            )
            await subscriber.settle(None, Change("done", 2, OTHER))
            assert await subscriber.due() == [4]
            assert await subscriber.settle(None, Change("done", 4, OTHER)) == [OTHER]
            assert await subscriber.store.held_keys() == {KEY}

    asyncio.run(check())
