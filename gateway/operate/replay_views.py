"""What the API is asked and answers about replays: documented shapes, built nowhere but here."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.operate.times import HOW
from gateway.operate.views import Count, Next, When
from gateway.store.replays import DeliveryWord, State

EventId = Annotated[str, Meta(min_length=1, max_length=64)]
Name = Annotated[str, Meta(max_length=63)]
Time = Annotated[str, Meta(max_length=40)]
Text = Annotated[str, Meta(max_length=4_000)]


class ReplayTo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A target that is no subscriber. It is checked like one, and addresses are checked at every connection."""

    url: Annotated[
        str,
        Meta(
            max_length=2_048,
            description="https, or http in `allow_networks`; with a query only by reference: env:SUBSCRIBER_NAME.",
            examples=["https://staging.example.com/hooks"],
        ),
    ]
    secret: Annotated[
        Text | None,
        Meta(
            description="Which secret signs, by reference: env:NAME, credential:name, file:secrets/NAME. Null: one is "
            "made, told once in the answer, and kept in a file of the data directory until the replay is done.",
            examples=["env:STAGING_SECRET"],
        ),
    ] = None
    allow_networks: Annotated[
        list[Annotated[str, Meta(max_length=64)]],
        Meta(max_length=64, description="Private networks it may lie in.", examples=[["10.2.0.0/16"]]),
    ] = []
    format: Annotated[str, Meta(max_length=64, description="As a subscriber's.")] = "canonical"
    raw: Annotated[bool, Meta(description="With what the provider sent.")] = True


class ReplayOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events to send again, and where to. What is not given does not restrict; at least one thing must be, or
    `all`."""

    subscriber: Annotated[
        Name | None,
        Meta(description="Where to, unless `to` says otherwise; and whose `state` is meant."),
    ] = None
    to: Annotated[ReplayTo | None, Meta(description="A URL instead.")] = None
    ids: Annotated[
        list[EventId], Meta(max_length=1_000, description="Event ids, or up to 20 unique beginnings of recent ones.")
    ] = []
    since: Annotated[Time | None, Meta(description=f"Received at or after: {HOW}.")] = None
    until: Annotated[Time | None, Meta(description=f"Received before: {HOW}.")] = None
    types: Annotated[
        list[Annotated[str, Meta(max_length=64)]],
        Meta(max_length=100, description="Types, families, or `*`.", examples=[["message.*"]]),
    ] = []
    source: Annotated[Name | None, Meta(description="Only events of this source.")] = None
    state: Annotated[
        DeliveryWord,
        Meta(
            description="How the event stands with the subscriber. `dead` without `to` retries dead letters: they go "
            "back into the equation as pending. `delivered` is worked out from its types and condition of today."
        ),
    ] = "any"
    where: Annotated[
        Text | None,
        Meta(description="A CEL condition on `event`.", examples=['event.channel == "whatsapp"']),
    ] = None
    wanted_only: Annotated[
        bool, Meta(description="Only what the subscriber's own types and condition cover today.")
    ] = False
    all: Annotated[bool, Meta(description="Everything in the log that the other fields do not exclude.")] = False
    rate: Annotated[str, Meta(max_length=16, description="Attempts begin no faster.", examples=["50/s", "600/m"])] = (
        "100/s"
    )
    dry_run: Annotated[bool, Meta(description="Only say what it would be about.")] = False


class ReplayEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The first or last event of a plan."""

    event_id: str
    event_type: str
    received_at: When


class ReplayPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay would be about. Nothing was changed or sent."""

    matched: Annotated[Count, Meta(description="Events; at least so many if `complete` is false.")]
    complete: Annotated[bool, Meta(description="Whether everything was looked at; it stops after 15 seconds.")]
    looked_at: Annotated[Count, Meta(description="Sequence numbers of the log that were gone through.")]
    types: Annotated[dict[str, int], Meta(description="Type → events.")]
    sources: Annotated[dict[str, int], Meta(description="Source → events.")]
    first: Annotated[ReplayEnd | None, Meta(description="Received first.")]
    last: Annotated[ReplayEnd | None, Meta(description="Received last.")]
    withheld: Annotated[
        Count, Meta(description="Login credentials in the range, which go only to who names channel.qr_updated.")
    ]
    expired: Annotated[Count, Meta(description="Sequence numbers in the range that the log no longer holds.")]
    rate_per_s: float
    seconds: Annotated[float, Meta(description="How long it would take at this rate.")]
    retries_dead: Annotated[
        bool, Meta(description="It would be what `gateway dead retry` does: the dead letters become pending again.")
    ]
    notes: Annotated[list[str], Meta(description="What one should know before saying yes.")]


class ReplayFailed(msgspec.Struct, frozen=True, kw_only=True):
    """One event that was not delivered."""

    event_id: str
    cause: Annotated[str, Meta(examples=["http_500", "timeout"])]
    detail: str


class ReplayItem(msgspec.Struct, frozen=True, kw_only=True):
    """One replay: what it is about, how far it is. Its counts are in no account."""

    id: Annotated[str, Meta(description="Also the header `gateway-replay` of what it sends.")]
    state: State
    words: Annotated[str, Meta(description="The state as a sentence.")]
    created_at: When
    created_by: str
    started_at: When | None
    ended_at: When | None
    subscriber: str | None
    to: Annotated[str | None, Meta(description="The URL, masked.")]
    selection: Annotated[dict[str, str], Meta(description="What restricts it, as text.")]
    rate_per_s: float
    progress: Annotated[float, Meta(ge=0, le=1, description="How much of the log's range is gone through.")]
    matched: Annotated[Count, Meta(description="Events handled so far: delivered + requeued + failed.")]
    delivered: Count
    requeued: Annotated[Count, Meta(description="Dead letters that were put back.")]
    failed: Count
    attempts: Count
    expired: Annotated[Count, Meta(description="Sequence numbers the log no longer held when it came to them.")]
    waiting: Annotated[str | None, Meta(description="Why it sends nothing at the moment.")]
    last_error: str | None
    failures: Annotated[list[ReplayFailed], Meta(description="The first 100.")]


class ReplayPage(msgspec.Struct, frozen=True, kw_only=True):
    """Part of the list of replays. Here `failures` is empty: one replay by its id has them."""

    items: list[ReplayItem]
    next: Next


class ReplayAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """To an order: the plan of a dry run, or the replay that was made."""

    word: Literal["planned", "created"]
    plan: ReplayPlan | None = None
    replay: ReplayItem | None = None
    secret: Annotated[
        str | None, Meta(description="What signs, if it was made now: told this once.", examples=["whsec_…"])
    ] = None
