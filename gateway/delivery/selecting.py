"""Which events of the log a replay is about: read in pages, filtered, the same for the dry run and for the replay.

``channel.qr_updated`` carries a login credential: it goes only to a subscriber that names the type, or to a URL when
whoever asks for the replay names it. Where it is held back, that is said (``Page.withheld``).

*Delivered* and *filtered* leave no trace of their own that lasts as long as the log does. So the state ``delivered`` is
worked out: the subscriber's cursor has passed the event, it neither waits nor is dead, and the types and the condition
of today cover it.
"""

from collections.abc import AsyncIterator, Sequence

import msgspec

from gateway.config import SubscriberSettings
from gateway.delivery.condition import Condition, Subject
from gateway.delivery.matching import type_matches
from gateway.store.connection import Store
from gateway.store.layout import Keys
from gateway.store.log import Entry, PartitionLog
from gateway.store.replays import ReplaySpec
from schemas.event import CREDENTIAL_TYPE
from schemas.timestamps import parse_iso_ms

PAGE = 256


class Head(msgspec.Struct, frozen=True, gc=False):
    """Of an event, what selection looks at first."""

    id: str
    type: str
    source: str
    received_at: str
    ordering_key: str | None = None


class Match(msgspec.Struct, frozen=True, gc=False):
    """One event that is to be replayed."""

    entry: Entry
    head: Head


class Page(msgspec.Struct, frozen=True):
    """Part of a partition's log, as a replay sees it."""

    upto: int
    """The last sequence number it covers."""
    matches: list[Match]
    withheld: int
    """Login credentials that are not for this target; what conditions say of them is not asked."""
    expired: int
    """Sequence numbers that the log no longer holds."""


_decode_head = msgspec.json.Decoder(Head).decode


class Rules:
    """What can be told from the event alone. Pure."""

    def __init__(self, spec: ReplaySpec, subscriber: SubscriberSettings | None) -> None:
        """``subscriber``: the one that ``spec`` names. Raises ``BadCondition``."""
        self._spec = spec
        self._ids = frozenset(spec.ids)
        self._conditions = [Condition(spec.where, spec.types or ("*",))] if spec.where else []
        self._wished: tuple[str, ...] | None = None
        if subscriber is not None and (spec.wanted_only or spec.state == "delivered"):
            self._wished = subscriber.types
            if subscriber.where:
                self._conditions.append(Condition(subscriber.where, subscriber.types))
        named = spec.types if spec.to is not None or subscriber is None else subscriber.types
        self._credentials = CREDENTIAL_TYPE in named

    def covers(self, entry: Entry, head: Head) -> bool:
        """Whether the replay is about this event."""
        spec = self._spec
        if self._ids and head.id not in self._ids:
            return False
        if spec.source is not None and head.source != spec.source:
            return False
        if spec.types and not any(_covers(pattern, head.type) for pattern in spec.types):
            return False
        if spec.since_ms is not None or spec.until_ms is not None:
            at_ms = parse_iso_ms(head.received_at) or 0
            if (spec.since_ms is not None and at_ms < spec.since_ms) or (
                spec.until_ms is not None and at_ms >= spec.until_ms
            ):
                return False
        if self._wished is not None and not any(type_matches(pattern, head.type) for pattern in self._wished):
            return False
        if not self.may_have(head):  # nor may its conditions tell, by what is counted, what it holds
            return True
        subject = Subject(entry.event_json, entry.raw_json)
        return all(condition.wants(subject.seen_by(condition)) for condition in self._conditions)

    def may_have(self, head: Head) -> bool:
        """Whether the target may be sent this event."""
        return head.type != CREDENTIAL_TYPE or self._credentials


def _covers(pattern: str, event_type: str) -> bool:
    """As in a search: here a family covers all of it. Whether the target may have it is asked apart."""
    return pattern in ("*", event_type) or (pattern.endswith(".*") and event_type.startswith(pattern[:-1]))


class Selecting:
    """Reads what a replay is about from one partition."""

    def __init__(self, spec: ReplaySpec, rules: Rules, store: Store, keys: Keys, log: PartitionLog) -> None:
        self._spec = spec
        self._rules = rules
        self._store = store
        self._log = log
        self._keys = keys.subscriber(spec.subscriber) if spec.subscriber else None

    async def pages(self, after: int, end: int, picked: Sequence[int] | None) -> AsyncIterator[Page]:
        """Everything after one sequence number and up to another; ``picked``: only these. Raises
        ``StoreUnavailable``."""
        if picked is None and self._spec.state == "dead" and self._keys is not None:
            picked = sorted(int(seq) for seq in await self._store.call("HKEYS", self._keys.dead))
        if picked is None:
            async for page in self._scan(after, end):
                yield page
            return
        wanted = [seq for seq in picked if after < seq <= end]
        for at in range(0, len(wanted), PAGE):
            part = wanted[at : at + PAGE]
            found = await self._log.pick(part)
            yield await self._page(part[-1], list(found.values()), len(part) - len(found))

    async def _scan(self, after: int, end: int) -> AsyncIterator[Page]:
        while after < end:
            read = await self._log.read(after, PAGE)
            entries = [entry for entry in read if entry.seq <= end]
            upto = entries[-1].seq if len(entries) == PAGE else end
            yield await self._page(upto, entries, upto - after - len(entries))
            after = upto

    async def _page(self, upto: int, entries: list[Entry], expired: int) -> Page:
        covered = [
            Match(entry, head)
            for entry, head in ((entry, _decode_head(entry.event_json)) for entry in entries)
            if self._rules.covers(entry, head)
        ]
        covered = await self._in_state(covered)
        matches = [match for match in covered if self._rules.may_have(match.head)]
        return Page(upto, matches, len(covered) - len(matches), expired)

    async def _in_state(self, matches: list[Match]) -> list[Match]:
        state, keys = self._spec.state, self._keys
        if state == "any" or keys is None or not matches:
            return matches
        seqs = [match.entry.seq for match in matches]
        # In the order in which an event moves on, so that one that moves meanwhile is seen at least once.
        parked, held, dead, again, numbers = await self._store.many(
            [
                ("HMGET", keys.parked, *seqs),
                ("HMGET", keys.held, *seqs),
                ("HMGET", keys.dead, *seqs),
                ("HMGET", keys.parked, *seqs),
                ("HMGET", keys.sub, "start", "cursor"),
            ]
        )
        if numbers[1] is None:  # it never had a cursor here
            return []
        start, cursor = int(numbers[0] or 0), int(numbers[1])
        found = []
        for index, match in enumerate(matches):
            waits = any(each[index] is not None for each in (parked, held, again))
            seq = match.entry.seq
            if dead[index] is not None:
                is_now = "dead"
            elif waits or seq > cursor:
                is_now = "pending"
            else:
                is_now = "delivered" if seq > start else "not_offered"
            if is_now == state:
                found.append(match)
        return found
