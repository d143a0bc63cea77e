"""What is remembered of alerts, so that a restart neither repeats them nor forgets to say that one is over.

One small hash in the first partition. Only who holds that partition's lease writes it (``lua/alerts.lua``), so of
several processes one tells.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec
from redis.exceptions import ResponseError

from gateway.errors import LeaseLost
from gateway.store.connection import Store
from gateway.store.layout import Keys

Severity = Literal["bad", "warn"]

_WATCH = "watch"
_PREFIX = "alert:"


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One alert, by ``kind:subject``: what there is to say of it, and what of that was said."""

    kind: str
    severity: Severity
    what: str
    count: int
    command: str | None
    subscriber: str | None
    source: str | None
    since_ms: int
    """Since when it is so, as far as that is known."""
    raised: bool = True
    """``False``: it is over; kept a while, so that one that comes and goes is known as such."""
    gone_ms: int = 0
    """When it was first seen to be gone; 0 while it lasts."""
    returns: int = 0
    """How often it came back soon after it was over."""
    owed: Literal["raised", "resolved", ""] = ""
    """What is still to be sent. The latest word counts: one that is over before it was sent is sent as resolved."""
    told_ms: int = 0
    """When it was last decided to tell of it."""
    told_count: int = 0
    told_severity: Severity = "warn"


class Heard(msgspec.Struct, frozen=True):
    """When a source last brought a request."""

    requests: int
    """Proven ones, ever."""
    at_ms: int
    """When that number last grew; time in which nobody watched is left out."""


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered beside the alerts."""

    looked_ms: int = 0
    heard: dict[str, Heard] = {}
    """Source → when it was last heard."""
    failing_ms: int = 0
    """Since when alerts cannot be sent; 0 if they can."""
    why: str = ""
    """Why not, as the last attempt found."""


class Remembered(msgspec.Struct, frozen=True):
    """All of it, and who may write it."""

    owner: str
    """Of the lease of the first partition; empty if nobody has it."""
    is_held: bool
    """Whether that lease still runs: who was killed leaves it behind."""
    epoch: int
    watch: Watch
    standing: dict[str, Standing]
    """By ``kind:subject``."""


class AlertBook:
    """The hash. Everything raises ``StoreUnavailable``."""

    def __init__(self, store: Store, keys: Keys) -> None:
        """``keys``: of the first partition."""
        self._store = store
        self._keys = keys

    async def read(self) -> Remembered:
        """Everything there is."""
        time, (owner, epoch, until_ms), flat = await self._store.many(
            [
                ("TIME",),  # leases run by the store's clock
                ("HMGET", self._keys.state, "owner", "epoch", "lease_until_ms"),
                ("HGETALL", self._keys.alerts),
            ]
        )
        store_ms = int(time[0]) * 1000 + int(time[1]) // 1000
        fields = {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
        watch = fields.pop(_WATCH, None)
        return Remembered(
            owner=(owner or b"").decode(),
            is_held=bool(owner) and int(until_ms or 0) > store_ms,
            epoch=int(epoch or 0),
            watch=_decode_watch(watch) if watch else Watch(),
            standing={name.removeprefix(_PREFIX): _decode_standing(value) for name, value in fields.items()},
        )

    async def save(self, epoch: int, watch: Watch | None, changed: Mapping[str, Standing | None]) -> None:
        """Write what changed; ``None`` forgets an alert, for ``watch`` it means that nothing changed.

        Raises ``LeaseLost`` where ``epoch`` is no longer the lease's.
        """
        args: list[int | str | bytes] = [epoch]
        if watch is not None:
            args += (_WATCH, msgspec.json.encode(watch))
        for key, standing in changed.items():
            args += (_PREFIX + key, b"" if standing is None else msgspec.json.encode(standing))
        try:
            await self._store.script("alerts", [self._keys.state, self._keys.alerts], args)
        except ResponseError as error:
            if str(error).startswith("LEASE"):
                raise LeaseLost("another process tells of alerts now") from None
            raise


_decode_watch = msgspec.json.Decoder(Watch).decode
_decode_standing = msgspec.json.Decoder(Standing).decode
