"""A committer with a spool, on a store that can be taken away from it."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.intake.committer import Committer
from tests.intake.drained import Process
from tests.store.partition import SOURCE, Partition, event
from tests.support.proxy import Proxy, proxied
from tests.support.stores import StoreServer

ACCEPTED = (SOURCE, "accepted")


class Room:
    """A committer before a proxied store, with a spool, and a clock that may be set forward."""

    def __init__(self, process: Process, partition: Partition, proxy: Proxy) -> None:
        self.process = process
        self.spool = process.spool
        self.partition = partition
        self.proxy = proxy
        self.ahead_s = 0.0
        self.committer = Committer(process.log, monotonic=lambda: time.monotonic() + self.ahead_s, spool=process.spool)

    async def ask(self, *names: str) -> list[int]:
        """A request with these events."""
        return await self.committer.submit([event(name) for name in names], count=ACCEPTED)

    async def rejected(self) -> int:
        """How many the store has counted."""
        return (await self.partition.ledger()).requests.rejected


@asynccontextmanager
async def room(server: StoreServer, folder: Path) -> AsyncIterator[Room]:
    """Closed at the end."""
    async with (
        proxied(server.socket) as proxy,
        server.store(url=proxy.url) as store,
        server.store() as direct,
    ):
        process = Process("0", folder, store)
        await process.spool.open()
        process.spool.store_is_open, process.spool.must_wait = True, False
        made = Room(process, Partition(direct), proxy)
        made.committer.start()
        try:
            yield made
        finally:
            proxy.passing.set()
            await made.committer.close()
            await process.drainer.stop()
            await process.spool.close()
