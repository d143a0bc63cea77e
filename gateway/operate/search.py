"""Events in the log: search them, page through them, follow them.

Partitions are merged by the time of receipt; within a partition the order is the log's. A search looks at no more than
``SCANNED`` entries, so that a filter that matches nothing cannot hold up the store: then the answer has a ``next`` but
perhaps no items, and whoever wants more asks on.
"""

import asyncio
import contextlib
import heapq
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Literal

import msgspec

from gateway import problems
from gateway.delivery.attempt import encode
from gateway.operate.masking import CREDENTIAL, mask_event
from gateway.operate.paging import ANSWER_BYTES, MOST, PageSize, size_of
from gateway.operate.refusals import Refused, none_called
from gateway.operate.sight import Sight
from gateway.store.log import Entry, PartitionLog, received_ms
from schemas.event import CREDENTIAL_TYPE, EVENT_TYPES
from schemas.timestamps import parse_iso_ms

Order = Literal["oldest", "newest"]

SCANNED = 20_000
RECENT = 20_000
"""Entries a partition among which the beginning of an id is looked for."""

DISORDER_MS = 5 * 60_000
"""How far the log may be out of the order of its times, where a time decides when to stop: clocks are set back."""

POLL_S = 0.25
QUIET_S = 15.0
"""After so long without an event a follower hears that the line still stands."""


class Head(msgspec.Struct, frozen=True, gc=False):
    """What a filter looks at."""

    id: str
    type: str
    source: str
    received_at: str


_decode_head = msgspec.json.Decoder(Head).decode


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are wanted. Empty: all."""

    types: tuple[str, ...] = ()
    """Types or globs, as in a subscriber's ``types``; here a family covers all of it."""
    source: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def matches(self, head: Head, at_ms: int) -> bool:
        """Whether an event received at ``at_ms`` is wanted."""
        if self.source is not None and head.source != self.source:
            return False
        if self.since_ms is not None and at_ms < self.since_ms:
            return False
        if self.until_ms is not None and at_ms >= self.until_ms:
            return False
        return not self.types or any(_covers(pattern, head.type) for pattern in self.types)


def read_types(text: str) -> tuple[str, ...]:
    """Types or globs, separated by commas. Raises ``Refused`` for one that no event can have."""
    patterns = tuple(part.strip() for part in text.split(",") if part.strip())
    for pattern in patterns:
        if not any(_covers(pattern, known) for known in EVENT_TYPES):
            raise Refused(
                problems.BAD_REQUEST,
                f"type: no event has the type {pattern}; write a type, a family such as message.*, or *",
            )
    return patterns


async def check_source(sight: Sight, wanted: Filter) -> None:
    """Refuse a source that never was one: to find nothing, or to follow for ever, would be no answer.

    Raises ``Refused``, ``StoreUnavailable``.
    """
    name, known = wanted.source, set(sight.config.sources)
    if name is not None and name not in known:
        known.update(each for account in await sight.accounts() for each in account.sources)
        if name not in known:
            raise none_called("source", name, known)


def _covers(pattern: str, event_type: str) -> bool:
    return pattern in ("*", event_type) or (pattern.endswith(".*") and event_type.startswith(pattern[:-1]))


class Found(msgspec.Struct, frozen=True):
    """One event of a search."""

    partition: int
    entry: Entry
    head: Head


class Result(msgspec.Struct, frozen=True):
    """What a search found, in the order asked for, and where it ended."""

    found: list[Found]
    boundary: list[int]
    more: bool
    """Reading on from the boundary is worth it: forwards, if anything lay there; backwards, until the log begins."""


class _Reader:
    """One partition, read in pages from a boundary."""

    def __init__(self, number: int, log: PartitionLog, boundary: int, order: Order) -> None:
        self.number = number
        self.boundary = boundary
        self.waiting: deque[tuple[int, Head, Entry]] = deque()
        self.done = False
        self._log = log
        self._order = order
        self._read_to = boundary
        self._page = PageSize()

    async def fill(self, most: int) -> None:
        if self.waiting or self.done:
            return
        limit = min(self._page.limit, most)
        if self._order == "oldest":
            entries = await self._log.read(self._read_to, limit)
        else:
            entries = await self._log.read_back(self._read_to + 1, limit) if self._read_to else []
        self.done = len(entries) < limit
        self._page.saw([size_of(entry) for entry in entries])
        for entry in entries:
            head = _decode_head(entry.event_json)
            self.waiting.append((parse_iso_ms(head.received_at) or 0, head, entry))
            self._read_to = entry.seq if self._order == "oldest" else entry.seq - 1

    def take(self) -> tuple[int, Head, Entry]:
        taken = self.waiting.popleft()
        self.boundary = taken[2].seq if self._order == "oldest" else taken[2].seq - 1
        return taken

    def stop(self) -> None:
        self.waiting.clear()
        self.done = True


