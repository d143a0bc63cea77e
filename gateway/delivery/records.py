"""What the store is told of an attempt: parked with its history, or a dead letter. Pure."""

from typing import Literal

import msgspec

from gateway.delivery.outcome import Outcome
from gateway.delivery.parcel import Delivery
from gateway.delivery.schedule import Again, Dead
from gateway.store.dead_letters import DeadLetter
from gateway.store.parked import HISTORY, Attempt, Change, Late, Parked

DETAIL_CHARS = 500
"""Of a failure's sentence, what a parked event keeps."""


def late_after(before: Parked, outcome: Outcome, now_ms: int, *, counts: bool = True) -> Late:
    """What is remembered of an event's attempts after one more: the newest ``HISTORY``, and how many came before."""
    attempt = Attempt(
        number=before.attempt + 1,
        at_ms=now_ms,
        cause=outcome.cause,
        status=outcome.status,
        duration_ms=round(outcome.duration_s * 1000),
        probe=not counts,
    )
    known = (*before.history, attempt)
    return Late(history=known[-HISTORY:], forgotten=before.forgotten + max(0, len(known) - HISTORY))


def parked_change(
    operation: Literal["park", "again"],
    delivery: Delivery,
    before: Parked,
    outcome: Outcome,
    step: Again,
    now_ms: int,
    *,
    counts: bool,
) -> Change:
    """Park ``delivery`` until ``step`` is due. ``counts``: whether the attempt used one up (a probe does not)."""
    late = late_after(before, outcome, now_ms, counts=counts)
    info = Parked(
        attempt=before.attempt + counts,
        first_failed_ms=before.first_failed_ms or now_ms,
        key=before.key,
        last_chance=before.last_chance,
        retried=before.retried,
        event_id=delivery.event_id,
        event_type=delivery.event_type,
        cause=outcome.cause,
        status=outcome.status,
        detail=outcome.detail[:DETAIL_CHARS],
        last_attempt_ms=now_ms,
        history=late.history,
        forgotten=late.forgotten,
    )
    return Change(operation, delivery.seq, before.key, step.due_ms, msgspec.json.encode(info))


def in_flight_change(delivery: Delivery, key: str, started_ms: int, due_ms: int) -> Change:
    """Park an event whose attempt still runs, so that the cursor can move on."""
    info = Parked(
        attempt=0,
        key=key,
        in_flight=True,
        started_ms=started_ms,
        event_id=delivery.event_id,
        event_type=delivery.event_type,
    )
    return Change("park", delivery.seq, key, due_ms, msgspec.json.encode(info))


def dead_change(
    operation: Literal["dead", "bury"],
    subscriber: str,
    delivery: Delivery,
    before: Parked,
    outcome: Outcome,
    step: Dead,
    now_ms: int,
) -> Change:
    """Make it a dead letter, with its cause and the last answer."""
    late = late_after(before, outcome, now_ms)
    letter = DeadLetter(
        seq=delivery.seq,
        event_id=delivery.event_id,
        event_type=delivery.event_type,
        subscriber=subscriber,
        cause=step.cause,
        status=outcome.status,
        detail=outcome.detail,
        attempts=before.attempt + 1,
        first_failed_ms=before.first_failed_ms or now_ms,
        died_ms=now_ms,
        key=before.key,
        history=late.history,
        forgotten=late.forgotten,
        answer_bytes=len(outcome.answer),
    )
    return Change(operation, delivery.seq, before.key, now_ms, msgspec.json.encode(letter), outcome.answer)


def done_change(delivery: Delivery, before: Parked, outcome: Outcome, now_ms: int) -> Change:
    """A parked event was delivered; its history goes to the subscriber's list of such."""
    return Change("done", delivery.seq, before.key, 0, msgspec.json.encode(late_after(before, outcome, now_ms)))
