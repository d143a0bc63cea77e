"""The commit: each batch once, each event once, each number in its place."""

import asyncio

import msgspec
import pytest

from gateway.errors import BatchRefused, StoreUnavailable
from gateway.store import log as log_module
from gateway.store.quarantine import KeptRequests
from tests.store.partition import SOURCE, Partition, event, kept
from tests.support.stores import StoreServer


def test_events_get_growing_numbers_without_holes(server: StoreServer) -> None:
    """Sequence numbers start at 1 and go on where the last batch ended, whoever committed it."""

    async def check() -> None:
        async with server.store() as store:
            one, other = Partition(store), Partition(store)
            assert await one.commit(event("a"), event("b")) == [1, 2]
            assert await other.commit(event("c")) == [3]
            assert await one.commit(event("d")) == [4]
            entries = await one.log.read(0, 10)
            assert [entry.seq for entry in entries] == [1, 2, 3, 4]
            assert await one.names() == ["a", "b", "c", "d"]
            assert entries[0].event_json == event("a").event_json
            assert entries[0].raw_json == event("a").raw_json

    asyncio.run(check())


def test_a_repeated_batch_changes_nothing_and_is_answered_as_before(server: StoreServer) -> None:
    """After a lost reply the same number brings the stored reply: events, requests and kept bytes count once."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await partition.commit(event("a"))
            number = partition.log.next_batch()
            for _ in range(3):
                sequence = await partition.commit(
                    *(event("a"), event("b"), event("c")),
                    number=number,
                    quarantined=(kept(b"q"),),
                    rejected=(kept(b"r"),),
                    counts=[(SOURCE, "accepted", 3), (SOURCE, "quarantined", 1), (SOURCE, "rejected", 1)],
                )
                assert sequence == [0, 2, 3]
            assert await partition.names() == ["a", "b", "c"]
            ledger = await partition.ledger()
            requests, events = ledger.requests, ledger.events
            assert (requests.received, requests.accepted, requests.quarantined, requests.rejected) == (6, 4, 1, 1)
            assert (events.produced, events.logged, events.duplicate) == (4, 3, 1)
            for shelf in ("quarantine", "rejected"):
                found = await KeptRequests(store, partition.keys, shelf).list(None, 10)
                assert [each.body for each in found] == [shelf[:1].encode()]

    asyncio.run(check())


def test_a_batch_that_comes_after_its_successor_is_refused(server: StoreServer) -> None:
    """A copy of an old batch that a network kept back must not be counted when it arrives after all."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await partition.commit(event("a"), number=1)
            await partition.commit(event("b"), number=2)
            with pytest.raises(BatchRefused, match="LATE"):
                await partition.commit(event("a"), number=1)
            ledger = await partition.ledger()
            assert (ledger.requests.accepted, ledger.events.logged, ledger.events.duplicate) == (2, 2, 0)
            assert await partition.commit(event("c"), number=10) == [3]  # numbers may be left out, and are not text

    asyncio.run(check())


def test_the_same_number_of_two_committers_is_two_batches(server: StoreServer) -> None:
    """Numbers belong to a committer: two gateways both start at 1."""

    async def check() -> None:
        async with server.store() as store:
            one, other = Partition(store), Partition(store)
            assert await one.commit(event("a"), number=1) == [1]
            assert await other.commit(event("b"), number=1) == [2]

    asyncio.run(check())


def test_an_event_seen_before_is_a_duplicate(server: StoreServer) -> None:
    """A retry of the provider is answered 0 and counted, also inside one batch, and nothing is appended."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            assert await partition.commit(event("a"), event("b"), event("a")) == [1, 2, 0]
            assert await partition.commit(event("b"), event("c")) == [0, 3]
            assert await partition.names() == ["a", "b", "c"]
            events = (await partition.ledger()).events
            assert (events.produced, events.logged, events.duplicate) == (5, 3, 2)

    asyncio.run(check())


def test_an_id_is_forgotten_after_its_time(server: StoreServer) -> None:
    """The mark of an id expires with the time it was given, and then the event is logged again."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await partition.commit(event("a", seen_ttl_s=77), event("b", seen_ttl_s=1))
            assert 75 <= await store.call("TTL", partition.keys.seen_prefix + "evt_a") <= 77
            await store.call("PEXPIRE", partition.keys.seen_prefix + "evt_b", 0)  # its second is over
            assert await partition.commit(event("a"), event("b")) == [0, 3]

    asyncio.run(check())


