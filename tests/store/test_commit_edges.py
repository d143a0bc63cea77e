"""What a commit leaves in the store: each number, each byte, each lifetime, also where the server refuses."""

import asyncio

import msgspec
import pytest

from gateway.errors import BatchRefused, StoreError, StoreUnavailable
from gateway.store import log as log_module
from gateway.store.log import COMMITTER_TTL_S, Batch, NewEvent
from gateway.store.quarantine import KeptRequests
from tests.store.partition import NOW_MS, SOURCE, Partition, event, kept
from tests.support.stores import StoreServer


async def state(partition: Partition) -> dict[str, int]:
    """The partition's counters."""
    flat = await partition.store.call("HGETALL", partition.keys.state)
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return {name.decode(): int(value) for name, value in pairs if name[:2] not in (b"l:", b"t:")}


def test_a_batch_leaves_its_counts_and_nothing_else(server: StoreServer) -> None:
    """Terms that are zero are not written; bytes are those of event and raw; counts of one name add up."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            one, two = event("a", source="one", pad_bytes=10), event("b", source="two", pad_bytes=3)
            counts = [("one", "accepted", 2), ("one", "accepted", 3), ("two", "ignored", 1)]
            assert await partition.commit(one, two, one, counts=counts) == [1, 2, 0]
            size = sum(len(each.event_json) + len(each.raw_json) for each in (one, two))
            assert await state(partition) == {
                "seq": 2,
                "log_bytes": size,
                "q:one:accepted": 5,
                "q:two:ignored": 1,
                "e:one:logged": 1,
                "e:one:duplicate": 1,
                "e:one:produced": 2,
                "e:two:logged": 1,
                "e:two:produced": 1,
            }
            assert await partition.commit(two, counts=[]) == [0]
            assert await state(partition) == {
                "seq": 2,
                "log_bytes": size,
                "q:one:accepted": 5,
                "q:two:ignored": 1,
                "e:one:logged": 1,
                "e:one:duplicate": 1,
                "e:one:produced": 2,
                "e:two:logged": 1,
                "e:two:duplicate": 1,
                "e:two:produced": 2,
            }
            came = await store.call("HMGET", partition.keys.state, "l:one", "l:two")
            assert came == [b"2026-02-03T12:00:00.000Z"] * 2, "when the latest of each source came"

    asyncio.run(check())


def test_when_the_latest_event_came_never_goes_back(server: StoreServer) -> None:
    """What waited in a spool and comes into the log late is not the latest of its source."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            first, second, third = (event(f"{at}", received_ms=NOW_MS + at) for at in range(3))
            for each, latest in ((second, second), (first, second), (third, third)):
                await partition.commit(each)
                came = msgspec.json.decode(latest.event_json)["received_at"]
                assert (await partition.account()).latest == {SOURCE: came}

    asyncio.run(check())


def test_marks_and_replies_live_as_long_as_they_were_told(server: StoreServer) -> None:
    """A mark holds the number of its entry for its own time, the committer's last reply for a day."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await partition.commit(event("a", seen_ttl_s=100), event("b", seen_ttl_s=200))
            for name, seq, ttl_s in (("a", b"1", 100), ("b", b"2", 200)):
                key = f"{partition.keys.seen_prefix}evt_{name}"
                assert await store.call("GET", key) == seq
                assert ttl_s - 2 <= await store.call("TTL", key) <= ttl_s
            assert await partition.commit(event("a", seen_ttl_s=999)) == [0]
            assert await store.call("TTL", f"{partition.keys.seen_prefix}evt_a") <= 100, "a duplicate renews nothing"
            (committer,) = await store.call("KEYS", f"{partition.keys.committer_prefix}*")
            assert await store.call("GET", committer) == b"2:0"
            assert COMMITTER_TTL_S - 2 <= await store.call("TTL", committer) <= COMMITTER_TTL_S

    asyncio.run(check())


def test_it_is_written_down_since_which_number_the_marks_of_a_source_live_so_long(server: StoreServer) -> None:
    """For each source; a duplicate makes no mark, and of an entry that is refused nothing is left."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)

            async def since() -> list[bytes | None]:
                found: list[bytes | None] = await store.call("HMGET", partition.keys.state, "t:one", "t:two")
                return found

            def new(name: str, source: str, ttl_s: int) -> NewEvent:
                return event(name, source=source, seen_ttl_s=ttl_s)

            await partition.commit(new("a", "one", 100), new("b", "one", 100), new("c", "two", 100))
            assert await since() == [b"100 1", b"100 3"]
            await partition.commit(new("d", "one", 100), new("a", "one", 50))
            assert await since() == [b"100 1", b"100 3"], "the same; a duplicate"
            await partition.commit(new("e", "two", 100), new("f", "one", 50), new("g", "one", 50))
            assert await since() == [b"50 6", b"100 3"]
            await partition.commit(new("h", "one", 100), new("i", "one", 50), new("j", "one", 100))
            assert await since() == [b"100 10", b"100 3"], "what was so before does not count again"
            await store.call(
                "XADD", partition.keys.log, "11-0", "e", new("x", "one", 1).event_json, "r", "null", "m", 1
            )
            for _ in range(2):
                with pytest.raises(StoreError, match="refused entry 11"):
                    await partition.commit(new("k", "one", 50))
            assert await since() == [b"100 10", b"100 3"], "it has no entry"

    asyncio.run(check())


