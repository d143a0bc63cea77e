"""What a settle leaves in the store: no key too many and none too few, to the byte and the millisecond."""

import asyncio
import re

import msgspec
import pytest

from gateway.errors import LeaseLost
from gateway.store import parked as parked_module
from gateway.store.dead_letters import DeadLetters
from gateway.store.lease import Lease
from gateway.store.parked import Change, Late, Parked, SubscriberStore
from gateway.store.subscribers import StoredSubscribers
from tests.store.partition import NOW_MS, Partition, Subscriber, again, bury, dead, event, forget, hash_of, letter, park
from tests.support.stores import StoreServer

KEY, OTHER = hash_of("chat_1"), hash_of("chat_2")


async def with_events(partition: Partition, number: int) -> Subscriber:
    """A subscriber at the beginning of a log of ``number`` events."""
    await partition.commit(*[event(f"{each}") for each in range(1, number + 1)])
    return await partition.subscriber()


async def state(subscriber: Subscriber) -> dict[str, dict[int, object]]:
    """All that the store knows of the subscriber's events: what waits, when it is due, what is held, what died."""
    call, keys = subscriber.partition.store.call, subscriber.keys
    found: dict[str, dict[int, object]] = {}
    for name, key in (("parked", keys.parked), ("held", keys.held), ("dead", keys.dead)):
        flat = await call("HGETALL", key)
        pairs = zip(flat[::2], flat[1::2], strict=True) if isinstance(flat, list) else flat.items()
        found[name] = {int(seq): value for seq, value in pairs}
    for name, key in (("due", keys.due), ("died", keys.died)):
        members = await call("ZRANGE", key, 0, -1, "WITHSCORES")
        flat = [each for pair in members for each in (pair if isinstance(pair, list | tuple) else [pair])]
        found[name] = {int(seq): int(float(at)) for seq, at in zip(flat[::2], flat[1::2], strict=True)}
    assert set(found["parked"]) == set(found["due"]), "what is parked has a due time, and nothing else has"
    assert set(found["dead"]) == set(found["died"]), "what is dead has a time of death, and nothing else has"
    return found


async def lists(subscriber: Subscriber) -> dict[str, list[int]]:
    """The lists of the two keys."""
    call, prefix = subscriber.partition.store.call, subscriber.keys.key_prefix
    return {key: [int(seq) for seq in await call("LRANGE", prefix + key, 0, -1)] for key in (KEY, OTHER)}


def info(parked: Parked) -> bytes:
    """As it is kept."""
    return msgspec.json.encode(parked)


def test_what_ends_leaves_nothing_behind(server: StoreServer) -> None:
    """Neither a due time nor a place in a list: a store is not filled by what is over."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(Partition(store), 6)
            await subscriber.settle(6, *[park(seq) for seq in (1, 2, 3)], *[park(seq, key=KEY) for seq in (4, 5, 6)])
            assert set((await state(subscriber))["parked"]) == {1, 2, 3, 4}
            ended = (Change("done", 1), bury(2), Change("drop", 3), Change("done", 4, KEY))
            assert await subscriber.settle(None, *ended) == []
            found = await state(subscriber)
            assert (set(found["parked"]), set(found["held"]), set(found["dead"])) == ({5}, {6}, {2})
            assert await subscriber.settle(None, bury(5, key=KEY)) == []
            assert await subscriber.settle(None, Change("drop", 6, KEY)) == [KEY]
            assert (await state(subscriber))["parked"] == {}
            assert await lists(subscriber) == {KEY: [], OTHER: []}

    asyncio.run(check())


def test_times_are_those_that_were_said(server: StoreServer) -> None:
    """Due and death when the caller says; what follows, and what is held behind nothing, is due now, not before."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(Partition(store), 5)
            await subscriber.settle(
                5,
                park(1, key=KEY, at_ms=NOW_MS + 7),
                Change("hold", 2, KEY),
                Change("hold", 3, OTHER),
                msgspec.structs.replace(dead(4), at_ms=NOW_MS - 5),
                park(5, at_ms=NOW_MS + 9),
            )
            found = await state(subscriber)
            assert found["due"] == {1: NOW_MS + 7, 3: NOW_MS, 5: NOW_MS + 9}
            assert found["died"] == {4: NOW_MS - 5}
            await subscriber.settle(None, Change("done", 1, KEY), again(5, at_ms=NOW_MS + 11))
            assert (await state(subscriber))["due"] == {2: NOW_MS, 3: NOW_MS, 5: NOW_MS + 11}

    asyncio.run(check())


