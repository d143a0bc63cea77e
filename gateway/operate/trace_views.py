"""What the API answers about one event's life and about deliveries: documented shapes, built nowhere but here."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.operate.views import AttemptItem, Count, DeliveryStateName, Next, When


class TraceStep(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened, or that stands in the way."""

    at: Annotated[When | None, Meta(description="When, where that is known.")]
    what: Annotated[
        str,
        Meta(
            description="received, waited, logged, subscribed, matched, not_matched, paused, breaker_open, behind, "
            "held, not_kept, attempt, due, dead_letter, delivered, filtered …",
            examples=["attempt"],
        ),
    ]
    words: Annotated[str, Meta(description="The same as a sentence.")]


class SubscriberTrace(msgspec.Struct, frozen=True, kw_only=True):
    """Why an event reached, or did not reach, one subscriber."""

    subscriber: str
    state: DeliveryStateName
    certain: Annotated[bool, Meta(description="Whether the store knows it, or the settings of today suggest it.")]
    words: Annotated[str, Meta(description="The state as a sentence.")]
    steps: list[TraceStep]
    attempts: Annotated[list[AttemptItem], Meta(description="The newest 10 that are remembered, the oldest first.")]
    attempts_not_kept: Annotated[Count, Meta(description="Earlier ones, of which only the number is known.")]


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """One event's life."""

    event_id: str
    event_type: str
    source: str
    partition: Count
    sequence: Count
    steps: Annotated[list[TraceStep], Meta(description="Up to the log.")]
    subscribers: list[SubscriberTrace]


DeliveryFilter = Literal["pending", "parked", "held", "dead"]


class DeliveryItem(msgspec.Struct, frozen=True, kw_only=True):
    """One event that a subscriber has not settled, or that it never will by itself."""

    subscriber: str
    event_id: Annotated[str | None, Meta(description="Null where the log no longer holds the event.")]
    event_type: str | None
    partition: Count
    sequence: Count
    state: DeliveryStateName
    received_at: When | None
    attempts: Annotated[Count, Meta(description="Attempts made so far.")]
    cause: str | None
    status: int | None
    detail: str | None
    due_at: Annotated[When | None, Meta(description="Of a parked one: when its next attempt is due.")]
    died_at: Annotated[When | None, Meta(description="Of a dead letter.")]
    history: Annotated[list[AttemptItem], Meta(description="The newest 10 attempts, the oldest first.")]


class DeliveryPage(msgspec.Struct, frozen=True, kw_only=True):
    """Part of the deliveries that are not settled."""

    items: list[DeliveryItem]
    next: Next


class CauseItem(msgspec.Struct, frozen=True, kw_only=True):
    """All dead letters of one cause."""

    cause: Annotated[str, Meta(examples=["http_500", "timeout"])]
    words: Annotated[str, Meta(description="What the subscriber does, as part of a sentence.")]
    count: Count
    subscribers: Annotated[dict[str, int], Meta(description="Subscriber → number.", examples=[{"crm": 3}])]
    example: Annotated[str, Meta(description="The id of the event that died last.")]
    detail: Annotated[str, Meta(description="Of the example: the failure as a sentence.")]
    first_died_at: When
    last_died_at: When


class CausePage(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters by cause, the commonest first."""

    items: list[CauseItem]
    next: Annotated[str | None, Meta(description="Always null: the list is given whole.")] = None
