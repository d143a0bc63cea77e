"""Processes on one folder of the spool, for tests that drain it step by step."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.intake.draining import Drainer
from gateway.intake.spool import Spool
from gateway.store.connection import Store
from gateway.store.layout import Keys
from gateway.store.log import Batch, PartitionLog
from tests.store.partition import SOURCE, Partition, event
from tests.support.stores import StoreServer

NOW_MS = 1_770_120_000_000


def batch(*names: str) -> Batch:
    """One request with these events."""
    return Batch([event(name) for name in names], [(SOURCE, "accepted", 1)], [], [])


class Process:
    """What one process has of the spool: its file, its drainer, and a clock to set."""

    def __init__(self, name: str, folder: Path, store: Store) -> None:
        self.now_ms = NOW_MS
        self.now_s = 0.0
        self.has_room = True
        self.log = PartitionLog(store, Keys("0"))
        self.spool = Spool(
            folder,
            limit_bytes=1 << 20,
            partitions=1,
            make_name=lambda: name,
            wall_ms=lambda: self.now_ms,
            has_room=lambda: self.has_room,
            replaced=self.log.renew,
        )
        self.drainer = Drainer(
            self.spool,
            [self.log],
            has_room=lambda: self.has_room,
            wall_ms=lambda: self.now_ms,
            monotonic=lambda: self.now_s,
        )

    async def put(self, *names: str, at_ms: int = 0) -> None:
        """Take a batch over, at a time after the beginning."""
        self.now_ms = NOW_MS + at_ms
        await self.spool.put(0, self.log.committer, self.log.next_batch(), batch(*names))

    async def drain(self) -> None:
        """Drain, until there is nothing more to do at once."""
        await self.drainer._round()


@asynccontextmanager
async def processes(server: StoreServer, folder: Path, number: int) -> AsyncIterator[tuple[list[Process], Partition]]:
    """Processes on one folder, whose store is there; they drain when they are told to."""
    async with server.store() as store:
        made = [Process(f"{at}", folder, store) for at in range(number)]
        try:
            for each in made:
                await each.spool.open()
                each.spool.store_is_open = True
            yield made, Partition(store)
        finally:
            for each in made:
                await each.drainer.stop()
                await each.spool.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)
