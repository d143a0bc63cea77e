"""Dead letters: kept with their last answer up to a cap, tried again or given up on an operator's word."""

import asyncio

import msgspec
import pytest

from gateway.store import parked as parked_module
from gateway.store.dead_letters import DeadLetters
from gateway.store.parked import Attempt, Change
from tests.store.partition import NOW_MS, Partition, Subscriber, bury, dead, event, hash_of, letter, park
from tests.support.stores import StoreServer

KEY = hash_of("chat_1")


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


async def keyed(partition: Partition, *dead_seqs: int) -> tuple[Subscriber, DeadLetters]:
    """Eight events of one key, of which these are dead letters; nothing else is settled."""
    subscriber = await with_events(partition, 8)
    for seq in dead_seqs:
        await subscriber.settle(seq, dead(seq, key=KEY))
    return subscriber, DeadLetters(partition.store, partition.keys, "crm")


async def order(subscriber: Subscriber) -> tuple[list[int], list[int]]:
    """The key's list, and which of it are due."""
    listed = await subscriber.partition.store.call("LRANGE", subscriber.keys.key_prefix + KEY, 0, -1)
    return [int(seq) for seq in listed], await subscriber.due()


def test_retried_dead_letters_of_one_key_follow_one_another_in_log_order(server: StoreServer) -> None:
    """The first is due, the rest is held behind it, whatever the order in which they were named."""

    async def check() -> None:
        async with server.store() as store:
            subscriber, letters = await keyed(Partition(store), 1, 2, 3, 4)
            assert await letters.move("retry", [4, 2], NOW_MS) == 2
            assert await order(subscriber) == ([2, 4], [2])
            assert await letters.move("retry", [3, 1], NOW_MS) == 2
            assert await order(subscriber) == ([1, 2, 3, 4], [1])
            for done in (1, 2, 3):
                assert await subscriber.settle(None, Change("done", done, KEY)) == []
                assert (await order(subscriber))[1] == [done + 1]
            assert await subscriber.settle(None, Change("done", 4, KEY)) == [KEY]
            line = await subscriber.line()
            assert (line["delivered"], line["pending"], line["unaccounted"]) == (4, 4, 0)

    asyncio.run(check())


def test_a_retried_dead_letter_goes_before_what_is_pending_of_its_key(server: StoreServer) -> None:
    """A parked one steps back with all that is known of it, and if its attempt was on the wire its end counts once."""

    async def check() -> None:
        async with server.store() as store:
            subscriber, letters = await keyed(Partition(store), 1, 2)
            await subscriber.settle(4, park(3, key=KEY, attempt=2), Change("hold", 4, KEY))
            await letters.move("retry", [1], NOW_MS)
            assert await order(subscriber) == ([1, 3, 4], [1])
            await subscriber.settle(None, Change("done", 1, KEY))
            ((found,), _) = await subscriber.store.due(NOW_MS, 10, set())
            assert (found.seq, found.parked.attempt) == (3, 2)
            await letters.move("retry", [2], NOW_MS)
            assert await subscriber.settle(None, Change("done", 3, KEY)) == []  # it was on the wire
            assert await subscriber.settle(None, Change("done", 3, KEY)) == []
            assert await order(subscriber) == ([2, 4], [2])
            line = await subscriber.line()
            assert (line["delivered"], line["dead"], line["unaccounted"]) == (2, 0, 0)

    asyncio.run(check())


def test_what_fails_while_a_dead_letter_steps_in_front_is_held_with_its_attempts(server: StoreServer) -> None:
    """A first attempt that was on the wire when somebody retried an older event of its key."""

    async def check() -> None:
        async with server.store() as store:
            subscriber, letters = await keyed(Partition(store), 1)
            await letters.move("retry", [1], NOW_MS)
            await subscriber.settle(2, park(2, key=KEY, attempt=1))
            assert await order(subscriber) == ([1, 2], [1])
            await subscriber.settle(None, bury(1, key=KEY))
            ((found,), _) = await subscriber.store.due(NOW_MS, 10, set())
            assert (found.seq, found.parked.attempt, found.parked.last_chance) == (2, 1, True)

    asyncio.run(check())


def test_a_retried_dead_letter_remembers_its_attempts_and_max_lag_leaves_it(server: StoreServer) -> None:
    """They are marked as made before; the schedule begins anew. One that was written without a key is read as well."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            subscriber = await with_events(partition, 2)
            failed = Attempt(number=1, at_ms=NOW_MS, cause="http_500")
            info = letter(1, history=msgspec.to_builtins([failed]), forgotten=3)
            await subscriber.settle(2, Change("dead", 1, "", NOW_MS, info), park(2))
            await DeadLetters(store, partition.keys, "crm").move("retry", [1], NOW_MS)
            ((found,), _) = await subscriber.store.due(NOW_MS, 10, set())
            assert (found.parked.attempt, found.parked.key, found.parked.forgotten) == (0, "", 3)
            assert found.parked.history == (msgspec.structs.replace(failed, before_retry=True),)
            assert await subscriber.store.waiting_before(2, 10) == [(2, "")]

    asyncio.run(check())
