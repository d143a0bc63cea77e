"""Where one event stands with each subscriber, as far as the store can tell.

What waits leaves a trace: behind the cursor, parked, held, dead letter. So does the attempt that was answered 2xx, the
first or a later one, for as long as it is kept. Of an event without a trace there is only a count: the types decide
whether it was delivered or filtered, and where the counts allow something else, the answer says so.
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
from gateway.store.layout import SubscriberKeys
from gateway.store.ledger import subscribers_of
from gateway.store.parked import Attempt, Late, Parked, tried_before
from schemas.timestamps import format_ms

_NOT_CONFIGURED = Verdict(False, False, "is not configured")

HISTORY_PAGE = 500
HISTORY_PAGES = 30
"""Late deliveries that are looked through: more than the store keeps."""

_decode_parked = msgspec.json.Decoder(Parked).decode
_decode_late = msgspec.json.Decoder(Late).decode
_NONE = Late(history=())


class _Numbers(msgspec.Struct, frozen=True):
    start: int
    cursor: int
    delivered: int
    filtered: int
    discarded: int


async def delivery_states(sight: Sight, found: Found) -> list[DeliveryState]:
    """One for each subscriber the event's partition knows, by name. Raises ``StoreUnavailable``."""
    return [state for state, _ in await states_and_attempts(sight, found)]


async def states_and_attempts(sight: Sight, found: Found) -> list[tuple[DeliveryState, Late]]:
    """The same, each with the attempts that are remembered. Raises ``StoreUnavailable``."""
    names = (await subscribers_of(sight.store, [sight.keys[found.partition]]))[0]
    subject = Subject(found.entry.event_json, found.entry.raw_json)
    subscribers = sight.config.subscribers
    verdicts = {
        name: judge(subscribers[name], found.head.type, subject) if name in subscribers else _NOT_CONFIGURED
        for name in sorted(names)
    }
    return list(await asyncio.gather(*[_state(sight, found, name, verdict) for name, verdict in verdicts.items()]))


async def _state(sight: Sight, found: Found, name: str, verdict: Verdict) -> tuple[DeliveryState, Late]:
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
        late = _NONE if tried is None else _late(tried)
        if before := _number(late):
            words += f"; {_attempts(before)} of it failed before"
        return DeliveryState(subscriber=name, state="held", certain=True, words=words), late
    if (info := parked or again) is not None:
        waits = _decode_parked(info)
        return _parked(name, waits, None if due is None else int(float(due))), _late(waits)
    if dead is not None:
        letter, answer = split(dead)
        return _dead(sight, letter, answer), _late(letter)
    if (first := firsts.found(seq, kept)) is not None:
        late = _at_once(first)
        return _delivered(name, late, late.history[-1]), late
    state = _without_trace(name, seq, _Numbers(*[int(number or 0) for number in numbers]), verdict)
    if state.state == "delivered" or (state.state == "filtered" and not state.certain):
        late = await _late_delivery(sight, keys, seq)
        if late.history:
            return _delivered(name, late, late.history[-1]), late
    if state.state == "delivered":
        state = msgspec.structs.replace(state, words=f"{state.words}; when is no longer kept")
    return state, _NONE


def _late(kept: Parked | DeadLetter) -> Late:
    return Late(history=kept.history, forgotten=kept.forgotten)


def _number(late: Late) -> int:
    """How many attempts there were."""
    return len(late.history) + late.forgotten


def _at_once(first: First) -> Late:
    """The attempt of an event that was delivered at once."""
    return Late(history=(Attempt(number=1, at_ms=first.at_ms, status=first.status, duration_ms=first.duration_ms),))


async def _late_delivery(sight: Sight, keys: SubscriberKeys, seq: int) -> Late:
    """The attempts of an event that was delivered at a later one, if that is still remembered."""
    end = "+"
    for _ in range(HISTORY_PAGES):
        page = await sight.store.call("XREVRANGE", keys.history, end, "-", "COUNT", HISTORY_PAGE)
        for _, fields in page:
            if int(fields[1]) == seq:
                return _decode_late(fields[3])
        if len(page) < HISTORY_PAGE:
            break
        end = f"({page[-1][0].decode()}"
    return _NONE


def _parked(name: str, parked: Parked, due_ms: int | None) -> DeliveryState:
    due_at = None if due_ms is None else format_ms(due_ms)
    if parked.in_flight:
        words = f"attempt {parked.attempt + 1} is on the wire"
    elif parked.attempt == 0:
        words = "due for its first attempt"
        if parked.retried:
            words += f" since it was retried as a dead letter, after {_attempts(_number(_late(parked)))}"
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


def _delivered(name: str, late: Late, last: Attempt) -> DeliveryState:
    began = format_ms(last.at_ms - last.duration_ms)
    answered = last.status or "2xx"
    return DeliveryState(
        subscriber=name,
        state="delivered",
        certain=True,
        words=f"{name} answered {answered}, {last.duration_ms} ms after attempt {last.number} began at {began}",
        attempts=_number(late),
        status=last.status,
        first_failed_at=next(
            (format_ms(each.at_ms) for each in late.history if each.cause and not late.forgotten), None
        ),
        last_attempt_at=format_ms(last.at_ms),
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
