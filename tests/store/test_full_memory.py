"""A store at maxmemory, filled and then drained: only commit is refused, and all else goes on."""

import asyncio

from gateway.config import StoreSettings
from gateway.errors import StoreUnavailable
from gateway.store.housekeeping import Housekeeping
from gateway.store.lease import Lease
from gateway.store.parked import Change
from tests.store.partition import NOW_MS, Partition, bury, event, park
from tests.support.stores import Kind, running

PAD_BYTES = 20_000
MEMORY_BYTES = 6 * 1024 * 1024
"""Above what an empty server takes."""


async def taken(partition: Partition, name: str) -> bool:
    """Commit a large event; whether the store took it, and not: refused for memory."""
    try:
        await partition.commit(event(name, pad_bytes=PAD_BYTES))
    except StoreUnavailable as error:
        if "maxmemory" not in str(error):
            raise
        return False
    return True


def test_a_full_store_can_be_drained(store_kind: Kind) -> None:
    """At maxmemory commit is refused; lease, settle, park, dead letters and trim work, and with what they free commit
    is taken again, by itself. The account adds up.

    The control: without ``allow-oom`` in any one of their scripts this fails."""
    with running(store_kind) as full:

        async def check() -> None:
            async with full.store() as store:
                partition = Partition(store)
                crm = await partition.subscriber()
                used = int((await store.info("memory"))["used_memory"])
                await store.call("CONFIG", "SET", "maxmemory", used + MEMORY_BYTES)
                keep = Housekeeping(store, [partition.keys], wall_ms=lambda: NOW_MS, monotonic=lambda: 0.0)
                number = 0
                while await taken(partition, f"{number}"):
                    number += 1
                assert number > 50
                await keep.look_at_memory()
                room = [keep.has_room]
                assert (await partition.account()).seq == number, "what was refused is not half there"

                assert (await Lease(store, partition.keys, "tester").take()).ours
                await crm.settle(10, park(1), park(2), delivered=8)
                await crm.settle(number, Change("done", 1), bury(2), delivered=number - 10)
                assert not await taken(partition, "late")
                assert await keep.trim(StoreSettings(retention_s=1e9, retention_bytes=PAD_BYTES * 10)) > number - 15
                await keep.look_at_memory()
                assert [*room, keep.has_room] == [False, True]
                assert await partition.commit(event("late", pad_bytes=PAD_BYTES)) == [number + 1]
                assert (await partition.ledger()).unaccounted == 0
                line = await crm.line()
                assert (line["dead"], line["pending"]) == (1, 1)

        asyncio.run(check())
