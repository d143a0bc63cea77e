"""Who changed what, when: a stream in the first partition, the newest 10 000.

A change that is one script of the first partition writes its entry in that script. Every other writes it first and is
done then: there is never a change without its entry, and after a crash in between there may be an entry whose change
was not done, or only in part. Entries hold no secret: settings stand in them as they may be shown.
"""

from typing import Any

import msgspec

from gateway.store.connection import Store
from gateway.store.layout import Keys

KEPT = 10_000
"""Entries that are kept."""

TEXT = 500
"""Characters of one value that are kept."""
VALUES = 100
"""Values that one side of an entry keeps."""


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change."""

    at_ms: int
    who: str
    """The token's name, ``login link``, or the signal."""
    role: str
    address: str | None = None
    """From where, as far as it is known."""
    what: str
    """Such as ``subscriber.pause``."""
    subject: str = ""
    """The name of what was changed."""
    before: dict[str, Any] = {}
    """Of what differs, what it was; empty where it is new or where that says nothing."""
    after: dict[str, Any] = {}
    """Of what differs, what it is; empty where it is gone."""


class Placed(msgspec.Struct, frozen=True):
    """An entry and its place in the stream."""

    place: str
    """The stream entry's id, ``<ms>-<n>``."""
    change: Change


class Changes:
    """The stream. Everything raises ``StoreUnavailable``."""

    def __init__(self, store: Store, keys: Keys) -> None:
        """``keys``: of the first partition."""
        self._store = store
        self._key = keys.changes

    async def add(self, change: Change) -> None:
        """Write one entry."""
        await self._store.script("change", [self._key], [encode(change), KEPT])

    async def list(self, before: str | None, limit: int) -> list[Placed]:
        """The newest first, before a place (``None``: from the newest)."""
        start = "+" if before is None else f"({before}"
        reply = await self._store.call("XREVRANGE", self._key, start, "-", "COUNT", limit)
        return [Placed(place.decode(), _decode(fields[1])) for place, fields in reply]


def encode(change: Change) -> bytes:
    """An entry as it is kept, each side cut to a bounded size."""
    return msgspec.json.encode(
        msgspec.structs.replace(change, before=_bounded(change.before), after=_bounded(change.after))
    )


_decode = msgspec.json.Decoder(Change).decode


def _bounded(values: dict[str, Any]) -> dict[str, Any]:
    found = {key: _cut(value) for key, value in list(values.items())[:VALUES]}
    if len(values) > VALUES:
        found["…"] = f"and {len(values) - VALUES} more"
    return found


def _cut(value: Any) -> Any:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return value if len(text) <= TEXT else f"{text[:TEXT]}… ({len(text)} characters)"