async def search(sight: Sight, wanted: Filter, order: Order, boundary: Sequence[int] | None, limit: int) -> Result:
    """Up to ``limit`` events from a boundary (``None``: from where the log begins or ends). Raises
    ``StoreUnavailable``."""
    starts = await _starts(sight, wanted, order) if boundary is None else list(boundary)
    readers = [
        _Reader(number, log, start, order) for number, (log, start) in enumerate(zip(sight.logs, starts, strict=True))
    ]
    narrow = wanted != Filter()
    found: list[Found] = []
    looked_at = found_bytes = 0
    while len(found) < limit and looked_at < SCANNED and found_bytes < ANSWER_BYTES:
        await asyncio.gather(*[reader.fill(MOST if narrow else limit) for reader in readers])
        ready = [reader for reader in readers if reader.waiting]
        if not ready:
            break
        reader = (min if order == "oldest" else max)(ready, key=lambda each: each.waiting[0][0])
        at_ms = reader.waiting[0][0]
        if _is_past(wanted, order, at_ms):
            reader.stop()
            continue
        _, head, entry = reader.take()
        looked_at += 1
        if wanted.matches(head, at_ms):
            found.append(Found(reader.number, entry, head))
            found_bytes += size_of(entry)
    more = looked_at > 0 if order == "oldest" else any(reader.waiting or not reader.done for reader in readers)
    return Result(found, [reader.boundary for reader in readers], more)


def _is_past(wanted: Filter, order: Order, at_ms: int) -> bool:
    if order == "oldest":
        return wanted.until_ms is not None and at_ms > wanted.until_ms + DISORDER_MS
    return wanted.since_ms is not None and at_ms < wanted.since_ms - DISORDER_MS


async def _starts(sight: Sight, wanted: Filter, order: Order) -> list[int]:
    if order == "oldest":
        if wanted.since_ms is None:
            return [0 for _ in sight.logs]
        return [await _before(log, wanted.since_ms - DISORDER_MS) for log in sight.logs]
    if wanted.until_ms is None:
        return [await log.last() for log in sight.logs]
    return [await _before(log, wanted.until_ms + DISORDER_MS) for log in sight.logs]


async def _before(log: PartitionLog, at_ms: int) -> int:
    """The boundary before which everything was received before ``at_ms``, found by halving."""
    low, high = 0, await log.last()
    while low < high:
        middle = (low + high) // 2
        entries = await log.read(middle, 1)
        if not entries or entries[0].seq > high or received_ms(entries[0].event_json) >= at_ms:
            high = middle
        else:
            low = entries[0].seq
    return low


async def newest(log: PartitionLog, limit: int) -> AsyncIterator[Entry]:
    """The newest entries of a partition, from the newest back, ``limit`` at most."""
    page, before = PageSize(), None
    while limit > 0:
        asked = min(page.limit, limit)
        entries = await log.read_back(before, asked)
        for entry in entries:
            yield entry
        if len(entries) < asked:
            return
        limit -= asked
        before = entries[-1].seq
        page.saw([size_of(entry) for entry in entries])


async def find(sight: Sight, name: str) -> Found:
    """The event with this id, or whose id begins so, if only one of the recent does. Raises ``Refused``."""
    name = name if name.startswith("evt_") else f"evt_{name}"
    for number, log in enumerate(sight.logs):
        if (entry := await log.find(name)) is not None:
            return Found(number, entry, _decode_head(entry.event_json))
    beginning = b'{"id":"' + name.encode()
    matches: dict[str, Found] = {}
    for number, log in enumerate(sight.logs):
        async for entry in newest(log, RECENT):
            if entry.event_json.startswith(beginning):
                head = _decode_head(entry.event_json)
                matches.setdefault(head.id, Found(number, entry, head))  # of one that was logged twice, the newest
                if len(matches) > 1:
                    break
    if len(matches) > 1:
        raise Refused(
            problems.CONFLICT, f"{len(matches)} recent events or more begin so: {', '.join(sorted(matches)[:5])}"
        )
    if not matches:
        raise Refused(problems.NOT_FOUND, f"the log holds no event {name}; it may have been removed by retention")
    return next(iter(matches.values()))


def shown(found: Found, *, raw: bool) -> msgspec.Raw:
    """The event as JSON for whoever may look: complete, but without a login credential."""
    entry = found.entry
    if found.head.type != CREDENTIAL_TYPE:
        return msgspec.Raw(encode(entry.event_json, entry.raw_json if raw else None))
    masked = mask_event(msgspec.json.decode(entry.event_json))
    if raw:
        masked["raw"] = CREDENTIAL
    return msgspec.Raw(msgspec.json.encode(masked))


class Gap(msgspec.Struct, frozen=True):
    """Events that retention removed before the follower came to them."""

    missed: int


async def follow(
    sight: Sight, boundary: list[int], wanted: Filter, closing: asyncio.Event
) -> AsyncIterator[tuple[list[int], Found | Gap | None]]:
    """Every event after the boundary as it comes, each with the boundary behind it; ``None`` after a quiet while.

    Ends when ``closing`` is set. Raises ``StoreUnavailable``.
    """
    boundary = list(boundary)
    quiet_s, size = 0.0, PageSize()
    while not closing.is_set():
        asked = size.limit
        pages = await asyncio.gather(*[log.read(seq, asked) for log, seq in zip(sight.logs, boundary, strict=True)])
        size.saw([size_of(entry) for page in pages for entry in page])
        told = False
        streams = [[(number, entry) for entry in page] for number, page in enumerate(pages)]
        for number, entry in heapq.merge(*streams, key=lambda each: received_ms(each[1].event_json)):
            missed = entry.seq - boundary[number] - 1
            boundary[number] = entry.seq
            if missed > 0:
                told = True
                yield list(boundary), Gap(missed)
            head = _decode_head(entry.event_json)
            if wanted.matches(head, parse_iso_ms(head.received_at) or 0):
                told = True
                yield list(boundary), Found(number, entry, head)
        quiet_s = 0.0 if told else quiet_s + POLL_S
        if quiet_s >= QUIET_S:
            quiet_s = 0.0
            yield list(boundary), None
        if not any(len(page) == asked for page in pages):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(closing.wait(), POLL_S)