def test_what_is_known_of_an_event_is_kept_as_it_was_said(server: StoreServer) -> None:
    """Of a parked one its JSON, of a held one its key alone, of one that failed while held both."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(Partition(store), 4)
            await subscriber.settle(
                4, park(1, key=KEY), Change("hold", 2, KEY), park(3, key=KEY, attempt=4), park(4, attempt=2)
            )
            found = await state(subscriber)
            assert found["parked"] == {1: info(Parked(attempt=1, key=KEY)), 4: info(Parked(attempt=2))}
            assert found["held"] == {2: KEY.encode(), 3: f"{KEY} ".encode() + info(Parked(attempt=4, key=KEY))}
            assert await lists(subscriber) == {KEY: [1, 2, 3], OTHER: []}

    asyncio.run(check())


def test_what_failed_while_it_was_held_goes_on_with_its_attempts(server: StoreServer) -> None:
    """It can fail again, be delivered, buried or dropped where it waits, each once; and what was never tried cannot."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(Partition(store), 7)
            await subscriber.settle(
                7, park(1, key=KEY), *[park(seq, key=KEY) for seq in (2, 3, 4, 5)], Change("hold", 6, KEY), park(7)
            )
            await subscriber.settle(None, again(2, key=KEY, attempt=8), again(6, key=KEY), again(3, key=OTHER))
            held = (await state(subscriber))["held"]
            assert held[2] == f"{KEY} ".encode() + info(Parked(attempt=8, key=KEY))
            assert held[6] == KEY.encode()
            assert held[3] == f"{KEY} ".encode() + info(Parked(attempt=1, key=KEY))
            for _ in range(2):
                ended = (Change("done", 3, KEY), bury(4, key=KEY), Change("drop", 5, KEY))
                assert await subscriber.settle(None, *ended, Change("done", 6, KEY)) == []
            found = await state(subscriber)
            assert (set(found["parked"]), set(found["held"]), set(found["dead"])) == ({1, 7}, {2, 6}, {4})
            assert await lists(subscriber) == {KEY: [1, 2, 6], OTHER: []}
            line = await subscriber.line()
            assert (line["delivered"], line["dead"], line["discarded"], line["pending"]) == (1, 1, 1, 4)
            # Another key's word, or none, does not end it either.
            await subscriber.settle(None, Change("done", 2, OTHER), Change("done", 2), Change("done", 6))
            assert (await subscriber.line())["delivered"] == 1

    asyncio.run(check())


def test_only_a_burial_makes_the_next_one_a_last_chance(server: StoreServer) -> None:
    """Behind one that was delivered or dropped the schedule is fresh, whatever was said before."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(Partition(store), 4)
            await subscriber.settle(4, park(1, key=KEY), *[Change("hold", seq, KEY) for seq in (2, 3, 4)])
            for ended, last_chance in (
                (Change("drop", 1, KEY), False),
                (bury(2, key=KEY), True),
                (Change("done", 3, KEY), False),
            ):
                await subscriber.settle(None, ended)
                (follower,) = (await state(subscriber))["parked"].values()
                assert isinstance(follower, bytes)
                assert msgspec.json.decode(follower, type=Parked) == Parked(attempt=0, key=KEY, last_chance=last_chance)

    asyncio.run(check())


def test_a_last_chance_is_said_once_and_leaves_the_rest(server: StoreServer) -> None:
    """Of one that was tried before, what is known stays; one that is a last chance already says so once."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(Partition(store), 3)
            second = Change("park", 2, KEY, NOW_MS, info(Parked(attempt=3, key=KEY, cause="x")))
            third = Change("park", 3, KEY, NOW_MS, info(Parked(attempt=5, key=KEY, last_chance=True)))
            await subscriber.settle(3, park(1, key=KEY), second, third)
            await subscriber.settle(None, bury(1, key=KEY))
            (follower,) = (await state(subscriber))["parked"].values()
            assert isinstance(follower, bytes)
            assert msgspec.json.decode(follower, type=Parked) == Parked(attempt=3, key=KEY, cause="x", last_chance=True)
            await subscriber.settle(None, bury(2, key=KEY))
            (follower,) = (await state(subscriber))["parked"].values()
            assert isinstance(follower, bytes)
            assert follower.count(b"last_chance") == 1
            assert msgspec.json.decode(follower, type=Parked) == Parked(attempt=5, key=KEY, last_chance=True)

    asyncio.run(check())


