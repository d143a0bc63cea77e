"""Opening a store: is it ours, and of the shape that is configured?"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

from gateway.errors import StoreMismatch, StoreUnavailable
from gateway.store.connection import Store
from gateway.store.layout import FORMAT, Keys
from gateway.store.migrations import MIGRATIONS, Migration, migrate

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


async def open_partitions(
    store: Store, keys: Sequence[Keys], *, form: int = FORMAT, table: Mapping[int, Migration] = MIGRATIONS
) -> None:
    """Write the shape into an empty store; compare it in one that was used before; bring an earlier format to ours.

    Raises ``StoreMismatch`` where the number of partitions differs or the format cannot be read: an event's partition
    would change with them, and a retry of the same provider event would not be found.
    """
    if await store.call("HGET", keys[0].state, "partitions") in (None, str(len(keys)).encode()):
        await migrate(store, keys, form, table)
    wanted = {"partitions": str(len(keys)), "format": str(form)}
    for each in keys:
        found = await store.call("HMGET", each.state, *wanted)
        if None in found:  # only then written: a full store would refuse it
            for field, value in wanted.items():
                await store.call("HSETNX", each.state, field, value)
            found = await store.call("HMGET", each.state, *wanted)
        for (field, value), known in zip(wanted.items(), found, strict=True):
            if known.decode() != value:
                raise StoreMismatch(
                    f"the store was first used with {field} = {known.decode()}, not {value}; "
                    + (
                        f"write partitions = {known.decode()} under [store], or move to an empty store: README, "
                        "Another number of partitions"
                        if field == "partitions"
                        else f"use {await _who_reads(store, keys[0])}, or an empty store"
                    )
                )
    now_ms = time.time_ns() // 1_000_000
    await store.script("change", [keys[0].changes, keys[0].versions], ["", 0, gateway_version(), now_ms])


async def _who_reads(store: Store, first: Keys) -> str:
    """The version that used the store last, as far as the store knows."""
    flat = await store.call("HGETALL", first.versions)
    used = sorted(zip((int(ms) for ms in flat[1::2]), (name.decode() for name in flat[::2]), strict=True))
    return f"gateway {used[-1][1]}, which used it last" if used else "the version of the gateway that wrote it"


def gateway_version() -> str:
    """The version that runs."""
    try:
        return version("webhook-gateway")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"
