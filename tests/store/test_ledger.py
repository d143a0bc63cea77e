"""The account and its audit: what is there is explained, and what is missing shows as exactly so many."""

import asyncio

import pytest

from gateway.operate.audit import Audit, audit
from gateway.store.connection import Store
from gateway.store.ledger import Account, make_ledger, read_account, subscribers_of
from gateway.store.parked import Change
from gateway.store.recount import recount
from tests.store.partition import NOW_MS, SOURCE, Partition, Subscriber, dead, event, hash_of, kept, park
from tests.support.stores import StoreServer


async def audited(store: Store, *partitions: Partition) -> Audit:
    """As ``gateway audit`` does it."""
    names = await subscribers_of(store, [each.keys for each in partitions])
    accounts = [await read_account(store, each.keys, found) for each, found in zip(partitions, names, strict=True)]
    recounts = [
        await recount(store, each.keys, found, account.seq)
        for each, found, account in zip(partitions, names, accounts, strict=True)
    ]
    return audit(accounts, recounts, NOW_MS)


async def busy(partition: Partition) -> Subscriber:
    """A partition with something in every place: ten events, of which the subscriber has passed nine."""
    key = hash_of("chat")
    await partition.commit(*[event(f"{number}") for number in range(1, 11)])
    await partition.commit(event("3"))
    await partition.commit(
        quarantined=(kept(b"q"),), counts=[(SOURCE, "quarantined", 1), (SOURCE, "ignored", 2), (SOURCE, "rejected", 3)]
    )
    subscriber = await partition.subscriber()
    await subscriber.settle(
        9, park(2, key=key), Change("hold", 3, key), Change("hold", 4, key), park(5), dead(6), delivered=3, filtered=1
    )
    return subscriber


def test_an_empty_store_adds_up(server: StoreServer) -> None:
    """All terms are there and zero, before anything was ever written."""

    async def check() -> None:
        async with server.store() as store:
            result = await audited(store, Partition(store))
            assert result.findings == []
            assert result.ledger == make_ledger([], NOW_MS)

    asyncio.run(check())


def test_a_busy_store_adds_up(server: StoreServer) -> None:
    """Every request, event and delivery has its place, over several partitions, and the audit agrees."""

    async def check() -> None:
        async with server.store() as store:
            one, other = Partition(store), Partition(store, "1-0")
            await busy(one)
            await busy(other)
            result = await audited(store, one, other)
            assert result.findings == []
            ledger = result.ledger
            assert ledger.unaccounted == 0
            requests = ledger.requests
            assert (requests.accepted, requests.ignored, requests.quarantined, requests.rejected) == (22, 4, 2, 6)
            assert requests.received == 34
            assert (ledger.events.produced, ledger.events.logged, ledger.events.duplicate) == (22, 20, 2)
            line = ledger.subscribers["crm"]
            assert (line.offered, line.delivered, line.filtered, line.dead, line.pending) == (20, 6, 2, 2, 10)

    asyncio.run(check())


@pytest.mark.parametrize("seq", range(1, 11))
def test_a_deleted_entry_is_exactly_one_event_unaccounted(server: StoreServer, seq: int) -> None:
    """Whether it was delivered, is parked, held, dead or not read yet, first or last: one missing entry counts one."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await busy(partition)
            await store.call("XDEL", partition.keys.log, f"{seq}-0")
            assert (await partition.ledger()).unaccounted == 1
            result = await audited(store, partition)
            assert result.ledger.unaccounted == 1
            assert "partition 0: 1 of 10 log entries are gone" in result.findings[0]
            if seq > 1:
                assert result.findings[0].endswith(f"for one {seq}")
            missed = [finding for finding in result.findings if "not in the log" in finding]
            assert len(missed) == (1 if seq in (2, 3, 4, 5, 6) else 0)

    asyncio.run(check())


def test_a_deleted_entry_stays_one_when_deliveries_go_past_it(server: StoreServer) -> None:
    """The subscriber's cursor passes the hole and counts it as discarded: still one event, not two and not none."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            subscriber = await busy(partition)
            await partition.commit(event("11"), event("12"))
            await store.call("XDEL", partition.keys.log, "11-0")
            await subscriber.settle(12, delivered=2, discarded=1)
            assert (await partition.ledger()).unaccounted == 1
            assert (await audited(store, partition)).ledger.unaccounted == 1
            # And a subscriber that forgot to count the hole does not make it two.
            other = Subscriber(partition, "other", subscriber.epoch)
            await other.store.subscribe(0, NOW_MS)
            await other.settle(12, delivered=11)
            assert (await partition.ledger()).unaccounted == 1
            assert (await audited(store, partition)).ledger.unaccounted == 1

    asyncio.run(check())


