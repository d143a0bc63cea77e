"""Which processes would deliver, and who has which partition now."""

from collections.abc import Sequence

import msgspec

from gateway.store.connection import Store
from gateway.store.layout import Keys
from gateway.store.lease import TTL_MS, provably_gone


class Holdings(msgspec.Struct, frozen=True):
    """One look."""

    holders: list[str]
    """Partition → who has its lease; empty where nobody alive has it."""
    owners: frozenset[str]
    """All that would deliver and are not provably gone, the asking one and every holder included."""


class Deliverers:
    """The list of one store, as one process keeps and reads it. Everything raises ``StoreUnavailable``."""

    def __init__(self, store: Store, keys: Sequence[Keys], owner: str) -> None:
        """``keys``: of every partition, the first first. ``owner``: the name this process's leases have."""
        self._store = store
        self._keys = keys
        self.owner = owner

    async def look(self) -> Holdings:
        """Say that this process would deliver, for as long as a lease lasts, and see who has what."""
        names = await self._store.script("announce", [self._keys[0].deliverers], [TTL_MS, self.owner])
        wanted = ("owner", "lease_until_ms")
        time, *leases = await self._store.many(
            [("TIME",), *[("HMGET", keys.state, *wanted) for keys in self._keys]],
        )
        now_ms = int(time[0]) * 1000 + int(time[1]) // 1000
        holders = [
            owner.decode() if owner and now_ms < int(until_ms or 0) <= now_ms + 2 * TTL_MS else ""
            for owner, until_ms in leases
        ]
        owners = {*(name.decode() for name in names), *holders} - {""}
        gone = {name for name in owners if name != self.owner and provably_gone(name)}
        return Holdings(["" if name in gone else name for name in holders], frozenset(owners - gone))

    async def leave(self) -> None:
        """Say that this process would deliver no longer."""
        await self._store.script("announce", [self._keys[0].deliverers], [0, self.owner])