def test_an_entry_is_the_event_and_its_raw(server: StoreServer) -> None:
    """Under its sequence number, in these two fields, of each event its own."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            events = [event("a", pad_bytes=1), event("b", pad_bytes=2), event("c", pad_bytes=3)]
            await partition.commit(*events)
            entries = await store.call("XRANGE", partition.keys.log, "-", "+")
            assert [(entry_id, *fields) for entry_id, fields in entries] == [
                (b"%d-0" % seq, b"e", each.event_json, b"r", each.raw_json) for seq, each in enumerate(events, 1)
            ]

    asyncio.run(check())


def test_everything_of_one_batch_finds_its_place(server: StoreServer) -> None:
    """Several events, quarantined and rejected requests at once, each with its own body and words."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            quarantined = tuple(kept(body, f"q{body.decode()}") for body in (b"1", b"22", b"333"))
            rejected = tuple(kept(body, f"r{body.decode()}") for body in (b"4", b"55"))
            sequence = await partition.commit(event("a"), event("b"), quarantined=quarantined, rejected=rejected)
            assert sequence == [1, 2]
            for shelf, wanted in (("quarantine", quarantined), ("rejected", rejected)):
                found = await KeptRequests(store, partition.keys, shelf).list(None, 10)  # type: ignore[arg-type]  # its two names
                assert [(each.body, each.meta) for each in found] == [
                    (each.body, msgspec.structs.replace(each.meta, body_bytes=len(each.body)))
                    for each in reversed(wanted)
                ]
            stored = await store.call("XRANGE", partition.keys.rejected, "-", "+")
            size = sum(len(fields[1]) + len(fields[3]) for _, fields in stored)
            assert (await state(partition))["rejected_bytes"] == size

    asyncio.run(check())


@pytest.mark.parametrize("shelf", ["quarantine", "rejected"])
def test_a_shelf_of_another_kind_refuses_what_goes_there_and_nothing_else(server: StoreServer, shelf: str) -> None:
    """Somebody wrote to our key: the batch that would go there leaves nothing, every other one is taken."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await store.call("SET", f"{partition.keys.prefix}:{shelf}", "x")
            one, none = (kept(b"body"),), ()
            there, elsewhere = ((one, none), (none, one)) if shelf == "quarantine" else ((none, one), (one, none))
            assert await partition.commit(event("a")) == [1]
            assert await partition.commit(event("b"), quarantined=elsewhere[0], rejected=elsewhere[1]) == [2]
            doubt = Batch([event("d")], [], list(elsewhere[0]), list(elsewhere[1]), [(SOURCE, "ignored", 1)], 1)
            assert await partition.log.commit(partition.log.next_batch(), doubt) == [3]
            before = await state(partition)
            with pytest.raises(StoreError, match="WRONGTYPE"):
                await partition.commit(event("c"), quarantined=there[0], rejected=there[1])
            assert await state(partition) == before
            assert await partition.names() == ["a", "b", "d"]

    asyncio.run(check())


def test_a_batch_without_events_counts_its_requests_and_no_bytes(server: StoreServer) -> None:
    """Of the log only its number is written."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            assert await partition.commit(counts=[("one", "ignored", 1)]) == []
            assert await state(partition) == {"seq": 0, "q:one:ignored": 1}

    asyncio.run(check())


@pytest.mark.parametrize(("spare", "left"), [(-1, [b"b"]), (0, [b"b", b"a"]), (1, [b"b", b"a"])])
def test_the_cap_of_the_rejected_holds_to_the_byte(
    server: StoreServer, monkeypatch: pytest.MonkeyPatch, spare: int, left: list[bytes]
) -> None:
    """What fits exactly stays; one byte more, and the oldest goes, and only that."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await partition.commit(rejected=(kept(b"a"),))
            one = (await state(partition))["rejected_bytes"]
            monkeypatch.setattr(log_module, "REJECTED_CAP_BYTES", 2 * one + spare)
            await partition.commit(rejected=(kept(b"b"),))
            found = await KeptRequests(store, partition.keys, "rejected").list(None, 10)
            assert [each.body for each in found] == left
            assert (await state(partition))["rejected_bytes"] == len(left) * one

    asyncio.run(check())


def test_a_counter_that_is_wrong_ends_no_batch(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody emptied the rejected by hand: the counter says more than is there, and the batch is committed."""
    monkeypatch.setattr(log_module, "REJECTED_CAP_BYTES", 100)

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await store.call("HSET", partition.keys.state, "rejected_bytes", 1_000_000)
            assert await partition.commit(event("a"), rejected=(kept(b"r"),)) == [1]
            assert await store.call("XLEN", partition.keys.rejected) == 0

    asyncio.run(check())