def test_each_source_has_its_own_counts(server: StoreServer) -> None:
    """A batch of several sources counts requests and events of each."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await partition.commit(event("a", source="one"), event("b", source="two"), event("c", source="two"))
            await partition.commit(
                event("c", source="two"),
                counts=[("two", "accepted", 1), ("three", "ignored", 4), ("one", "rejected", 2)],
            )
            sources = (await partition.account()).sources
            assert sources["one"].events.logged == 1
            assert (sources["two"].events.produced, sources["two"].events.logged) == (3, 2)
            assert sources["two"].events.duplicate == 1
            assert sources["three"].requests.ignored == 4
            assert (sources["one"].requests.received, sources["one"].requests.rejected) == (3, 2)

    asyncio.run(check())


def test_an_event_is_found_by_its_id(server: StoreServer) -> None:
    """The mark of an id leads to its entry; an unknown id, and one whose entry is gone, to nothing."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await partition.commit(event("a"), event("b"))
            found = await partition.log.find("evt_b")
            assert found is not None
            assert found.seq == 2
            assert await partition.log.find("evt_z") is None
            await store.call("XDEL", partition.keys.log, "2-0")
            assert await partition.log.find("evt_b") is None
            assert await partition.log.pick([1, 2, 3]) == {1: (await partition.log.read(0, 1))[0]}

    asyncio.run(check())


def test_rejected_requests_are_kept_up_to_their_cap(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go when the cap in bytes is passed; the counter of bytes stays that of what is there."""
    monkeypatch.setattr(log_module, "REJECTED_CAP_BYTES", 5_000)

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            shelf = KeptRequests(store, partition.keys, "rejected")
            for number in range(10):
                await partition.commit(rejected=(kept(b"%d" % number * 1_000),), counts=[(SOURCE, "rejected", 1)])
            found = await shelf.list(None, 100)
            assert [each.body[:1] for each in found] == [b"9", b"8", b"7", b"6"]
            stored = await store.call("XRANGE", partition.keys.rejected, "-", "+")
            size = sum(len(fields[1]) + len(fields[3]) for _, fields in stored)
            assert int(await store.call("HGET", partition.keys.state, "rejected_bytes")) == size <= 5_000
            assert (await partition.ledger()).requests.rejected == 10  # the count knows all of them
            # One that is larger than the cap alone leaves nothing, and harms nothing.
            await partition.commit(rejected=(kept(b"x" * 9_000),))
            assert await shelf.list(None, 100) == []
            assert int(await store.call("HGET", partition.keys.state, "rejected_bytes")) == 0

    asyncio.run(check())


def test_quarantined_bytes_are_kept_exactly_and_without_a_cap(
    server: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quarantine never drops by itself: whatever bytes came, in order, found again by their place."""
    monkeypatch.setattr(log_module, "REJECTED_CAP_BYTES", 10)
    bodies = [b"\xff\x00{", b"", b"null", b"\r\n" * 9]

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            shelf = KeptRequests(store, partition.keys, "quarantine")
            await partition.commit(quarantined=tuple(kept(body) for body in bodies))
            found = await shelf.list(None, 100)
            assert [each.body for each in found] == bodies[::-1]
            assert found[0].meta == msgspec.structs.replace(kept(b"").meta, body_bytes=len(bodies[-1]))
            assert await shelf.get(found[1].id) == found[1]
            assert await shelf.get("1-1") is None
            assert [each.body for each in await shelf.list(found[1].id, 1)] == [bodies[1]]

    asyncio.run(check())


def test_a_refusing_log_takes_the_mark_back(server: StoreServer) -> None:
    """Somebody wrote a later id into the log: nothing is acknowledged, and no retry is then called a duplicate."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await partition.commit(event("a"))
            await store.call("XADD", partition.keys.log, "3-5", "e", "{}", "r", "{}")
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match="the log refused entry 2"):
                    await partition.commit(event("a"), event("b"), event("c"), quarantined=(kept(b"q"),))
            ledger = await partition.ledger()
            assert (ledger.events.logged, ledger.requests.accepted) == (1, 1)
            assert ledger.events.produced == ledger.events.logged + ledger.events.duplicate
            assert ledger.unaccounted == 1  # the stranger's entry
            assert await KeptRequests(store, partition.keys, "quarantine").list(None, 10) == []
            (first, _) = await partition.log.read(0, 10)
            await store.call("DEL", partition.keys.log)  # mended by hand: without the stranger's entry
            await store.call("XADD", partition.keys.log, "1-0", "e", first.event_json, "r", first.raw_json)
            assert await partition.commit(event("b"), event("c")) == [2, 3]
            assert (await partition.ledger()).unaccounted == 0

    asyncio.run(check())


def test_a_defect_in_the_middle_of_a_batch_leaves_the_log_usable(server: StoreServer) -> None:
    """Story: the server refused the third event's mark and ended the script; the two entries before it were in the
    log, but their numbers were not written down, so that every later batch was refused, for ever."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            with pytest.raises(BatchRefused, match="invalid expire time"):
                await partition.commit(event("a"), event("b"), event("c", seen_ttl_s=0), event("d"))
            assert await partition.names() == ["a", "b"]
            assert (await partition.ledger()).unaccounted == 0
            assert await partition.commit(event("a"), event("c"), event("d")) == [0, 3, 4]
            assert (await partition.ledger()).unaccounted == 0

    asyncio.run(check())
