"""Where one event stands with each subscriber, as far as the store can tell.

What waits leaves a trace: behind the cursor, parked, held, dead letter. So does a first attempt that was answered 2xx,
for as long as it is kept. Of an event without a trace there is only a count: the types decide whether it was delivered
or filtered, and where the counts allow something else, the answer says so.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from gateway.delivery.condition import Subject
from gateway.operate.masking import mask_text, secrets_of
from gateway.operate.search import Found
from gateway.operate.sight import Sight
from gateway.operate.troubles import does
from gateway.operate.views import DeliveryState, DeliveryStateName
from gateway.operate.wanting import Verdict, judge
from gateway.store import firsts
from gateway.store.dead_letters import DeadLetter, split
from gateway.store.firsts import First
from gateway.store.ledger import subscribers_of
from gateway.store.parked import Parked, tried_before
from schemas.timestamps import format_ms

_NOT_CONFIGURED = Verdict(False, False, "is not configured")

_decode_parked = msgspec.json.Decoder(Parked).decode


class _Numbers(msgspec.Struct, frozen=True):
    start: int
    cursor: int
    delivered: int
    filtered: int
    discarded: int


async def delivery_states(sight: Sight, found: Found) -> list[DeliveryState]:
    """One for each subscriber the event's partition knows, by name. Raises ``StoreUnavailable``."""
    return [state for state, _ in await states_and_firsts(sight, found)]


async def states_and_firsts(sight: Sight, found: Found) -> list[tuple[DeliveryState, First | None]]:
    """The same, each with the first attempt if it was answered 2xx and is still kept. Raises ``StoreUnavailable``."""
    names = (await subscribers_of(sight.store, [sight.keys[found.partition]]))[0]
    subject = Subject(found.entry.event_json, found.entry.raw_json)
    subscribers = sight.config.subscribers
    verdicts = {
        name: judge(subscribers[name], found.head.type, subject) if name in subscribers else _NOT_CONFIGURED
        for name in sorted(names)
    }
    return list(await asyncio.gather(*[_state(sight, found, name, verdict) for name, verdict in verdicts.items()]))


async def _state(sight: Sight, found: Found, name: str, verdict: Verdict) -> tuple[DeliveryState, First | None]:
    seq = found.entry.seq
    keys = sight.keys[found.partition].subscriber(name)
    # In the order in which an event moves on, and parked once more for one that an operator retries in between.
    held, parked, dead, again, numbers, due, *kept = await sight.store.many(
        [
            ("HGET", keys.held, seq),
            ("HGET", keys.parked, seq),
            ("HGET", keys.dead, seq),
            ("HGET", keys.parked, seq),
            ("HMGET", keys.sub, "start", "cursor", "delivered", "filtered", "discarded"),
            ("ZSCORE", keys.due, seq),
            *firsts.lookups(keys, seq),
        ]
    )
    if held is not None:
        words = "waits behind a failed event with the same key"
        tried = tried_before(held)
        before = 0 if tried is None else len(tried.history) + tried.forgotten
        if before:
            words += f"; {_attempts(before)} of it failed before"
        return DeliveryState(subscriber=name, state="held", certain=True, words=words), None
    if (info := parked or again) is not None:
        return _parked(name, _decode_parked(info), None if due is None else int(float(due))), None
    if dead is not None:
        letter, answer = split(dead)
        return _dead(sight, letter, answer), None
    if (first := firsts.found(seq, kept)) is not None:
        return _at_once(name, first), first
    return _without_trace(name, seq, _Numbers(*[int(number or 0) for number in numbers]), verdict), None


def _parked(name: str, parked: Parked, due_ms: int | None) -> DeliveryState:
    due_at = None if due_ms is None else format_ms(due_ms)
    if parked.in_flight:
        words = f"attempt {parked.attempt + 1} is on the wire"
    elif parked.attempt == 0:
        words = "due for its first attempt"
        if parked.retried:
            before = len(parked.history) + parked.forgotten
            words += f" since it was retried as a dead letter, after {_attempts(before)}"
    else:
        words = f"{name} {does(parked.cause)}; attempt {parked.attempt + 1} is due at {due_at}"
    return DeliveryState(
        subscriber=name,
        state="in_flight" if parked.in_flight else "parked",
        certain=True,
        words=words,
        attempts=parked.attempt,
        cause=parked.cause or None,
        status=parked.status,
        detail=parked.detail or None,
        due_at=due_at,
        first_failed_at=format_ms(parked.first_failed_ms) if parked.first_failed_ms else None,
        last_attempt_at=format_ms(parked.last_attempt_ms) if parked.last_attempt_ms else None,
    )


def _dead(sight: Sight, letter: DeadLetter, answer: bytes) -> DeliveryState:
    return DeliveryState(
        subscriber=letter.subscriber,
        state="dead_letter",
        certain=True,
        words=f"given up after {_attempts(letter.attempts)}: {letter.subscriber} {does(letter.cause)}",
        attempts=letter.attempts,
        cause=letter.cause,
        status=letter.status,
        detail=letter.detail,
        first_failed_at=format_ms(letter.first_failed_ms),
        died_at=format_ms(letter.died_ms),
        answer=mask_text(answer, secrets_of(sight.config)),
    )


def _at_once(name: str, first: First) -> DeliveryState:
    began = format_ms(first.at_ms - first.duration_ms)
    return DeliveryState(
        subscriber=name,
        state="delivered",
        certain=True,
        words=f"{name} answered {first.status}, {first.duration_ms} ms after attempt 1 began at {began}",
        attempts=1,
        status=first.status,
        last_attempt_at=format_ms(first.at_ms),
    )


def _without_trace(name: str, seq: int, numbers: _Numbers, verdict: Verdict) -> DeliveryState:
    if seq <= numbers.start:
        return DeliveryState(
            subscriber=name, state="not_offered", certain=True, words=f"{name} subscribed after this event"
        )
    if seq > numbers.cursor:
        return DeliveryState(subscriber=name, state="pending", certain=True, words=f"{name} has not read this far")
    also = ["discarded"] if numbers.discarded else []
    if verdict.wanted:
        also = (["filtered"] if numbers.filtered else []) + also
        state: DeliveryStateName = "delivered"
        words = f"{name} answered 2xx" if not also else f"by the types of today; it could also have been {_or(also)}"
    else:
        also = (["delivered"] if numbers.delivered else []) + also
        state = "filtered"
        if verdict.by_type:
            words = f"{name}: {verdict.words}" + (f"; if it held then, it was {_or(also)}" if also else "")
        else:
            today = f" today; if it did then, it was {_or(also)}" if also else ""
            words = f"{name} does not ask for this type{today}"
    return DeliveryState(subscriber=name, state=state, certain=not also, words=words)


def _attempts(number: int) -> str:
    return "1 attempt" if number == 1 else f"{number} attempts"


def _or(words: Sequence[str]) -> str:
    return " or ".join(words)
