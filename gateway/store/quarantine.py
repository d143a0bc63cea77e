"""Requests that are kept with their exact bytes: the quarantine, and the sample of rejected ones."""

from typing import Literal

import msgspec

from gateway.store.connection import Store
from gateway.store.layout import Keys
from gateway.store.log import Kept

Shelf = Literal["quarantine", "rejected"]


class KeptAt(msgspec.Struct, frozen=True):
    """One kept request and its place on the shelf."""

    id: str
    """The stream entry's id, ``<ms>-<n>``."""
    meta: Kept
    body: bytes


class KeptRequests:
    """One shelf of one partition."""

    def __init__(self, store: Store, keys: Keys, shelf: Shelf) -> None:
        self._store = store
        self._key = keys.quarantine if shelf == "quarantine" else keys.rejected

    async def list(self, before: str | None, limit: int) -> list[KeptAt]:
        """The newest first, before a place (``None``: from the newest)."""
        start = "+" if before is None else f"({before}"
        return _kept(await self._store.call("XREVRANGE", self._key, start, "-", "COUNT", limit))

    async def get(self, place: str) -> KeptAt | None:
        """The request at a place."""
        found = _kept(await self._store.call("XRANGE", self._key, place, place))
        return found[0] if found else None


_decode = msgspec.json.Decoder(Kept).decode


def _kept(reply: list[tuple[bytes, list[bytes]]]) -> list[KeptAt]:
    return [KeptAt(place.decode(), _decode(fields[1]), fields[3]) for place, fields in reply]
