"""One subscriber in one partition: its cursor, its parked and held events, and how they are settled."""

import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

import msgspec
from redis.exceptions import ResponseError

from gateway.errors import LeaseLost, StoreError
from gateway.store.connection import Store
from gateway.store.firsts import FIRSTS_BYTES, RECORD_BYTES, First, pack
from gateway.store.layout import Keys

DEAD_CAP_BYTES = 64 * 1024 * 1024
"""Dead letters of one subscriber in one partition, with their last answers. Beyond it they are ``discarded``."""

CLOCK_JUMP_MS = 25 * 3_600_000
"""No schedule waits longer than 24 h: a due time further ahead was written before the clock jumped, and is due."""


HISTORY = 10
"""Attempts that a parked event, a dead letter or a late delivery remembers: the newest."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt, as it is remembered."""

    number: int
    """As the subscriber was told (``gateway-attempt``), from 1."""
    at_ms: int
    """When it ended."""
    cause: str = ""
    """Empty if it was delivered."""
    status: int | None = None
    duration_ms: int = 0
    probe: bool = False
    """A breaker's failed probe: it used no attempt up, and the next one has the same number."""
    before_retry: bool = False
    """Made before it was a dead letter that somebody had tried again: the numbers begin anew after it."""


class Late(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an event was delivered that was not delivered at once, as the subscriber's list of such keeps it."""

    history: tuple[Attempt, ...]
    forgotten: int = 0
    """Attempts before those of ``history``."""


class Parked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A failed delivery between two attempts, as the store keeps it."""

    attempt: int
    """Attempts made so far; 0 for one that was held and has become free to go."""
    first_failed_ms: int = 0
    key: str = ""
    """Hash of the ordering key it holds; empty without order."""
    last_chance: bool = False
    """It was held behind a dead letter: one attempt, not a fresh schedule."""
    in_flight: bool = False
    """Parked because the attempt takes long, not because it failed."""
    started_ms: int = 0
    """When the attempt that is in flight began."""
    retried: bool = False
    """It was a dead letter that somebody had tried again. ``max_lag`` does not bound what an operator decided."""
    event_id: str = ""
    event_type: str = ""
    cause: str = ""
    status: int | None = None
    detail: str = ""
    last_attempt_ms: int = 0
    history: tuple[Attempt, ...] = ()
    forgotten: int = 0
    """Attempts before those of ``history``."""


Operation = Literal["park", "hold", "dead", "again", "done", "bury", "drop"]


class Change(msgspec.Struct, frozen=True):
    """What became of one event; the operations are told in ``lua/settle.lua``."""

    operation: Operation
    seq: int
    key: str = ""
    at_ms: int = 0
    info: bytes = b""
    answer: bytes = b""


class Cursor(msgspec.Struct, frozen=True):
    """Where a subscriber stands."""

    seq: int
    new: bool


class DueEvent(msgspec.Struct, frozen=True):
    """A parked event, mostly one whose time has come."""

    seq: int
    parked: Parked
    due_ms: int = 0
    """Where it was asked for its place in the order: 0 where its time has come anyway."""


class SubscriberStore:
    """Cursor and parked events of one subscriber in one partition. Settles need the partition's lease."""

    def __init__(self, store: Store, keys: Keys, name: str, *, partitions: int = 1) -> None:
        """``partitions``: how many the store has; they share what is kept of first attempts."""
        self._store = store
        self._partitions = partitions
        self._partition = keys
        self.keys = keys.subscriber(name)
        self.name = name
        self._settle_number = 0
        # Lanes come and go within one epoch, each with numbers from 1: the next one's first settle must not look like
        # a repetition of the last one's.
        self._writer = secrets.token_hex(4)

    async def subscribe(self, start: str | int, now_ms: int) -> Cursor:
        """Get the cursor, making it at ``start`` (``now``, or the sequence number before the first wanted)."""
        cursor, new = await self._store.script(
            "subscribe", [self._partition.state, self.keys.sub, self._partition.subs], [self.name, start, now_ms]
        )
        return Cursor(int(cursor), bool(new))

    async def held_keys(self) -> set[str]:
        """The ordering keys of which an event is parked. Read in pages: what is parked all the while is found."""
        found: set[str] = set()
        place: Any = 0
        while True:
            place, flat = await self._store.call("HSCAN", self.keys.parked, place, "COUNT", 1_000)
            found.update(_parked(info).key for info in flat[1::2])
            if int(place) == 0:
                return found - {""}

    async def retries(self) -> int:
        """How often dead letters were tried again: at another number the held keys are to be read anew."""
        return int(await self._store.call("HGET", self.keys.sub, "retries") or 0)

    def next_settle(self) -> int:
        """A number for a settle; the same number again asks what became of it."""
        self._settle_number += 1
        return self._settle_number

    async def settle(
        self,
        number: int,
        epoch: int,
        cursor_from: int,
        cursor_to: int,
        *,
        delivered: int,
        filtered: int,
        discarded: int,
        changes: Sequence[Change],
        now_ms: int,
        firsts: Sequence[First] = (),
    ) -> list[str]:
        """Record outcomes and move the cursor, as one step. Returns the hashes of ordering keys that became free.

        ``firsts``: of those delivered, the first attempts, in log order.
        Raises ``LeaseLost`` when another process owns the partition or moved the cursor; ``StoreUnavailable`` when it
        may have happened or not: the same number may be sent again.
        """
        args: list[Any] = [
            epoch,
            f"{self._writer}.{number}",
            cursor_from,
            cursor_to,
            delivered,
            filtered,
            discarded,
            now_ms,
            DEAD_CAP_BYTES,
            self.keys.key_prefix,
            pack(firsts),
            FIRSTS_BYTES // self._partitions,
            RECORD_BYTES,
        ]
        for change in changes:
            args += (change.operation, change.seq, change.key, change.at_ms, change.info, change.answer)
        try:
            freed: bytes = await self._store.script("settle", [self._partition.state, *self.keys.all], args)
        except ResponseError as error:
            if str(error).startswith(("LEASE", "CURSOR", "GONE")):
                raise LeaseLost(f"{self.name}: {error}") from None
            raise StoreError(f"the store refused a settle of {self.name}: {error}") from error
        return freed.decode().split(",") if freed else []

    async def due(self, now_ms: int, limit: int, skip: set[int]) -> tuple[list[DueEvent], int | None]:
        """Parked events whose time has come, oldest due first, without those in ``skip`` (in hand already).

        Also when the next one will be due, in ms since the epoch; ``None`` if nothing is parked beyond these.
        """
        key, want = self.keys.due, limit + len(skip)
        ripe, jumped, upcoming = await self._store.many(
            [
                ("ZRANGE", key, "-inf", now_ms, "BYSCORE", "LIMIT", 0, want),
                ("ZRANGE", key, now_ms + CLOCK_JUMP_MS, "+inf", "BYSCORE", "LIMIT", 0, want),
                ("ZRANGE", key, f"({now_ms}", "+inf", "BYSCORE", "LIMIT", 0, 1, "WITHSCORES"),
            ]
        )
        seqs = [seq for seq in dict.fromkeys(int(member) for member in [*ripe, *jumped]) if seq not in skip][:limit]
        next_ms = int(float(upcoming[1])) if len(upcoming) > 1 else None
        if not seqs:
            return [], next_ms
        infos = await self._store.call("HMGET", self.keys.parked, *seqs)
        found = [DueEvent(seq, _parked(info)) for seq, info in zip(seqs, infos, strict=True) if info is not None]
        return found, next_ms

    async def waiting_before(self, seq: int, limit: int) -> list[tuple[int, str]]:
        """Up to ``limit`` parked and held events with a sequence number up to ``seq``, each with its key's hash; none
        that was a dead letter and is tried again. Those that are parked come first, then the held ones in log order.
        """
        parked: list[tuple[int, str]] = []
        async for number, info in self._pages(self.keys.parked):
            if number <= seq and not (known := _parked(info)).retried:
                parked.append((number, known.key))
            if len(parked) >= limit:
                return parked
        held: list[tuple[int, str]] = []
        async for number, waits in self._pages(self.keys.held):
            tried = tried_before(waits)
            if number <= seq and not (tried and tried.retried):
                held.append((number, waits.partition(b" ")[0].decode()))
        return [*parked, *sorted(held)][:limit]

    async def _pages(self, key: str) -> AsyncIterator[tuple[int, bytes]]:
        """What a hash holds, read in pages."""
        place: Any = 0
        while True:
            place, flat = await self._store.call("HSCAN", key, place, "COUNT", 1_000)
            for number, value in zip(flat[::2], flat[1::2], strict=True):
                yield int(number), value
            if int(place) == 0:
                return

    async def parked(self, after: int, limit: int) -> list[DueEvent]:
        """Parked events in order of their due time, from the ``after``-th on, for operators."""
        flat = await self._store.call("ZRANGE", self.keys.due, after, after + limit - 1, "WITHSCORES")
        if not flat:
            return []
        members, scores = flat[::2], flat[1::2]
        infos = await self._store.call("HMGET", self.keys.parked, *members)
        return [
            DueEvent(int(seq), _parked(info), int(float(score)))
            for seq, score, info in zip(members, scores, infos, strict=True)
            if info
        ]

    async def bring_forward(self, now_ms: int, limit: int) -> int:
        """Let what failed be due at ``now_ms``, in the order in which it was: of the ``limit`` that are due first.

        What is in flight keeps its time: it is due only if the process of its attempt died. Returns how many moved.
        """
        waiting = [each for each in await self.parked(0, limit) if each.due_ms > now_ms and not each.parked.in_flight]
        if not waiting:
            return 0
        first_ms = now_ms - len(waiting) + 1
        scores = [word for at, each in enumerate(waiting) for word in (first_ms + at, each.seq)]
        # XX: one that was settled meanwhile is not to come back.
        return int(await self._store.call("ZADD", self.keys.due, "XX", "LT", "CH", *scores))


def tried_before(waits: bytes) -> Parked | None:
    """What a held event's entry (``<hash> <JSON>``) says of earlier attempts; ``None`` if it is the hash alone."""
    _, _, info = waits.partition(b" ")
    return _parked(info) if info else None


_decode_parked = msgspec.json.Decoder(Parked).decode


def _parked(info: bytes) -> Parked:
    return _decode_parked(info)
