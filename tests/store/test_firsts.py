"""First attempts that were answered 2xx: written once, found by their event, bounded, gone with their subscriber."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.store import firsts, parked
from gateway.store.connection import Store
from gateway.store.firsts import RECORD_BYTES, First, behind, lookups, pack, unpack
from gateway.store.layout import Keys
from gateway.store.parked import SubscriberStore
from gateway.store.subscribers import StoredSubscribers
from tests.store.partition import NOW_MS, Partition, Subscriber, event, forget, park
from tests.support.stores import StoreServer


def first(seq: int, *, at_ms: int = NOW_MS, status: int = 204) -> First:
    """One that took a moment."""
    return First(seq, at_ms, 7, status)


async def with_events(store: Store, number: int) -> Subscriber:
    """A subscriber before so many events."""
    partition = Partition(store)
    await partition.commit(*[event(f"{each}") for each in range(1, number + 1)])
    return await partition.subscriber()


async def find(subscriber: Subscriber, seq: int) -> First | None:
    """What the store remembers of one event."""
    answers = await subscriber.partition.store.many(lookups(subscriber.keys, seq))
    assert all(len(records) <= 1 for records in answers), "one record says it all"
    return firsts.found(seq, answers)


async def kept(subscriber: Subscriber) -> list[list[int]]:
    """The sequence numbers of each record, of the stream before and of this one."""
    found = []
    for key in (subscriber.keys.firsts_before, subscriber.keys.firsts):
        for _, (_, record) in await subscriber.partition.store.call("XRANGE", key, "-", "+"):
            found.append([each.seq for each in unpack(record)])
    return found


@given(
    st.lists(
        st.builds(
            First,
            seq=st.integers(1, 2**40),
            at_ms=st.integers(-(2**45), 2**45),
            duration_ms=st.integers(0, 2**32),
            status=st.integers(200, 299),
        ),
        max_size=20,
    )
)
def test_a_record_gives_back_what_it_was_made_of(given_: list[First]) -> None:
    """Whatever the numbers: clocks are set back, and between two events there may be many others."""
    record = pack(given_)
    assert (unpack(record) if given_ else record) == (given_ or b"")


def test_what_is_no_record_is_not_taken_for_one() -> None:
    """Each attempt is four numbers, and no number is left over."""
    with pytest.raises(ValueError, match="shorter"):
        unpack(msgspec.msgpack.encode([1, NOW_MS, 7, 4, 1, 0, 7]))


def test_attempts_that_follow_closely_take_four_bytes_each() -> None:
    """With what the first one takes, a hundred of them fit into 420 bytes."""
    record = pack([First(5_000_000 + at, NOW_MS + at // 20, 3, 204) for at in range(100)])
    assert len(record) <= 420


def test_an_event_is_found_among_those_of_its_settle(server: StoreServer) -> None:
    """In every place of every record; of what was filtered or parked between them there is nothing."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(store, 8)
            await subscriber.settle(3, delivered=2, filtered=1, firsts=[first(1), first(3, status=200)])
            await subscriber.settle(4, filtered=1)
            await subscriber.settle(8, park(6), delivered=2, filtered=1, firsts=[first(5), first(8, at_ms=NOW_MS - 9)])
            assert [await find(subscriber, seq) for seq in range(1, 10)] == [
                *(first(1), None, first(3, status=200), None),
                *(first(5), None, None, first(8, at_ms=NOW_MS - 9), None),
            ]

    asyncio.run(check())


def test_a_settle_that_is_repeated_remembers_once(server: StoreServer) -> None:
    """The number that was settled brings the answer again, and nothing is appended; no attempt, no record."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(store, 2)
            for _ in range(3):
                await subscriber.settle(1, number=7, cursor=0, delivered=1, firsts=[first(1)])
            await subscriber.settle(2, filtered=1)
            assert await kept(subscriber) == [[1]]
            used = await store.call("HGET", subscriber.keys.sub, "firsts_bytes")
            assert int(used) == len(pack([first(1)])) + RECORD_BYTES

    asyncio.run(check())


def test_a_full_stream_takes_the_place_of_the_one_before(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is full with the record that reaches the bound; the newest always remain, and never more than two streams."""
    one = len(pack([first(1)])) + RECORD_BYTES
    monkeypatch.setattr(parked, "FIRSTS_BYTES", 3 * one)

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(store, 9)
            remembered = []
            for seq in range(1, 10):
                await subscriber.settle(seq, delivered=1, firsts=[first(seq)])
                remembered.append([number for (number,) in await kept(subscriber)])
            assert remembered == [
                *([1], [1, 2], [1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4, 5]),
                *([4, 5, 6], [4, 5, 6, 7], [4, 5, 6, 7, 8], [7, 8, 9]),
            ]
            assert await find(subscriber, 6) is None
            assert await find(subscriber, 7) == first(7)
            assert int(await store.call("HGET", subscriber.keys.sub, "firsts_bytes")) == 0

    asyncio.run(check())


