"""One event's life, line by line: why it reached, or did not reach, each subscriber.

Where it stands comes from the store (``states.py``). What the settings say of it is asked again here, so it is what
they say today; where they changed since, the state says that it is not certain.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from gateway.delivery.breaker import BreakerState
from gateway.delivery.condition import Subject
from gateway.operate.amounts import duration
from gateway.operate.attempts import attempt_item, attempt_words
from gateway.operate.logged import is_wait, logged_ms
from gateway.operate.search import Found, find
from gateway.operate.sight import Sight
from gateway.operate.states import states_and_attempts
from gateway.operate.status import decode_breaker
from gateway.operate.trace_views import SubscriberTrace, Trace, TraceStep
from gateway.operate.troubles import does
from gateway.operate.views import DeliveryState
from gateway.operate.wanting import judge
from gateway.store.control import Control
from gateway.store.layout import SubscriberKeys
from gateway.store.parked import Attempt, Late
from schemas.timestamps import format_ms, parse_iso_ms


class _Proof(msgspec.Struct, frozen=True):
    adapter: str = "an unknown adapter"
    verified: str = "unknown means"
    provider_type: str | None = None
    raw_sha256: str = ""


class _Event(msgspec.Struct, frozen=True):
    """Of an event, what its way in is told from. Lenient: the log may hold events of another version."""

    id: str
    source: str
    received_at: str
    ordering_key: str | None = None
    provenance: _Proof = _Proof()


_decode_event = msgspec.json.Decoder(_Event).decode


class _Place(msgspec.Struct, frozen=True):
    """Where a subscriber stands in the event's partition."""

    start: int
    cursor: int
    since_ms: int
    paused: str
    breaker: BreakerState | None

    def lets(self, due_ms: int | None, now_ms: int) -> str:
        """When that goes whose time has come while something else keeps it; empty if its time says it."""
        if due_ms is None or due_ms > now_ms:
            return ""
        if self.paused:
            return "when it is resumed"
        return "when the breaker lets it" if self.breaker is not None and self.breaker.open else ""


async def trace(sight: Sight, name: str) -> Trace:
    """The life of the event with this id, or whose id begins so. Raises ``Refused``, ``StoreUnavailable``."""
    found = await find(sight, name)
    states = await states_and_attempts(sight, found)
    leased = await sight.store.call("HGET", sight.keys[found.partition].state, "owner")
    subject = Subject(found.entry.event_json, found.entry.raw_json)
    subscribers = await asyncio.gather(
        *[_trace_subscriber(sight, found, subject, *each, delivering=leased is not None) for each in states]
    )
    attempts = [each for _, late in states for each in late.history]
    return Trace(
        event_id=found.head.id,
        event_type=found.head.type,
        source=found.head.source,
        partition=found.partition,
        sequence=found.entry.seq,
        steps=await _way_in(sight, found, attempts),
        subscribers=list(subscribers),
    )


async def _way_in(sight: Sight, found: Found, attempts: Sequence[Attempt]) -> list[TraceStep]:
    event = _decode_event(found.entry.event_json)
    origin = event.provenance
    mapped = f"mapped by {origin.adapter}" + (f" from {origin.provider_type}" if origin.provider_type else "")
    key = "no ordering key" if event.ordering_key is None else f"ordering key {event.ordering_key}"
    received_ms = parse_iso_ms(event.received_at)
    at_ms = None if received_ms is None else await logged_ms(sight, found, received_ms, attempts)
    at = None if at_ms is None else format_ms(at_ms)
    steps = [
        TraceStep(
            at=event.received_at,
            what="received",
            words=f"at {event.source}, proven by {origin.verified}, {mapped}; body SHA-256 {origin.raw_sha256}",
        )
    ]
    if received_ms is not None and at_ms is not None and is_wait(received_ms, at_ms):
        where = "" if sight.config.store.spool is None else ", in the queue or in the spool"
        words = f"for the store, {duration((at_ms - received_ms) / 1000)} by its clock{where}"
        steps.append(TraceStep(at=event.received_at, what="waited", words=words))
    words = f"as number {found.entry.seq} of partition {found.partition}; {key}"
    return [*steps, TraceStep(at=at, what="logged", words=words)]


async def _trace_subscriber(
    sight: Sight, found: Found, subject: Subject, state: DeliveryState, late: Late, *, delivering: bool
) -> SubscriberTrace:
    name, seq = state.subscriber, found.entry.seq
    keys = sight.keys[found.partition].subscriber(name)
    place = await _place(sight, keys, name)
    steps = [_subscribed(place, seq)]
    if state.state != "not_offered":
        steps += _matched(sight, name, found, subject)
    steps += _attempted(late)
    if state.state in ("pending", "parked", "held", "in_flight"):
        steps += _obstacles(sight, place, seq if state.state == "pending" else None, delivering=delivering)
    steps = _by_time(steps)
    if state.state == "held":
        steps.append(await _held(sight, found, keys, place))
    end = _end(state, place, sight.wall_ms())
    return SubscriberTrace(
        subscriber=name,
        state=state.state,
        certain=state.certain,
        words=end.words,
        steps=[*steps, end],
        attempts=[attempt_item(each) for each in late.history],
        attempts_not_kept=late.forgotten,
    )


