"""Entries above the last number, put there by hand: which a commit counts as ours, and which it leaves alone."""

import asyncio

import pytest

from gateway.errors import StoreError
from gateway.store.log import NewEvent
from tests.store.partition import Partition, event
from tests.support.stores import StoreServer


async def left(partition: Partition, number: str, new: NewEvent, *more: str) -> None:
    """An entry without its number and counts."""
    fields = ("e", new.event_json, "r", new.raw_json, *more)
    await partition.store.call("XADD", partition.keys.log, number, *fields)


async def counters(partition: Partition) -> dict[bytes, bytes]:
    """Of the partition."""
    flat = await partition.store.call("HGETALL", partition.keys.state)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def test_one_entry_that_was_left_is_counted(server: StoreServer) -> None:
    """Also behind those of several sources, all of which count in what the log should hold."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            for source in ("one", "two", "three", "four"):
                await partition.commit(event(source, source=source))
            await left(partition, "5-0", event("x", source="five"))
            with pytest.raises(StoreError, match="refused entry 5: 1 were there without their number"):
                await partition.commit(event("a"))
            assert await partition.commit(event("a")) == [6]
            after = await counters(partition)
            assert (after[b"e:five:logged"], after[b"e:five:produced"], after[b"seq"]) == (b"1", b"1", b"6")

    asyncio.run(check())


@pytest.mark.parametrize("case", ["a gap before it", "without a source", "of another shape"])
def test_an_entry_that_is_not_as_ours_are_is_left_alone(server: StoreServer, case: str) -> None:
    """Nothing is counted for it, and the refusal keeps the store's own words."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await partition.commit(event("before"))
            if case == "a gap before it":
                await left(partition, "3-0", event("x"))
            elif case == "without a source":
                await left(partition, "2-0", NewEvent("evt_x", "", 1, b"{}", b"null"))
            else:
                await left(partition, "2-0", event("x"), "more", "of it")
            before = await counters(partition)
            for _ in range(2):
                with pytest.raises(StoreError, match=r"refused entry 2: .*equal or smaller"):
                    await partition.commit(event("a"))
            assert await counters(partition) == before

    asyncio.run(check())


def test_a_log_that_refuses_for_another_reason_is_not_looked_through(server: StoreServer) -> None:
    """A stream that had its last possible number says so, and nothing was counted."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await left(partition, f"{2**64 - 1}-{2**64 - 1}", event("x"))
            with pytest.raises(StoreError, match=r"refused entry 1: .*last possible ID"):
                await partition.commit(event("a"))
            assert await counters(partition) == {}

    asyncio.run(check())