@pytest.mark.parametrize(("spare", "kept"), [(-1, None), (0, b""), (3, b""), (4, b"1234"), (5, b"1234")])
def test_the_cap_of_dead_letters_holds_to_the_byte(
    server: StoreServer, monkeypatch: pytest.MonkeyPatch, spare: int, kept: bytes | None
) -> None:
    """A letter and its newline fit exactly or not at all; its answer goes in whole or not at all."""
    first, second = dead(1, b"xy"), dead(2, b"1234")
    used = len(first.info) + 1 + 2
    monkeypatch.setattr(parked_module, "DEAD_CAP_BYTES", used + len(second.info) + 1 + spare)

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            subscriber = await with_events(partition, 2)
            await subscriber.settle(1, first)
            await subscriber.settle(2, second)
            found = (await state(subscriber))["dead"]
            line = await subscriber.line()
            assert (line["dead"], line["discarded"], line["unaccounted"]) == (1 + (kept is not None), kept is None, 0)
            assert found.get(2) == (None if kept is None else second.info + b"\n" + kept)
            said = await store.call("HGET", subscriber.keys.sub, "dead_bytes")
            assert int(said) == sum(len(value) for value in found.values() if isinstance(value, bytes))

    asyncio.run(check())


def test_dead_letters_of_one_settle_share_the_cap(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of a settle has the room that the first has left."""
    monkeypatch.setattr(parked_module, "DEAD_CAP_BYTES", 2 * len(letter(1)) + 1)

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(Partition(store), 2)
            await subscriber.settle(2, dead(1), dead(2))
            assert set((await state(subscriber))["dead"]) == {1}

    asyncio.run(check())


def test_what_nobody_asked_to_give_up_is_told_apart_with_its_time(server: StoreServer) -> None:
    """``given_up`` counts what went beyond a bound; what was delivered or filtered is no part of it."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(Partition(store), 9)
            read = ("delivered", "filtered", "discarded", "given_up", "given_up_ms", "cursor")

            async def known() -> list[int | None]:
                values = await store.call("HMGET", subscriber.keys.sub, *read)
                return [None if value is None else int(value) for value in values]

            await subscriber.settle(0)
            assert await known() == [None, None, None, None, None, 0]
            await subscriber.settle(1, delivered=1)
            assert await known() == [1, None, None, None, None, 1]
            await subscriber.settle(2, filtered=1)
            assert await known() == [1, 1, None, None, None, 2]
            await subscriber.settle(4, discarded=1, filtered=1)
            assert await known() == [1, 2, 1, 1, NOW_MS, 4]
            await subscriber.settle(6, park(5), delivered=1)
            await subscriber.settle(None, Change("drop", 5))
            assert await known() == [2, 2, 2, 2, NOW_MS, 6]

    asyncio.run(check())


def test_how_a_late_one_was_delivered_is_kept_where_it_is_said(server: StoreServer) -> None:
    """With its number; without words there is no entry."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(Partition(store), 2)
            late = msgspec.json.encode(Late(history=()))
            await subscriber.settle(2, park(1), park(2))
            await subscriber.settle(None, Change("done", 1, "", 0, late), Change("done", 2))
            entries = await store.call("XRANGE", subscriber.keys.history, "-", "+")
            assert [fields for _, fields in entries] == [[b"s", b"1", b"h", late]]

    asyncio.run(check())


def test_only_the_last_settle_is_remembered(server: StoreServer) -> None:
    """Its number brings the same answer and changes nothing; the number before it is refused by its cursor."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(Partition(store), 3)
            first, second = subscriber.store.next_settle(), subscriber.store.next_settle()
            assert second == first + 1
            await subscriber.settle(1, park(1, key=KEY), number=first)
            assert await subscriber.settle(3, Change("done", 1, KEY), number=second, delivered=2) == [KEY]
            for _ in range(2):
                again_ = await subscriber.settle(3, Change("done", 1, KEY), number=second, cursor=1, delivered=2)
                assert again_ == [KEY]
            assert (await subscriber.line())["delivered"] == 3

    asyncio.run(check())


def test_lanes_of_one_epoch_do_not_answer_for_each_other(server: StoreServer) -> None:
    """Each begins with settle number 1; the second one's is no repetition of the first one's."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            subscriber = await with_events(partition, 2)
            await subscriber.settle(1, number=1, delivered=1)
            other = Subscriber(partition, "crm", subscriber.epoch)
            other.cursor = 1
            await other.settle(2, number=1, delivered=1)
            assert (await other.line())["delivered"] == 2

    asyncio.run(check())


def test_the_first_due_come_first_and_no_more_than_asked_for(server: StoreServer) -> None:
    """Also when the moment is exact, when those in hand come first, and when one has jumped with the clock."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(Partition(store), 5)
            await subscriber.settle(5, *[park(seq, at_ms=NOW_MS + seq) for seq in range(1, 6)])
            parked = subscriber.store

            async def due(now_ms: int, limit: int, *skip: int) -> tuple[list[int], int | None]:
                found, next_ms = await parked.due(now_ms, limit, set(skip))
                return [each.seq for each in found], next_ms

            assert await due(NOW_MS, 9) == ([], NOW_MS + 1)
            assert await due(NOW_MS + 1, 9) == ([1], NOW_MS + 2)
            assert await due(NOW_MS + 4, 2) == ([1, 2], NOW_MS + 5)
            assert await due(NOW_MS + 4, 2, 1, 2) == ([3, 4], NOW_MS + 5)
            assert await due(NOW_MS + 5, 9) == ([1, 2, 3, 4, 5], None)
            jump = NOW_MS + 3 - parked_module.CLOCK_JUMP_MS
            assert await due(jump, 9) == ([3, 4, 5], NOW_MS + 1)
            assert await due(jump, 1, 3) == ([4], NOW_MS + 1)

    asyncio.run(check())


def test_the_held_keys_are_read_in_pages_to_the_last(server: StoreServer) -> None:
    """Thousands of them; what is parked without a key names none."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await Partition(store).subscriber()
            keys = {f"{number:016x}" for number in range(2_500)}
            flat = [
                word for seq, key in enumerate([*sorted(keys), ""]) for word in (seq, info(Parked(attempt=0, key=key)))
            ]
            await store.call("HSET", subscriber.keys.parked, *flat)
            assert await subscriber.store.held_keys() == keys

    asyncio.run(check())


def test_retried_dead_letters_step_in_on_either_side(server: StoreServer) -> None:
    """Before, between and behind what waits in a long list: log order, and what is known of each is kept."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            for gone in ({1}, {12}, {2, 3}, {10, 11}, {1, 12}, {1, 6, 12}, {5, 6, 7, 8}, set(range(1, 13)), {2, 4, 11}):
                await store.call("FLUSHALL")
                subscriber = await with_events(partition, 12)
                letters = DeadLetters(store, partition.keys, "crm")
                for seq in range(1, 13):
                    change = dead(seq, key=KEY) if seq in gone else park(seq, key=KEY, attempt=seq)
                    await subscriber.settle(seq, change)
                assert await letters.move("retry", sorted(gone), NOW_MS + 1) == len(gone)
                found = await state(subscriber)
                assert await lists(subscriber) == {KEY: list(range(1, 13)), OTHER: []}
                assert (set(found["parked"]), set(found["held"]), found["dead"]) == ({1}, set(range(2, 13)), {})
                assert await store.call("HGET", subscriber.keys.sub, "dead_bytes") == b"0"
                for seq, value in {**found["parked"], **found["held"]}.items():
                    assert isinstance(value, bytes)
                    known = msgspec.json.decode(value[value.index(b"{") :], type=Parked)
                    assert (known.attempt, known.retried) == ((0, True) if seq in gone else (seq, False))
                assert found["due"][1] == (NOW_MS + 1 if 1 in gone else NOW_MS + 5_000)
                freed = [await subscriber.settle(None, Change("done", seq, KEY)) for seq in range(1, 13)]
                assert freed == [[]] * 11 + [[KEY]]
                assert (await subscriber.line())["delivered"] == 12

    asyncio.run(check())


@pytest.mark.parametrize(("gone", "end"), [({2, 3}, b"lpush"), ({10, 11}, b"rpush")], ids=["front", "back"])
def test_a_retried_dead_letter_costs_no_more_than_what_waits_at_the_nearer_end(
    server: StoreServer, gone: set[int], end: bytes
) -> None:
    """Its two neighbours and itself are written anew, at that end, and nothing at the other."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            subscriber = await with_events(partition, 12)
            for seq in range(1, 13):
                await subscriber.settle(seq, dead(seq, key=KEY) if seq in gone else park(seq, key=KEY, attempt=seq))
            await store.call("CONFIG", "RESETSTAT")
            await DeadLetters(store, partition.keys, "crm").move("retry", sorted(gone), NOW_MS)
            told = await store.call("INFO", "commandstats")
            assert re.findall(rb"cmdstat_([lr]push):calls=(\d+)", told) == [(end, b"3")]
            assert await lists(subscriber) == {KEY: list(range(1, 13)), OTHER: []}

    asyncio.run(check())


def test_a_retry_of_several_keys_and_of_none(server: StoreServer) -> None:
    """Each key's first is due, those without a key all are; the number of retries goes up once a word."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            subscriber = await with_events(partition, 6)
            letters = DeadLetters(store, partition.keys, "crm")
            keys = {1: KEY, 2: OTHER, 3: "", 4: KEY, 5: OTHER, 6: ""}
            await subscriber.settle(6, *[dead(seq, key=key) for seq, key in keys.items()])
            assert await subscriber.store.retries() == 0
            assert await letters.move("drop", [6], NOW_MS) == 1
            assert await subscriber.store.retries() == 0
            assert await letters.move("retry", [1, 2, 3, 4, 5], NOW_MS) == 5
            assert await subscriber.store.retries() == 1
            found = await state(subscriber)
            assert (set(found["parked"]), set(found["held"])) == ({1, 2, 3}, {4, 5})
            assert await lists(subscriber) == {KEY: [1, 4], OTHER: [2, 5]}
            assert await letters.move("retry", [1, 2], NOW_MS) == 0
            assert await subscriber.store.retries() == 1
            assert (await subscriber.line())["discarded"] == 1
            assert await store.call("HMGET", subscriber.keys.sub, "given_up", "given_up_ms") == [None, None]

    asyncio.run(check())


def test_an_event_whose_attempt_runs_steps_back_behind_a_retried_one(server: StoreServer) -> None:
    """It was the first of its list and is held now, under its key, with what is known of it if it was parked."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            subscriber = await with_events(partition, 3)
            letters = DeadLetters(store, partition.keys, "crm")
            await subscriber.settle(3, dead(1, key=KEY), park(2, key=KEY, attempt=6), Change("hold", 3, KEY))
            await letters.move("retry", [1], NOW_MS)
            found = await state(subscriber)
            assert found["held"] == {2: f"{KEY} ".encode() + info(Parked(attempt=6, key=KEY)), 3: KEY.encode()}
            assert found["due"] == {1: NOW_MS}

    asyncio.run(check())


def test_a_subscriber_starts_once(server: StoreServer) -> None:
    """What is written of it at its start: where, when, and its name among the others'."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            subscriber = SubscriberStore(store, partition.keys, "new")
            await partition.commit(event("a"), event("b"))
            assert (await subscriber.subscribe("now", NOW_MS)).new
            assert not (await subscriber.subscribe(0, NOW_MS + 1)).new
            known = await store.call("HMGET", subscriber.keys.sub, "start", "cursor", "since_ms")
            assert [int(value) for value in known] == [2, 2, NOW_MS]
            assert await store.call("SMEMBERS", partition.keys.subs) in ([b"new"], {b"new"})

    asyncio.run(check())


def test_a_lease_is_given_back_by_its_owner_alone_and_keeps_its_epoch(server: StoreServer) -> None:
    """What is written and what is answered, at each step."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            known = partition.keys.state

            async def ask(owner: str, ttl_ms: int, gone: str = "") -> list[object]:
                answer: list[object] = await store.script("lease", [known], [owner, ttl_ms, gone])
                return answer

            async def now_ms() -> int:
                seconds, micros = await store.call("TIME")
                return int(seconds) * 1_000 + int(micros) // 1_000

            async def takes(owner: str, epoch: int, ttl_ms: int, gone: str = "") -> None:
                before_ms = await now_ms()
                assert await ask(owner, ttl_ms, gone) == [1, epoch, owner.encode(), ttl_ms]
                till_ms = int(await store.call("HGET", known, "lease_until_ms"))
                assert before_ms <= till_ms - ttl_ms <= await now_ms()

            assert await ask("a", 0) == [0, 0, b"", 0]
            assert await store.call("EXISTS", known) == 0
            await takes("a", 1, 60_000)
            till_ms, before_ms = int(await store.call("HGET", known, "lease_until_ms")), await now_ms()
            ours, epoch, owner, left_ms = await ask("b", 60_000)
            assert (ours, epoch, owner) == (0, 1, b"a")
            assert isinstance(left_ms, int)
            assert before_ms <= till_ms - left_ms <= await now_ms()
            assert await ask("b", 0) == [0, 1, b"", 0]
            assert (await ask("b", 60_000))[0] == 0
            assert (await ask("b", 60_000, "c"))[:3] == [0, 1, b"a"]
            await takes("a", 1, 90_000)
            await takes("b", 2, 60_000, "a")
            assert await ask("b", 0) == [0, 2, b"", 0]
            assert await store.call("HMGET", known, "owner", "lease_until_ms", "epoch") == [None, None, b"2"]
            await takes("b", 3, 60_000)
            # Twice as long as a lease is the longest that is believed.
            await store.call("HSET", known, "lease_until_ms", await now_ms() + 120_000)
            assert (await ask("c", 60_000))[0] == 0
            await store.call("HSET", known, "lease_until_ms", await now_ms() + 150_000)
            await takes("c", 4, 60_000)

    asyncio.run(check())


def test_a_settle_needs_the_epoch_it_was_given(server: StoreServer) -> None:
    """Neither an older nor a newer one settles."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            subscriber = await with_events(partition, 1)
            assert (await Lease(store, partition.keys, "tester").take()).epoch == subscriber.epoch == 1
            for epoch in (0, 2):
                with pytest.raises(LeaseLost, match="LEASE"):
                    await subscriber.settle(1, epoch=epoch, delivered=1)
            await subscriber.settle(1, delivered=1)

    asyncio.run(check())


def test_forgetting_finds_every_list_of_a_key(server: StoreServer) -> None:
    """Named by what is parked, also alone, or by what is held behind it; tried before or not."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            subscriber = await with_events(partition, 5)
            stored = StoredSubscribers(store, [partition.keys])
            await subscriber.settle(
                5,
                park(1, key="aa"),
                Change("park", 2, "bb", NOW_MS, info(Parked(attempt=1))),  # its words name no key
                Change("hold", 3, "bb"),
                Change("park", 4, "cc", NOW_MS, info(Parked(attempt=1))),
                park(5, key="cc"),
            )
            assert len(await store.call("KEYS", f"{subscriber.keys.key_prefix}*")) == 3
            await forget(stored, "crm")
            assert await store.call("KEYS", f"{partition.keys.prefix}:sub:*") == []
            assert await store.call("EXISTS", partition.keys.subs) == 0

    asyncio.run(check())


def test_trimming_counts_what_went_and_writes_nothing_if_nothing_did(server: StoreServer) -> None:
    """Numbers whose entry is gone already, or is needed by one of several subscribers, count for nothing."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await partition.commit(*[event(f"{each}", pad_bytes=each) for each in range(1, 8)])
            crm, other = await partition.subscriber(), Subscriber(partition, "other", 1)
            assert (await other.store.subscribe(0, NOW_MS)).seq == 0
            wanted = [partition.keys.state, partition.keys.log, partition.keys.subs]
            for each in (crm, other):
                wanted += [each.keys.sub, each.keys.parked, each.keys.held, each.keys.dead]
            numbers = ("trimmed", "log_bytes")
            before = await store.call("HMGET", partition.keys.state, *numbers)
            assert before[0] is None

            assert await store.script("trim", wanted, [2, 1, 2, 3]) == 0
            assert await store.call("HMGET", partition.keys.state, *numbers) == before
            await crm.settle(7, park(1), park(2, key=KEY), Change("hold", 3, KEY), dead(4), delivered=3)
            assert await store.script("trim", wanted, [2, 5, 6, 7]) == 0, "the other one has not read them"
            await other.settle(6, delivered=6)
            assert await store.script("trim", wanted, [2, 1, 2, 3, 4, 7]) == 0
            assert await store.script("trim", wanted, [2, 1, 2, 3, 4, 5, 6, 7]) == 2
            assert await store.script("trim", wanted, [2, 5, 6]) == 0
            assert await partition.names() == ["1", "2", "3", "4", "7"]
            size = sum(len(each.event_json) + len(each.raw_json) for each in await partition.log.read(0, 10))
            assert [int(value) for value in await store.call("HMGET", partition.keys.state, *numbers)] == [2, size]
            await store.call("UNLINK", crm.keys.sub, crm.keys.parked)
            assert await store.script("trim", wanted, [2, 1]) == 0, "one without a cursor has read nothing"
            assert await store.script("trim", wanted[:3], [1, 1]) == -1, "there is one more than the caller knows"
            assert await store.script("trim", wanted[:3], [2, 1]) == 1, "whom nobody waits for needs nothing"

    asyncio.run(check())