def test_two_deleted_entries_are_two(server: StoreServer) -> None:
    """In two partitions, and beside a stranger's entry, holes do not cancel one another out."""

    async def check() -> None:
        async with server.store() as store:
            one, other = Partition(store), Partition(store, "1-0")
            await busy(one)
            await busy(other)
            await store.call("XDEL", one.keys.log, "1-0")
            await store.call("XDEL", other.keys.log, "10-0")
            assert (await audited(store, one, other)).ledger.unaccounted == 2
            await store.call("XADD", other.keys.log, "99-1", "e", "{}", "r", "{}")
            await store.call("XADD", other.keys.log, "99-2", "e", "{}", "r", "{}")
            assert (await audited(store, one, other)).ledger.unaccounted == 2

    asyncio.run(check())


@pytest.mark.parametrize("place", ["parked", "due", "held", "dead", "died"])
def test_a_delivery_that_vanished_is_found(server: StoreServer, place: str) -> None:
    """A parked, held or dead delivery that is deleted behind our back is one event in no place, or a contradiction."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            subscriber = await busy(partition)
            keys = subscriber.keys
            await {
                "parked": lambda: store.call("HDEL", keys.parked, 5),
                "due": lambda: store.call("ZREM", keys.due, 5),
                "held": lambda: store.call("HDEL", keys.held, 4),
                "dead": lambda: store.call("HDEL", keys.dead, 6),
                "died": lambda: store.call("ZREM", keys.died, 6),
            }[place]()
            result = await audited(store, partition)
            assert result.findings
            assert result.ledger.unaccounted == (0 if place in ("due", "died", "held") else 1)

    asyncio.run(check())


def test_a_wrong_count_is_found(server: StoreServer) -> None:
    """Counters that were tampered with no longer agree with the log, in either direction."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            subscriber = await busy(partition)
            for key, field in (
                (partition.keys.state, f"e:{SOURCE}:logged"),
                (partition.keys.state, f"e:{SOURCE}:duplicate"),
                (subscriber.keys.sub, "delivered"),
                (subscriber.keys.sub, "filtered"),
            ):
                for by in (1, -1):
                    await store.call("HINCRBY", key, field, by)
                    assert (await partition.ledger()).unaccounted > 0, field
                    assert (await audited(store, partition)).ledger.unaccounted > 0, field
                    await store.call("HINCRBY", key, field, -by)
            assert (await audited(store, partition)).ledger.unaccounted == 0

    asyncio.run(check())


def test_the_account_of_one_moment(server: StoreServer) -> None:
    """Read while others commit and settle, every account adds up: its numbers are all of the same moment."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            subscriber = await partition.subscriber()
            accounts: list[Account] = []

            async def write() -> None:
                for number in range(60):
                    await partition.commit(event(f"{number}"), event(f"{number // 2}"))
                    await subscriber.settle(await partition.log.last(), park(number + 1))

            async def read() -> None:
                while True:
                    accounts.append(await partition.account())

            reading = asyncio.create_task(read())
            await write()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            assert len(accounts) > 10
            assert {make_ledger([account], NOW_MS).unaccounted for account in accounts} == {0}

    asyncio.run(check())
