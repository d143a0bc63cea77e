"""Subscribers made through the API: their settings as they were written, and a version that counts the changes.

They live in partition 0. No secret is in them, only references (``config_file/written.py`` sees to that).
"""

from collections.abc import Sequence

import msgspec

from gateway.store.changes import KEPT, Change, encode
from gateway.store.connection import Store
from gateway.store.layout import Keys


class Written(msgspec.Struct, frozen=True):
    """All of them, at one version."""

    version: int
    settings: dict[str, bytes]
    """Name → JSON of the settings as written."""


class StoredSubscribers:
    """The list in the store. Everything raises ``StoreUnavailable``."""

    def __init__(self, store: Store, keys: Sequence[Keys]) -> None:
        """``keys``: of every partition, the first first."""
        self._store = store
        self._keys = keys

    async def version(self) -> int:
        """How many changes there were."""
        return int(await self._store.call("HGET", self._keys[0].state, "subscribers_version") or 0)

    async def read(self) -> Written:
        """All of them. A change in between shows in the settings before it shows in the version, never the reverse."""
        version = await self.version()
        pairs = await self._store.call("HGETALL", self._keys[0].subscribers)
        names = [name.decode() for name in pairs[::2]]
        return Written(version, dict(zip(names, pairs[1::2], strict=True)))

    async def get(self, name: str) -> bytes | None:
        """The settings of one."""
        found: bytes | None = await self._store.call("HGET", self._keys[0].subscribers, name)
        return found

    async def swap(self, name: str, before: bytes | None, after: bytes | None, change: Change) -> bool:
        """Replace ``before`` by ``after``, with the entry that tells of it; ``None`` stands for "there is none".

        False if somebody else was faster; then nothing is told.
        """
        keys = [self._keys[0].state, self._keys[0].subscribers, self._keys[0].changes]
        args = [name, before or b"", after or b"", encode(change), KEPT]
        done, _ = await self._store.script("subscribers", keys, args)
        return bool(done)

    async def forget(self, name: str) -> bool:
        """Remove what every partition knows of a subscriber: cursor, counts, what waited. True if there was anything.

        Nothing may deliver to it any more: a lane that still ran would make the cursor anew.
        """
        found = 0
        for keys in self._keys:
            each = keys.subscriber(name)
            found += await self._store.script("forget", [keys.subs, *each.all], [name, each.key_prefix])
        return found > 0