async def _place(sight: Sight, keys: SubscriberKeys, name: str) -> _Place:
    start, cursor, since_ms = await sight.store.call("HMGET", keys.sub, "start", "cursor", "since_ms")
    switches = await Control(sight.store, sight.keys, name).switches()  # one breaker, whatever the partition
    return _Place(
        start=int(start or 0),
        cursor=int(cursor or 0),
        since_ms=int(since_ms or 0),
        paused=switches.paused,
        breaker=decode_breaker(switches.breaker) if switches.breaker else None,
    )


def _subscribed(place: _Place, seq: int) -> TraceStep:
    since = format_ms(place.since_ms) if place.since_ms else None
    if seq <= place.start:
        return TraceStep(at=since, what="subscribed", words=f"began after number {place.start}: this event was earlier")
    return TraceStep(at=since, what="subscribed", words=f"began after number {place.start}: this event was offered")


def _matched(sight: Sight, name: str, found: Found, subject: Subject) -> list[TraceStep]:
    settings = sight.config.subscribers.get(name)
    if settings is None:
        return [TraceStep(at=None, what="not_configured", words="no longer configured: nobody can say what it wanted")]
    verdict = judge(settings, found.head.type, subject)
    return [TraceStep(at=None, what="matched" if verdict.wanted else "not_matched", words=verdict.words)]


def _obstacles(sight: Sight, place: _Place, unread: int | None, *, delivering: bool) -> list[TraceStep]:
    """What keeps an event from going on; ``unread`` is its sequence number if it lies behind the cursor."""
    steps: list[TraceStep] = []
    if place.paused:
        steps.append(TraceStep(at=None, what="paused", words=f"paused: {place.paused}"))
    breaker = place.breaker
    if breaker is not None and breaker.open:
        wait_s = (breaker.probe_ms - sight.wall_ms()) / 1000
        probe = "now" if wait_s <= 0 else f"in {duration(wait_s)}"
        words = f"breaker open: it {does(breaker.cause)}; one event probes {probe}"
        steps.append(TraceStep(at=format_ms(breaker.since_ms), what="breaker_open", words=words))
    if not delivering:
        steps.append(TraceStep(at=None, what="not_delivering", words="no process delivers from this partition"))
    if unread is not None:
        before = unread - place.cursor - 1
        is_are = "event is" if before == 1 else "events are"
        words = f"its cursor is at number {place.cursor}: {before} {is_are} before"
        steps += [TraceStep(at=None, what="behind", words=words)] if before > 0 else []
    return steps


def _by_time(steps: Sequence[TraceStep]) -> list[TraceStep]:
    """In the order in which it happened; a step without a time stays behind the one before it."""
    times, at = [], ""
    for step in steps:
        at = step.at or at
        times.append(at)
    return [step for _, step in sorted(zip(times, steps, strict=True), key=lambda each: each[0])]


async def _held(sight: Sight, found: Found, keys: SubscriberKeys, place: _Place) -> TraceStep:
    seq = found.entry.seq
    key = await sight.store.call("HGET", keys.held, seq)
    line = None if key is None else keys.key_prefix + key.partition(b" ")[0].decode()
    members = [] if line is None else await sight.store.call("LRANGE", line, 0, 0)
    if not members:
        return TraceStep(at=None, what="held", words="waits behind a failed event with the same key")
    first = int(members[0])
    due, position = await sight.store.many([("ZSCORE", keys.due, first), ("LPOS", line, seq)])
    entry = (await sight.logs[found.partition].pick([first])).get(first)
    who = f"number {first}" if entry is None else _decode_event(entry.event_json).id
    due_ms = None if due is None else int(float(due))
    lets = place.lets(due_ms, sight.wall_ms())
    when = None if due_ms is None or lets else format_ms(due_ms)
    words = f"waits behind {who}, which failed and has the same key"
    if position is not None and position > 1:
        words += f", and behind {position - 1} more"
    then = lets or ("then" if when else "")
    return TraceStep(at=when, what="held", words=words + (f"; its next attempt is due {then}" if then else ""))


def _attempted(late: Late) -> list[TraceStep]:
    steps = []
    if late.forgotten:
        words = f"{late.forgotten} earlier {'attempt is' if late.forgotten == 1 else 'attempts are'} not kept"
        steps.append(TraceStep(at=None, what="not_kept", words=words))
    return steps + [_attempt(each) for each in late.history]


def _attempt(attempt: Attempt) -> TraceStep:
    words = f"attempt {attempt.number}: {attempt_words(attempt)}"
    if attempt.probe:
        words += "; a probe of the breaker, which used no attempt up"
    if attempt.before_retry:
        words += "; before it was retried as a dead letter"
    return TraceStep(at=format_ms(attempt.at_ms), what="attempt", words=words)


def _end(state: DeliveryState, place: _Place, now_ms: int) -> TraceStep:
    if state.state == "parked" and (lets := place.lets(parse_iso_ms(state.due_at), now_ms)):
        words = state.words.replace(f"at {state.due_at}", lets) if state.attempts else f"{state.words}, {lets}"
        return TraceStep(at=None, what="due", words=words)
    at = {"parked": state.due_at, "in_flight": None, "dead_letter": state.died_at}.get(state.state)
    return TraceStep(at=at, what={"parked": "due"}.get(state.state, state.state), words=state.words)
