"""Dead letters: kept with their last answer up to a cap, tried again or given up on an operator's word."""

import asyncio

import pytest

from gateway.store import parked as parked_module
from gateway.store.dead_letters import DeadLetters
from gateway.store.parked import Change
from tests.store.partition import NOW_MS, Partition, Subscriber, bury, dead, event, letter, park
from tests.support.stores import StoreServer


async def with_events(partition: Partition, number: int) -> Subscriber:
    """A subscriber at the beginning of a log of ``number`` events."""
    await partition.commit(*[event(f"{each}") for each in range(1, number + 1)])
    return await partition.subscriber()


async def dead_bytes(subscriber: Subscriber) -> tuple[int, int]:
    """What the subscriber's account says of the size of its dead letters, and what it is."""
    call = subscriber.partition.store.call
    said = int(await call("HGET", subscriber.keys.sub, "dead_bytes"))
    return said, sum(len(value) for value in await call("HVALS", subscriber.keys.dead))


def test_a_dead_letter_keeps_what_is_known_and_the_last_answer(server: StoreServer) -> None:
    """Whatever bytes the subscriber answered are kept as they came; the latest death is listed first."""
    answer = b"line\nline\xff\x00\n"

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            subscriber = await with_events(partition, 3)
            await subscriber.settle(3, dead(1, answer), park(2), dead(3))
            await subscriber.settle(None, Change("bury", 2, "", NOW_MS + 5, letter(2, cause="timeout"), b""))
            letters = DeadLetters(store, partition.keys, "crm")
            assert await letters.count() == 3
            assert [each.seq for each, _ in await letters.list(0, 10)] == [2, 3, 1]
            assert [each.seq for each, _ in await letters.list(1, 1)] == [3]
            found = await letters.get(1)
            assert found is not None
            assert (found[0].cause, found[0].status, found[1]) == ("http_500", 500, answer)
            assert await letters.get(9) is None
            said, found_bytes = await dead_bytes(subscriber)
            assert said == found_bytes > 0

    asyncio.run(check())


def test_beyond_the_cap_first_the_answers_go_then_the_letters(
    server: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subscriber that is dead for days cannot fill the store: what has no room is discarded, and counted so."""
    one = len(letter(1)) + 1
    monkeypatch.setattr(parked_module, "DEAD_CAP_BYTES", 3 * one + 50)

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            subscriber = await with_events(partition, 5)
            letters = DeadLetters(store, partition.keys, "crm")
            await subscriber.settle(1, dead(1, b"a" * 40))
            await subscriber.settle(2, dead(2, b"b" * 2 * one))  # its answer has no room
            await subscriber.settle(3, park(3))
            await subscriber.settle(None, bury(3, answer=b"c" * 20))
            await subscriber.settle(5, dead(4), dead(5))  # nor have these
            answers = {each.seq: answer for each, answer in await letters.list(0, 10)}
            assert answers == {1: b"a" * 40, 2: b"", 3: b""}
            line = await subscriber.line()
            assert (line["dead"], line["discarded"], line["unaccounted"]) == (3, 2, 0)
            said, found_bytes = await dead_bytes(subscriber)
            assert said == found_bytes <= 3 * one + 50
            # Room that is given back can be used again.
            assert await letters.move("drop", [1, 2], NOW_MS) == 2
            assert (await dead_bytes(subscriber))[0] == (await dead_bytes(subscriber))[1]
            await partition.commit(event("6"))
            await subscriber.settle(6, dead(6))
            assert await letters.count() == 2

    asyncio.run(check())


def test_a_dead_letter_is_tried_again_with_a_fresh_schedule(server: StoreServer) -> None:
    """It becomes parked, due at once, and can be delivered or die again; the account adds up all the way."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            subscriber = await with_events(partition, 3)
            letters = DeadLetters(store, partition.keys, "crm")
            await subscriber.settle(3, dead(1), dead(2), delivered=1)
            assert await letters.move("retry", [1, 2, 3, 77], NOW_MS) == 2  # only those that are dead
            assert await letters.move("retry", [1], NOW_MS) == 0
            assert await subscriber.due() == [1, 2]
            line = await subscriber.line()
            assert (line["dead"], line["pending"], line["unaccounted"]) == (0, 2, 0)
            await subscriber.settle(None, Change("done", 1), bury(2))
            line = await subscriber.line()
            assert (line["dead"], line["delivered"], line["unaccounted"]) == (1, 2, 0)

    asyncio.run(check())


def test_a_dropped_dead_letter_is_discarded(server: StoreServer) -> None:
    """Giving one up on purpose is a term of the account, once."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            subscriber = await with_events(partition, 2)
            letters = DeadLetters(store, partition.keys, "crm")
            await subscriber.settle(2, dead(1), dead(2))
            assert await letters.move("drop", [1], NOW_MS) == 1
            assert await letters.move("drop", [1], NOW_MS) == 0
            assert [each.seq for each, _ in await letters.list(0, 10)] == [2]
            line = await subscriber.line()
            assert (line["dead"], line["discarded"], line["unaccounted"]) == (1, 1, 0)

    asyncio.run(check())
