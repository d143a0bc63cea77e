"""An operator's word on one subscriber: pause it, let it go on.

The word stands in the field ``paused`` of the subscriber's hash in every partition, so it outlives processes and moves
with a partition's lease. The lanes read it once a second (``delivery/lane.py``).
"""

from collections.abc import Sequence

from gateway.store.connection import Store
from gateway.store.layout import Keys

GONE = "it answered 410 Gone"
"""How the reason begins that a lane gives when the subscriber said that it wants no more."""


class Control:
    """One subscriber, in all partitions. Everything raises ``StoreUnavailable``."""

    def __init__(self, store: Store, keys: Sequence[Keys], name: str) -> None:
        self._store = store
        self._subs = [each.subscriber(name).sub for each in keys]

    async def pause(self, why: str) -> None:
        """Stop its deliveries within a second or two; attempts on the wire end as they do. ``why`` is not empty."""
        if not why:
            raise ValueError("a pause has a reason: an empty one means that there is none")
        await self._write(why)

    async def resume(self) -> None:
        """Let its deliveries go on."""
        await self._write("")

    async def read(self) -> str:
        """Why it is paused; empty if it is not."""
        replies = await self._store.many([("HGET", sub, "paused") for sub in self._subs])
        return next((why.decode() for why in replies if why), "")

    async def _write(self, why: str) -> None:
        # One command a partition: whoever repeats it after a failure half-way changes nothing that was right.
        for sub in self._subs:
            await self._store.call("HSET", sub, "paused", why)