def test_a_refusal_before_anything_is_in_writes_nothing(server: StoreServer) -> None:
    """The first batch of all: neither a number nor a count, and the committer has no reply to repeat."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            with pytest.raises(BatchRefused, match=r"^EVENT the id of an event was refused: .*invalid expire"):
                await partition.commit(event("a", seen_ttl_s=0), quarantined=(kept(b"q"),), number=1)
            assert await state(partition) == {}
            await store.call("XADD", partition.keys.log, "3-5", "e", "{}", "r", "{}")
            with pytest.raises(StoreUnavailable, match="the log refused entry 1: "):
                await partition.commit(event("a"), number=1)
            assert await state(partition) == {}
            assert await store.call("KEYS", f"{partition.keys.seen_prefix}*") == []
            assert await store.call("KEYS", f"{partition.keys.committer_prefix}*") == []

    asyncio.run(check())


def test_what_went_in_before_a_refusal_is_counted(server: StoreServer) -> None:
    """Of the events before the refused one, each with its term; of the batch's requests none."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await partition.commit(event("z"))
            before = await state(partition)
            with pytest.raises(BatchRefused, match="invalid expire"):
                await partition.commit(event("z"), event("a"), event("b", source="another", seen_ttl_s=0))
            size = len(event("a").event_json) + len(event("a").raw_json)
            assert await state(partition) == {
                **before,
                "seq": 2,
                "log_bytes": before["log_bytes"] + size,
                f"e:{SOURCE}:logged": 2,
                f"e:{SOURCE}:duplicate": 1,
                f"e:{SOURCE}:produced": 3,
            }
            await store.call("XADD", partition.keys.log, "3-5", "e", "{}", "r", "{}")
            with pytest.raises(StoreUnavailable, match="the log refused entry 3: "):
                await partition.commit(event("a"), event("c"))
            assert (await state(partition))["seq"] == 2
            assert (await state(partition))[f"e:{SOURCE}:duplicate"] == 2

    asyncio.run(check())


def test_numbers_of_batches_go_up_and_are_compared_as_numbers(server: StoreServer) -> None:
    """The same again is answered, the one before is too late, however many digits they have."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            assert [partition.log.next_batch() for _ in range(3)] == [1, 2, 3]
            assert await partition.commit(event("a"), event("b"), number=9) == [1, 2]
            assert await partition.commit(event("a"), event("b"), number=9) == [1, 2]
            assert await partition.commit(event("a"), event("c"), number=10) == [0, 3]
            with pytest.raises(BatchRefused, match="LATE batch 10 was here before"):
                await partition.commit(event("a"), number=9)
            assert await partition.commit(number=11, counts=[(SOURCE, "ignored", 1)]) == []
            assert await partition.commit(number=11, counts=[(SOURCE, "ignored", 1)]) == []
            assert (await state(partition))[f"q:{SOURCE}:ignored"] == 1

    asyncio.run(check())


def test_an_answer_that_does_not_fit_is_a_defect_and_no_success(server: StoreServer) -> None:
    """Somebody wrote another reply into the committer's key: nobody is told a number that is not theirs."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await partition.commit(event("a"), number=1)
            (committer,) = await store.call("KEYS", f"{partition.keys.committer_prefix}*")
            await store.call("SET", committer, "2:7,8")
            with pytest.raises(BatchRefused, match="a batch of 1 events was answered with 2 numbers"):
                await partition.commit(event("b"), number=2)

    asyncio.run(check())


def test_what_went_in_first_of_all_before_a_refusal_is_counted(server: StoreServer) -> None:
    """One event on an empty store, then one that the server refuses; one duplicate, then one that the log refuses."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            with pytest.raises(BatchRefused, match="invalid expire"):
                await partition.commit(event("a"), event("b", seen_ttl_s=0))
            counted = await state(partition)
            assert (counted["seq"], counted[f"e:{SOURCE}:logged"], counted[f"e:{SOURCE}:produced"]) == (1, 1, 1)
            await store.call("XADD", partition.keys.log, "3-5", "e", "{}", "r", "{}")
            with pytest.raises(StoreUnavailable, match="the log refused entry 2: "):
                await partition.commit(event("a"), event("b"))
            counted = await state(partition)
            assert (counted["seq"], counted[f"e:{SOURCE}:duplicate"], counted[f"e:{SOURCE}:produced"]) == (1, 1, 2)

    asyncio.run(check())
