"""What the API answers about subscribers: documented shapes, built nowhere but here."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway.operate.views import Count, SubscriberState, When
from gateway.problems import Mistake

Settings = Annotated[
    dict[str, Any],
    Meta(
        description="As written, with the defaults in force. Secrets show as references, other values that may hold "
        "one are masked.",
        examples=[{"url": "https://crm.example.com/hooks", "secrets": ["env:CRM_SECRET"], "types": ["message.*"]}],
    ),
]


class SubscriberItem(msgspec.Struct, frozen=True, kw_only=True):
    """One downstream app: who says so, with which settings, and how it does."""

    name: str
    origin: Annotated[
        Literal["file", "api", "none"],
        Meta(description="file: read-only here. api: made here. none: no longer configured; its state is kept."),
    ]
    state: SubscriberState
    words: Annotated[str, Meta(description="The state as a sentence, with what follows.")]
    paused: Annotated[str | None, Meta(description="Why it is paused; null if it is not.")]
    pending: Annotated[Count, Meta(description="unread + parked + held")]
    unread: Annotated[Count, Meta(description="How far its cursor is behind.")]
    dead: Annotated[Count, Meta(description="Dead letters there are now.")]
    oldest_pending_s: Annotated[float | None, Meta(description="Age of the oldest pending event; null without one.")]
    settings: Settings
    public_keys: Annotated[
        list[str], Meta(description="Of `whsk_` secrets, what verifies `v1a` signatures.", examples=[["whpk_…"]])
    ]
    mistakes: Annotated[
        list[Mistake],
        Meta(description="Why the process that answers cannot read it and does not deliver; empty when all is well."),
    ]


class SubscriberPage(msgspec.Struct, frozen=True, kw_only=True):
    """All subscribers, by name."""

    items: list[SubscriberItem]
    next: Annotated[str | None, Meta(description="Always null: the list is given whole.")] = None


class SubscriberMade(msgspec.Struct, frozen=True, kw_only=True):
    """A subscriber that was made or changed."""

    subscriber: SubscriberItem
    secret: Annotated[
        str | None,
        Meta(
            description="The signing secret, if one was made: told this once. Kept in a file of the data directory.",
            examples=["whsec_…"],
        ),
    ]


class SubscriberDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """A subscriber that is no more."""

    name: str
    forgotten: Annotated[bool, Meta(description="Whether its cursor, counts and waiting events are gone too.")]
    pending: Annotated[Count, Meta(description="Events that waited for it.")]
    dead: Annotated[Count, Meta(description="Dead letters it had.")]


class PauseOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Stop deliveries to a subscriber."""

    reason: (
        Annotated[
            str, Meta(max_length=500, description="Shown wherever its state is.", examples=["deploying the new CRM"])
        ]
        | None
    ) = None


class TestOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to try a subscriber with."""

    type: (
        Annotated[
            str,
            Meta(
                max_length=64, description="Of which type; null: the first it asks for.", examples=["message.received"]
            ),
        ]
        | None
    ) = None


class TestAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How a subscriber took a synthetic event (`origin: "test"`)."""

    event_id: str
    event_type: str
    delivered: Annotated[bool, Meta(description="It answered 2xx.")]
    status: Annotated[int | None, Meta(description="The HTTP status, if there was an answer.")]
    cause: Annotated[str | None, Meta(description="Why it failed, normalised; null if it did not.")]
    detail: Annotated[str | None, Meta(description="The same as a sentence.")]
    duration_ms: Count
    answer: Annotated[str | None, Meta(description="The answer's body as text, cut at 4 KiB; null if delivered.")]
    at: When
