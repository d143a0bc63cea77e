"""From one format of the store to the next: a table, and the walk along it.

Every partition has its own ``format``, so a walk that was killed goes on where it was. Rules for a step:

- it changes one partition and may be run again after it was done in part, or whole;
- it is made of scripts, or of commands that each leave the store readable by whoever runs the step again;
- the format counts up only when all of the step is done (``lua/migrate.lua``), and never goes back.

One process walks, under a lock that it renews; others wait for it. A gateway of an earlier version that still delivers
would not know what it finds, so its lease is waited for. One that only takes requests is not seen: stop all of them
before the first one of the new version starts.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

import structlog

from gateway.errors import StoreMismatch, StoreUnavailable
from gateway.store.connection import Store
from gateway.store.layout import Keys
from gateway.store.lease import owner_name, provably_gone

log = structlog.get_logger("gateway.store")

LOCK_MS = 30_000
PAUSE_S = 0.1
LEASE_PATIENCE_S = 30.0
"""How long a process that still delivers is waited for: a lease is shorter."""


class Migration(NamedTuple):
    """One step, from the format it stands for in the table to the next."""

    words: str
    """What it does, for the log."""
    run: Callable[[Store, Keys], Awaitable[None]]
    """For one partition."""


MIGRATIONS: Mapping[int, Migration] = {}
"""Format → the step that leads to the next. Format 1 is the first one, so there is none yet. The tests keep a store of
every format (``tests/store/formats.py``) and open it with this table."""


async def migrate(store: Store, keys: Sequence[Keys], wanted: int, table: Mapping[int, Migration]) -> None:
    """Bring every partition from its format to ``wanted``. Partitions without a format are new and are left alone.

    Raises ``StoreMismatch`` where no step leads there, or where a gateway still delivers; ``StoreUnavailable``.
    """
    found = await _formats(store, keys)
    if all(each in (None, wanted) for each in found):
        return
    for each in found:
        missing = [step for step in range(each or wanted, wanted) if step not in table]
        if (each or wanted) > wanted or missing:
            return  # whoever compares the shape says why
    await _wait_for_leases(store, keys)
    async with _lock(store, keys[0]) as who:
        for one, at in zip(keys, await _formats(store, keys), strict=True):
            for step in range(at or wanted, wanted):
                log.warning("store.migrate", partition=one.prefix, format=step, to=step + 1, what=table[step].words)
                await table[step].run(store, one)
                done, _ = await store.script("migrate", [keys[0].state, one.state], ["done", who, step, step + 1])
                if not done:
                    raise StoreUnavailable("another process took over bringing the store to its new format")


async def _formats(store: Store, keys: Sequence[Keys]) -> list[int | None]:
    found = await store.many([("HGET", each.state, "format") for each in keys])
    return [None if each is None else int(each) for each in found]


async def _wait_for_leases(store: Store, keys: Sequence[Keys]) -> None:
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + LEASE_PATIENCE_S
    while True:
        (seconds, micros), *leases = await store.many(
            [("TIME",), *(("HMGET", each.state, "owner", "lease_until_ms") for each in keys)]
        )
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        owners = [owner.decode() for owner, until_ms in leases if owner and int(until_ms or 0) > now_ms]
        owners = [owner for owner in owners if not provably_gone(owner)]
        if not owners:
            return
        if loop.time() >= deadline_s:
            raise StoreMismatch(
                f"the store has an earlier format, and {owners[0]} still delivers from it: "
                "stop every gateway of the earlier version first"
            )
        await asyncio.sleep(PAUSE_S)


@contextlib.asynccontextmanager
async def _lock(store: Store, first: Keys) -> AsyncIterator[str]:
    who = owner_name()

    async def take(gone: str = "") -> tuple[bool, str]:
        done, holder = await store.script("migrate", [first.state], ["take", who, LOCK_MS, gone])
        return bool(done), holder.decode()

    async def renew() -> None:
        while True:
            await asyncio.sleep(LOCK_MS / 3000)
            with contextlib.suppress(StoreUnavailable):  # then it is lost by time, which the end of a step notices
                await take()

    while True:
        done, holder = await take()
        if done or (provably_gone(holder) and (await take(holder))[0]):
            break
        await asyncio.sleep(PAUSE_S)
    renewing = asyncio.create_task(renew(), name="migration lock")
    try:
        yield who
    finally:
        renewing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await renewing
        with contextlib.suppress(StoreUnavailable):
            await store.script("migrate", [first.state], ["leave", who])
