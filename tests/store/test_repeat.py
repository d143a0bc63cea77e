"""Batches that waited in the spool, committed many in one step: each once, none before the one it follows."""

import asyncio
from typing import Any

import pytest
from redis.exceptions import ResponseError

from gateway.errors import BatchRefused, StoreRefuses, StoreUnavailable
from gateway.store.ledger import read_account
from gateway.store.log import Batch
from gateway.store.spooled import Tallies, encode_tally, lines_of, tally_of
from tests.store.partition import SOURCE, Partition, event, kept
from tests.support.stores import StoreServer

REJECTED = (SOURCE, "rejected")


def batch(*names: str, **more: Any) -> Batch:
    """One accepted request with these events."""
    return Batch([event(name) for name in names], [(SOURCE, "accepted", 1)], [], [], **more)


def ill(name: str) -> Batch:
    """What no server takes."""
    return Batch([event(name, seen_ttl_s=1 << 60)], [(SOURCE, "accepted", 1)], [], [])


async def facts(partition: Partition) -> tuple[list[str], int, int]:
    """Names in the log, requests accepted, events that were duplicates; and all adds up."""
    ledger = await partition.ledger()
    assert ledger.unaccounted == 0
    return await partition.names(), ledger.requests.accepted, ledger.events.duplicate


def test_batches_are_in_once_however_often_they_are_repeated(server: StoreServer) -> None:
    """All at once, all again, some of them again, and with more behind them; the numbers have two digits as well."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            rows = [(number, batch(f"{number}")) for number in range(8, 13)]
            assert await partition.log.repeat("c", rows[:3]) == (3, None)
            assert await facts(partition) == (["8", "9", "10"], 3, 0)
            assert await partition.log.repeat("c", rows[:3]) == (3, None)
            assert await partition.log.repeat("c", rows[:2]) == (2, None)
            assert await facts(partition) == (["8", "9", "10"], 3, 0)
            assert await partition.log.repeat("c", rows) == (5, None)
            assert await facts(partition) == (["8", "9", "10", "11", "12"], 5, 0)
            assert await partition.log.repeat("other", [(1, batch("12", "x"))]) == (1, None)
            assert await facts(partition) == (["8", "9", "10", "11", "12", "x"], 6, 1)
            assert await store.call("GET", partition.keys.committer_prefix + "c") == b"12:5"
            assert await partition.log.repeat("c", [(13, batch()), (14, batch("y"))]) == (2, None)
            assert await facts(partition) == (["8", "9", "10", "11", "12", "x", "y"], 8, 1)

    asyncio.run(check())


def test_doubtful_counts_are_in_the_account_while_they_wait(server: StoreServer) -> None:
    """As they will be counted: not if the batch they came with is in, nor if it waits too, nor twice; at every step."""

    async def check() -> None:
        async with server.store() as store:
            for at, doubted_is_in, doubted_waits in ((0, False, False), (1, True, False), (2, False, True)):
                partition = Partition(store, f"{at}-0")
                log = partition.log
                first = Batch([], [(*REJECTED, 7)], [], [])
                await log.repeat("c", [(3, first)] if doubted_is_in else [])
                doubt = {"doubtful": [(*REJECTED, 7)], "doubtful_number": 3}
                rows = [(3, first)] if doubted_waits else []
                rows += [(number, batch(f"{number}", **doubt)) for number in (4, 5)]
                tallies = [(at, "c", number, encode_tally(tally_of(each))) for number, each in rows]
                spooled = lines_of(tallies, Tallies())
                for row in [None, *rows]:
                    await log.repeat("c", [row] if row else [])
                    counted = await read_account(store, partition.keys, (), spooled)
                    requests = counted.sources[SOURCE].requests
                    assert (requests.accepted, requests.rejected, requests.received) == (2, 7, 9)

    asyncio.run(check())


def test_one_that_is_refused_keeps_back_what_follows_it(server: StoreServer) -> None:
    """How many are in is said, and why the next one is not; what is behind it left nothing."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            in_, why = await partition.log.repeat("c", [(1, ill("a")), (2, batch("b")), (3, batch("c"))])
            assert (in_, type(why)) == (0, BatchRefused)
            assert "invalid expire" in str(why)
            assert await store.call("KEYS", "*") == []
            in_, why = await partition.log.repeat("c", [(1, batch("a")), (2, ill("b")), (3, batch("c"))])
            assert (in_, type(why)) == (1, BatchRefused)
            assert await facts(partition) == (["a"], 1, 0)
            assert await store.call("EXISTS", partition.keys.seen_prefix + "evt_c") == 0
            assert await partition.log.repeat("c", [(3, batch("c"))]) == (1, None)
            assert await facts(partition) == (["a", "c"], 2, 0)

    asyncio.run(check())