def test_the_partitions_share_the_bound(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscriber takes no more in a store of many partitions than in one of one."""
    monkeypatch.setattr(parked, "FIRSTS_BYTES", 3 * (len(pack([first(1)])) + RECORD_BYTES))

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(store, 3)
            subscriber.store = SubscriberStore(store, subscriber.partition.keys, "crm", partitions=3)
            for seq in range(1, 4):
                await subscriber.settle(seq, delivered=1, firsts=[first(seq)])
            assert await kept(subscriber) == [[3]], "each record fills its stream; the control is the test above"

    asyncio.run(check())


@pytest.mark.parametrize(("events", "cap_bytes"), [(1, 16 * 1024), (256, 64 * 1024)])
def test_the_bound_is_about_what_the_store_holds(
    server: StoreServer, monkeypatch: pytest.MonkeyPatch, events: int, cap_bytes: int
) -> None:
    """Of large records as of small ones; the stores round up, by four tenths at most."""
    monkeypatch.setattr(parked, "FIRSTS_BYTES", cap_bytes)

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(store, 0)
            seq = 0
            while not await store.call("EXISTS", subscriber.keys.firsts_before):
                made = [first(each, at_ms=NOW_MS + each // 20) for each in range(seq + 1, seq + events + 1)]
                await subscriber.settle(seq := seq + events, firsts=made)
            held = await store.call("MEMORY", "USAGE", subscriber.keys.firsts_before, "SAMPLES", 0)
            assert 0.7 < held / cap_bytes < 1.4

    asyncio.run(check())


def test_what_is_remembered_goes_with_the_subscriber(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is forgotten leaves neither stream."""
    monkeypatch.setattr(parked, "FIRSTS_BYTES", 1)

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(store, 4)
            await subscriber.settle(2, delivered=2, firsts=[first(1), first(2)])
            monkeypatch.setattr(parked, "FIRSTS_BYTES", 1 << 20)
            await subscriber.settle(3, delivered=1, firsts=[first(3)])
            assert await kept(subscriber) == [[1, 2], [3]]
            await forget(StoredSubscribers(store, [Keys("0")]), "crm")
            assert await store.call("KEYS", f"{subscriber.keys.sub}*") == []

    asyncio.run(check())


def test_a_cursor_that_was_set_back_goes_on(server: StoreServer) -> None:
    """Whoever edits the store by hand: the settle is done whole, and what is remembered begins anew with it."""

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(store, 4)
            for seq in (1, 2, 3):
                await subscriber.settle(seq, delivered=1, firsts=[first(seq)])
            await store.call("HSET", subscriber.keys.sub, "cursor", 0, "delivered", 0)
            subscriber.cursor = 0
            await subscriber.settle(2, delivered=2, firsts=[first(1), first(2)])
            assert await kept(subscriber) == [[1, 2]]
            used = int(await store.call("HGET", subscriber.keys.sub, "firsts_bytes"))
            assert used == len(pack([first(1), first(2)])) + RECORD_BYTES
            await subscriber.settle(4, delivered=2, firsts=[first(3), first(4)])
            assert await kept(subscriber) == [[1, 2], [3, 4]]
            assert (await subscriber.line())["unaccounted"] == 0

    asyncio.run(check())


def test_what_begins_anew_leaves_nothing_of_before(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cursor that was set back: neither stream keeps what was, and the record stands where the cursor goes."""
    monkeypatch.setattr(parked, "FIRSTS_BYTES", 2 * (len(pack([first(1)])) + RECORD_BYTES))

    async def check() -> None:
        async with server.store() as store:
            subscriber = await with_events(store, 4)
            for seq in (1, 2, 3):
                await subscriber.settle(seq, delivered=1, firsts=[first(seq)])
            assert await kept(subscriber) == [[1], [2], [3]]
            await store.call("HSET", subscriber.keys.sub, "cursor", 0, "delivered", 0)
            subscriber.cursor = 0
            await subscriber.settle(2, delivered=1, filtered=1, firsts=[first(1)])
            assert [entry_id for entry_id, _ in await store.call("XRANGE", subscriber.keys.firsts, "-", "+")] == [
                b"2-0"
            ]
            assert await kept(subscriber) == [[1]]

    asyncio.run(check())


def test_what_is_behind_an_event_is_it_and_later_ones() -> None:
    """Of a record that begins before it, what is before it is left out; another stream's is there too."""
    kept = [first(seq) for seq in (3, 5, 9)]
    answers = [[(b"9-0", (b"f", pack(kept[:2])))], [(b"9-0", (b"f", pack(kept[2:])))]]
    assert behind(5, answers) == kept[1:]
    assert behind(10, answers) == []
