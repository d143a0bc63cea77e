"""Whether one subscriber may be sent to, as all processes know it: an operator's pause, and its breaker.

The pause stands in the field ``paused`` of the subscriber's hash in every partition, so it outlives processes and is
seen where any one of them is written. The breaker is one for the subscriber: it stands in the first partition alone.
The processes look once a second (``delivery/standing.py``).
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from gateway.store.changes import KEPT, Change, encode
from gateway.store.connection import Store
from gateway.store.layout import Keys

GONE = "it answered 410 Gone"
"""How the reason begins that a lane gives when the subscriber said that it wants no more."""


class Switches(msgspec.Struct, frozen=True):
    """What the store says."""

    paused: str
    """Why it is paused; empty if it is not."""
    breaker: bytes
    """The breaker's JSON as last saved; empty if never."""


class Control:
    """One subscriber, in all partitions. Everything raises ``StoreUnavailable``."""

    def __init__(self, store: Store, keys: Sequence[Keys], name: str) -> None:
        """``keys``: of every partition, the first first."""
        self._store = store
        self._keys = keys
        self._subs = [each.subscriber(name).sub for each in keys]

    async def pause(self, why: str, change: Change | None = None) -> None:
        """Stop its deliveries within a second or two; attempts on the wire end as they do. ``why`` is not empty.

        ``change`` tells of it, in one step with the first partition.
        """
        if not why:
            raise ValueError("a pause has a reason: an empty one means that there is none")
        await self._write(why, change)

    async def resume(self, change: Change | None = None) -> None:
        """Let its deliveries go on; ``change`` as for ``pause``."""
        await self._write("", change)

    async def read(self) -> str:
        """Why it is paused; empty if it is not."""
        return (await self.switches()).paused

    async def switches(self) -> Switches:
        """Pause and breaker."""
        first, *others = self._subs
        (paused, breaker), *replies = await self._store.many(
            [("HMGET", first, "paused", "breaker"), *(("HGET", sub, "paused") for sub in others)]
        )
        return Switches(next((why.decode() for why in (paused, *replies) if why), ""), breaker or b"")

    async def pause_known(self, why: str) -> None:
        """Pause it wherever it has a cursor: who was forgotten meanwhile does not come back by it."""
        for sub in self._subs:
            await self._store.script("switch", [sub], ["paused", why])

    async def swap_breaker(self, before: bytes, after: bytes) -> Literal["done", "changed", "unknown"]:
        """Replace the breaker's JSON, unless another process has changed it or the subscriber has no cursor."""
        done = await self._store.script("switch", self._subs[:1], ["breaker", after, before])
        return "done" if done == 1 else "changed" if done == 0 else "unknown"

    async def _write(self, why: str, change: Change | None) -> None:
        # One step a partition: whoever repeats it after a failure half-way changes nothing that was right.
        entry = encode(change) if change is not None else b""
        for keys, sub in zip(self._keys, self._subs, strict=True):
            await self._store.script("change", [keys.changes, sub], [entry, KEPT, "paused", why])
            entry = b""