def test_one_whose_predecessor_is_not_the_last_is_to_be_asked_for_again(server: StoreServer) -> None:
    """Another stood between them and is in: no reason is given, and the next call begins with it."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await partition.log.repeat("c", [(2, batch("b"))])
            rows = [(1, batch("a")), (3, batch("c")), (4, batch("d"))]
            assert await partition.log.repeat("c", rows) == (1, None)
            assert await facts(partition) == (["b"], 1, 0)
            assert await partition.log.repeat("c", rows[1:]) == (2, None)
            assert await facts(partition) == (["b", "c", "d"], 3, 0)

    asyncio.run(check())


@pytest.mark.parametrize(("last", "before"), [(None, 1), (1, 10), (10, 1), (2, 1), (5, 6)])
def test_a_batch_without_its_predecessor_leaves_nothing(server: StoreServer, last: int | None, before: int) -> None:
    """Whether nothing is in, or something else; and then it is taken behind what it names, or behind anything."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            if last is not None:
                await partition.log.commit(last, batch("a"), committer="c")
            state = await store.call("HGETALL", partition.keys.state)
            with pytest.raises(ResponseError, match=rf"^GAP batch {before} is not in$"):
                await store.script("commit", *partition.log._call("c", 99, batch("b"), before))
            assert await store.call("HGETALL", partition.keys.state) == state
            assert await store.call("EXISTS", partition.keys.seen_prefix + "evt_b") == 0
            if last is not None:
                assert await store.script("commit", *partition.log._call("c", 99, batch("b"), last)) == b"2"
            else:
                assert await store.script("commit", *partition.log._call("c", 99, batch("b"))) == b"1"

    asyncio.run(check())


def test_an_answer_of_another_batch_is_this_one_s_fault(server: StoreServer) -> None:
    """It would be the same each time."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await partition.log.repeat("c", [(1, batch("a", "b"))])
            in_, why = await partition.log.repeat("c", [(1, batch("a")), (2, batch("c"))])
            assert (in_, type(why)) == (0, BatchRefused)
            assert "a batch of 1 events was answered with 2 numbers" in str(why)

    asyncio.run(check())


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("ACL", "SETUSER", "default", "-set"), ("ACL", "SETUSER", "default", "+set")),
        (("ACL", "SETUSER", "default", "-evalsha"), ("ACL", "SETUSER", "default", "+evalsha")),
    ],
    ids=["full", "no right to mark", "no right to run scripts"],
)
def test_what_an_operator_can_mend_is_not_the_batch_s_fault(
    server: StoreServer, begin: tuple[str, ...], end: tuple[str, ...]
) -> None:
    """One call or many, it is to be tried later; and nothing is in."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await store.ping()
            server.ask(*begin)
            try:
                with pytest.raises(StoreUnavailable, match="the store refuses: "):
                    await partition.log.commit(1, batch("a"), committer="c")
                try:
                    in_, why = await partition.log.repeat("c", [(1, batch("a")), (2, batch("b"))])
                except StoreUnavailable as error:  # refused as a whole
                    in_, why = 0, error
            finally:
                server.ask(*end)
            assert (in_, type(why)) == (0, StoreRefuses)
            assert await partition.names() == []
            assert await partition.log.repeat("c", [(1, batch("a")), (2, batch("b"))]) == (2, None)
            assert await facts(partition) == (["a", "b"], 2, 0)

    asyncio.run(check())


def test_a_shelf_of_another_kind_is_found_before_anything_is_in(server: StoreServer) -> None:
    """Only by a batch that has something for it: found in the middle, each repetition would count its events again."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            for shelf in (partition.keys.quarantine, partition.keys.rejected):
                await store.call("SET", shelf, "a text")
            for quarantined, rejected in (((kept(b"q"),), ()), ((), (kept(b"r"),))):
                with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
                    await partition.commit(event("a"), event("b"), quarantined=quarantined, rejected=rejected)
                assert await store.call("HGETALL", partition.keys.state) == []
            assert await partition.commit(event("a"), event("b"), event("c")) == [1, 2, 3]
            state = await store.call("HGETALL", partition.keys.state)
            await store.call("DEL", partition.keys.quarantine)
            many = tuple(kept(b"q%d" % number) for number in range(3))
            with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
                await partition.commit(event("d"), event("e"), quarantined=many, rejected=(kept(b"r"),))
            assert await store.call("HGETALL", partition.keys.state) == state
            assert await store.call("EXISTS", partition.keys.quarantine) == 0
            assert await partition.commit(event("d"), quarantined=many) == [4]
            assert await store.call("XLEN", partition.keys.quarantine) == 3

    asyncio.run(check())


@pytest.mark.parametrize(
    ("last", "number", "counted"), [(None, 1, 5), (1, 2, 5), (9, 10, 5), (2, 2, 0), (10, 9, 0), (3, 2, 0)]
)
def test_doubtful_counts_are_added_only_where_their_batch_is_not_in(
    server: StoreServer, last: int | None, number: int, counted: int
) -> None:
    """To those of the same name, each once, and the batch itself is counted either way."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            if last is not None:
                await partition.log.commit(last, Batch([], [], [], []), committer="c")
            doubtful = [(*REJECTED, 2), ("other", "rejected", 7), (*REJECTED, 3)]
            new = Batch([event("a")], [(*REJECTED, 10)], [], [kept(b"r")], doubtful, number)
            for _ in range(2):
                assert await partition.log.commit(20, new, committer="c") == [1]
            state = await store.call("HGETALL", partition.keys.state)
            fields = dict(zip(state[::2], state[1::2], strict=True))
            assert int(fields[b"q:enviaai-br:rejected"]) == 10 + counted
            assert (b"q:other:rejected" in fields) == bool(counted)
            assert fields.get(b"q:other:rejected", b"7") == b"7"

    asyncio.run(check())
