"""A process that brings a store to another format, as a gateway of a later version would when it starts."""

import asyncio
import sys

from gateway.config import StoreSettings
from gateway.store.connection import Store
from gateway.store.layout import Keys, tags
from gateway.store.migrations import Migration, migrate

KEYS = [Keys(tag) for tag in tags(2)]


async def _step(store: Store, keys: Keys) -> None:
    await store.call("HSET", keys.state, "stepped", 1)


async def main(url: str) -> None:
    """Format 1 to 2, both partitions."""
    store = Store(StoreSettings(url=url), url)
    try:
        await migrate(store, KEYS, 2, {1: Migration("a step", _step)})
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
