"""Login links and sessions, where every process of the gateway finds them, also after a restart.

They are found by the hash of their secret, and nothing that is kept here opens anything: whoever reads the store cannot
log in by it.
"""

from typing import Literal

import msgspec

from gateway.store.connection import Store
from gateway.store.layout import Keys

Kind = Literal["login", "session"]

MOST: dict[Kind, int] = {"login": 64, "session": 256}
"""More links and browsers than anybody has; beyond it the one that ends first makes room."""


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """One login link that was not used yet, or one browser that logged in."""

    ends_ms: int
    """By the wall clock, in milliseconds since the epoch."""
    name: str = ""
    role: Literal["read", "operate"] = "read"
    proof: str = ""
    """Of a session that a token opened: which token, readable only with the session's secret."""


class VisitBook:
    """The two lists. Everything raises ``StoreUnavailable``."""

    def __init__(self, store: Store, keys: Keys) -> None:
        """``keys``: of the first partition."""
        self._store = store
        self._keys: dict[Kind, str] = {"login": keys.logins, "session": keys.sessions}

    async def keep(self, kind: Kind, secret_sha256: bytes, visit: Visit, now_ms: int) -> None:
        """Remember one."""
        args = [secret_sha256.hex(), msgspec.json.encode(visit), now_ms, MOST[kind]]
        await self._store.script("visit", [self._keys[kind]], args)

    async def find(self, kind: Kind, secret_sha256: bytes) -> Visit | None:
        """The one with this hash, ended or not."""
        found = await self._store.call("HGET", self._keys[kind], secret_sha256.hex())
        return None if found is None else msgspec.json.decode(found, type=Visit)

    async def remove(self, kind: Kind, secret_sha256: bytes) -> bool:
        """Forget it. Of all who try, exactly one is told ``True``."""
        return bool(await self._store.call("HDEL", self._keys[kind], secret_sha256.hex()))
