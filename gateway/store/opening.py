"""Opening a store: is it ours, and of the shape that is configured?"""

import asyncio
from collections.abc import Sequence

from gateway.errors import StoreMismatch, StoreUnavailable
from gateway.store.connection import Store
from gateway.store.layout import FORMAT, Keys

PATIENCE_S = 10.0
"""How long an embedded store may be away while a gateway starts. Right after a crash its server may still be the one
that ends with the crashed gateway: it answers for a moment, then it is gone, and its successor is started."""

PAUSE_S = 0.05


async def open_store(store: Store, keys: Sequence[Keys], *, patience_s: float) -> None:
    """See that the store keeps what it acknowledges and has our shape; waits for it up to ``patience_s``.

    Raises ``NotDurable``, ``StoreMismatch``, ``StoreUnavailable``.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + patience_s
    while True:
        try:
            await store.ping()
            return await open_partitions(store, keys)
        except StoreUnavailable:
            if loop.time() >= deadline_s:
                raise
            await asyncio.sleep(PAUSE_S)


async def open_partitions(store: Store, keys: Sequence[Keys]) -> None:
    """Write the shape into an empty store; compare it in one that was used before.

    Raises ``StoreMismatch`` where the number of partitions or the format differ: an event's partition would change with
    them, and a retry of the same provider event would not be found.
    """
    wanted = {"format": str(FORMAT), "partitions": str(len(keys))}
    for each in keys:
        for field, value in wanted.items():
            await store.call("HSETNX", each.state, field, value)
        found = await store.call("HMGET", each.state, *wanted)
        for (field, value), known in zip(wanted.items(), found, strict=True):
            if known.decode() != value:
                raise StoreMismatch(
                    f"the store was first used with {field} = {known.decode()}, not {value}; "
                    + (
                        f"write partitions = {known.decode()} under [store], or use an empty store"
                        if field == "partitions"
                        else "use the version of the gateway that wrote it, or an empty store"
                    )
                )
