"""Subscribers made through the API: their settings as they were written, and a version that counts the changes.

They live in partition 0. No secret is in them, only references (``config_file/written.py`` sees to that).

To forget one takes several steps, one a partition. Until all are done ``FORGETTING`` stands in place of its settings:
whoever sees it there for long goes on with it, since the process that began may have been killed.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.store.changes import KEPT, Change, encode
from gateway.store.connection import Store
from gateway.store.layout import Keys
from gateway.store.wanted import tell_deleted

FORGETTING = b'{"forget":true}'


_decode = msgspec.json.Decoder(dict[str, Any]).decode


def as_written(stored: bytes) -> dict[str, Any] | None:
    """The settings of one as they were written; ``None`` if that is no JSON object."""
    try:
        return _decode(stored)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class Written(msgspec.Struct, frozen=True):
    """All of them, at one version."""

    version: int
    settings: dict[str, bytes]
    """Name → JSON of the settings as written."""
    forgetting: frozenset[str]
    """Names of those that are being forgotten."""


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
        settings = {name.decode(): value for name, value in zip(pairs[::2], pairs[1::2], strict=True)}
        forgetting = frozenset(name for name, value in settings.items() if value == FORGETTING)
        return Written(version, {name: settings[name] for name in settings.keys() - forgetting}, forgetting)

    async def get(self, name: str) -> bytes | None:
        """The settings of one."""
        found: bytes | None = await self._store.call("HGET", self._keys[0].subscribers, name)
        return found

    async def swap(self, name: str, before: bytes | None, after: bytes | None, change: Change | None) -> bool:
        """Replace ``before`` by ``after``, with the entry that tells of it; ``None`` stands for "there is none".

        False if somebody else was faster; then nothing is told.
        """
        keys = [self._keys[0].state, self._keys[0].subscribers, self._keys[0].changes]
        args = [name, before or b"", after or b"", encode(change) if change else b"", KEPT]
        done, _ = await self._store.script("subscribers", keys, args)
        return bool(done)

    async def tell_deleted(self, name: str) -> None:
        """Tell every gateway that the log need not wait for it, unless one still wants it."""
        await tell_deleted(self._store, self._keys[0], name)

    async def forget(self, name: str) -> bool:
        """Remove what every partition knows of a subscriber: cursor, counts, what waited; last that it is to be done.

        False if ``FORGETTING`` stands no longer: somebody took it back, or has ended it. That is looked up before each
        partition, in the first in the same step; what was removed by then stays removed. Nothing may deliver to it any
        more: a lane that still ran would make the cursor anew.
        """
        first, *others = self._keys
        each = first.subscriber(name)
        args = [name, each.key_prefix, FORGETTING]
        if not await self._store.script("forget", [first.subs, *each.all, first.subscribers], args):
            return False
        for keys in others:
            if await self.get(name) != FORGETTING:
                return False
            each = keys.subscriber(name)
            await self._store.script("forget", [keys.subs, *each.all], [name, each.key_prefix, FORGETTING])
        return await self.swap(name, FORGETTING, None, None)
