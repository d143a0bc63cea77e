"""Replays: what each one was asked to do, how far it is, and what it counted.

A record changes only by compare-and-swap on its version (``lua/replay.lua``), so that whoever runs a replay and whoever
cancels it never overwrite each other. Its counters are its own and no part of the equation. A record holds no secret:
a target's URL and the secret that signs for it are references, or a URL without a query.
"""

from typing import Literal

import msgspec
from redis.exceptions import ResponseError

from gateway.errors import LeaseLost
from gateway.store.changes import KEPT as KEPT_CHANGES
from gateway.store.changes import Change, encode
from gateway.store.connection import Store
from gateway.store.layout import Keys

State = Literal["planned", "running", "paused", "done", "failed", "cancelled"]
DeliveryWord = Literal["any", "dead", "delivered", "pending"]

KEPT = 200
"""Records that are kept; of older ones those that have ended go."""

FAILURES = 100
"""Failed deliveries that a record names; all are counted."""


class ReplayTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Where a replay goes that does not go to a subscriber: as it was written, secrets by reference."""

    url: str
    secret: str
    allow_networks: tuple[str, ...] = ()
    format: str = "canonical"
    raw: bool = True


class ReplaySpec(msgspec.Struct, frozen=True, kw_only=True):
    """Which events, and where to. Empty: no restriction."""

    subscriber: str | None = None
    """Where to, unless ``to`` says otherwise; and whose ``state`` and whose wishes count."""
    to: ReplayTarget | None = None
    ids: tuple[str, ...] = ()
    since_ms: int | None = None
    until_ms: int | None = None
    types: tuple[str, ...] = ()
    source: str | None = None
    state: DeliveryWord = "any"
    where: str | None = None
    wanted_only: bool = False
    """Only what the subscriber's own types and condition cover."""
    rate_per_s: float = 100.0

    @property
    def requeues(self) -> bool:
        """Dead letters to their own subscriber: they go back to it as ``gateway dead retry`` sends them."""
        return self.state == "dead" and self.to is None


class ReplayFailure(msgspec.Struct, frozen=True):
    """One event that could not be delivered."""

    event_id: str
    cause: str
    detail: str


class Replay(msgspec.Struct, kw_only=True):
    """One replay. The lists have one number a partition."""

    id: str
    spec: ReplaySpec
    created_ms: int
    created_by: str
    starts: list[int]
    """Events after these sequence numbers …"""
    ends: list[int]
    """… up to these: the log as it was when the replay was made."""
    positions: list[int]
    """Up to these everything is handled and counted; a replay goes on from here."""
    picked: list[list[int]] | None = None
    """Only these sequence numbers, where the events were named."""
    state: State = "planned"
    epoch: int = 0
    """Of the lease of the process that runs it, or ran it last."""
    matched: int = 0
    delivered: int = 0
    failed: int = 0
    requeued: int = 0
    """Dead letters that were put back."""
    attempts: int = 0
    expired: int = 0
    """Sequence numbers of the range that the log no longer held when the replay came to them."""
    waiting: str = ""
    """Why it sends nothing at the moment, while it runs."""
    last_error: str = ""
    started_ms: int = 0
    ended_ms: int = 0
    failures: tuple[ReplayFailure, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether it is to run."""
        return self.state in ("planned", "running")


class Stored(msgspec.Struct, frozen=True):
    """A record and its version."""

    replay: Replay
    version: int


class Runnable(msgspec.Struct, frozen=True):
    """What there is to run, and who may."""

    owner: str
    """Of the lease of partition 0; empty if nobody has it."""
    epoch: int
    ids: tuple[str, ...]


class Totals(msgspec.Struct, frozen=True):
    """What all replays did, also those whose records are gone."""

    delivered: int = 0
    requeued: int = 0
    failed: int = 0
    attempts: int = 0


class Replays:
    """All records. Everything raises ``StoreUnavailable``."""

    def __init__(self, store: Store, keys: Keys) -> None:
        """``keys``: of partition 0."""
        self._store = store
        self._keys = keys

    async def get(self, replay_id: str) -> Stored | None:
        """One record."""
        value = await self._store.call("HGET", self._keys.replays, replay_id)
        return None if value is None else _read(value)

    async def all(self) -> list[Stored]:
        """Every record, the newest first."""
        found = [_read(value) for value in await self._store.call("HVALS", self._keys.replays)]
        return sorted(found, key=lambda each: (each.replay.created_ms, each.replay.id), reverse=True)

    async def totals(self) -> Totals:
        """What all of them did."""
        names = Totals.__struct_fields__
        return Totals(
            *[int(value or 0) for value in await self._store.call("HMGET", self._keys.replays_totals, *names)]
        )

    async def runnable(self) -> Runnable:
        """Those that are to run, and who may run them."""
        (owner, epoch), ids = await self._store.many(
            [("HMGET", self._keys.state, "owner", "epoch"), ("SMEMBERS", self._keys.replays_open)]
        )
        return Runnable((owner or b"").decode(), int(epoch or 0), tuple(sorted(each.decode() for each in ids)))

    async def save(
        self, replay: Replay, version: int, *, epoch: int | None = None, change: Change | None = None
    ) -> int:
        """Write a record that was last seen at ``version`` (0: it is new). Returns its new version, 0 if it was changed
        by somebody else since. ``change`` tells of it in the same step.

        Raises ``LeaseLost`` where ``epoch`` is given and no longer the lease's.
        """
        keys = [self._keys.state, self._keys.replays, self._keys.replays_open, self._keys.replays_totals]
        keys.append(self._keys.changes)
        args = [replay.id, version, msgspec.json.encode(replay), int(replay.is_open), "" if epoch is None else epoch]
        args += ("" if change is None else encode(change), KEPT_CHANGES)
        try:
            return int(await self._store.script("replay", keys, args))
        except ResponseError as error:
            if str(error).startswith("LEASE"):
                raise LeaseLost("another process runs the replays now") from None
            raise

    async def forget_old(self) -> list[Replay]:
        """Remove the oldest that have ended, beyond ``KEPT``. Returns them."""
        old = [each.replay for each in (await self.all())[KEPT:] if not each.replay.is_open]
        if old:
            await self._store.call("HDEL", self._keys.replays, *[each.id for each in old])
        return old


_decode = msgspec.json.Decoder(Replay).decode


def _read(value: bytes) -> Stored:
    version, _, text = value.partition(b" ")
    return Stored(_decode(text), int(version))
