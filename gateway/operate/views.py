"""What the API answers, beside the ledger and the canonical event: documented shapes, built nowhere but here."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway.store.ledger import Ledger, SourceAccount
from gateway.store.replays import State
from schemas.timestamps import Timestamp

Count = Annotated[int, Meta(ge=0)]
When = Annotated[Timestamp, Meta(description="A time, UTC, to the millisecond.")]


Next = Annotated[
    str | None,
    Meta(description="Give it as `after` for what follows; null where nothing does. Opaque: keep it, do not read it."),
]


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """Part of the log, as canonical events."""

    items: list[Any]
    next: Next


class SourceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One configured inbound URL, or one that has counts from an earlier configuration."""

    name: str
    adapter: str | None
    configured: bool
    broken: Annotated[str | None, Meta(description="Why every request is answered 503; null if all is well.")]
    last_event_at: Annotated[
        When | None, Meta(description="When its latest event came, also if the log no longer holds it.")
    ]
    last_heard_at: Annotated[
        When | None,
        Meta(
            description="When its latest proven request came, to a few seconds. Time in which no process watched is "
            "left out. Null where it has never been watched."
        ),
    ] = None
    silent: Annotated[bool, Meta(description="No proven request for longer than `expect_every`.")] = False
    account: SourceAccount


SubscriberState = Literal[
    "up_to_date",
    "delivering",
    "behind",
    "retrying",
    "breaker_open",
    "paused",
    "disabled",
    "not_delivering",
    "not_configured",
]


class SubscriberStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One downstream app."""

    name: str
    state: SubscriberState
    words: Annotated[str, Meta(description="The state as a sentence, with what follows.")]
    paused: Annotated[str | None, Meta(description="Why it is paused; null if it is not.")] = None
    types: list[str]
    offered: Count
    delivered: Count
    filtered: Count
    discarded: Count
    dead: Annotated[Count, Meta(description="Dead letters there are now.")]
    pending: Annotated[Count, Meta(description="unread + parked + held")]
    unread: Annotated[Count, Meta(description="Behind the cursor in the log.")]
    parked: Annotated[Count, Meta(description="Failed and waiting for the next attempt, or tried for over a second.")]
    held: Annotated[Count, Meta(description="Waiting behind a parked one of the same key.")]
    in_flight: Annotated[Count, Meta(description="Attempts on the wire.")]
    attempts: Annotated[
        dict[str, int],
        Meta(
            description="Attempts since the processes started: delivered, or the cause of failure → number.",
            examples=[{"delivered": 120, "http_500": 3}],
        ),
    ]
    filter_failures: Annotated[
        Count,
        Meta(description="Events on which where failed since the processes started; they count as filtered."),
    ] = 0
    unaccounted: int
    oldest_pending_s: Annotated[float | None, Meta(description="Age of the oldest pending event; null without one.")]
    next_attempt_at: Annotated[When | None, Meta(description="When the next parked event is due.")]
    breaker_open_since: Annotated[When | None, Meta(description="Null while its breaker is closed.")] = None
    lag_used: Annotated[
        float,
        Meta(
            description="The part of `max_lag` that is used, by age or by bytes, whichever is more. "
            "At 0.5 it is a problem; beyond 1 events are discarded."
        ),
    ] = 0.0
    given_up: Annotated[
        Count,
        Meta(description="Of the discarded, what nobody asked for: beyond max_lag, or dead letters without room."),
    ] = 0
    given_up_at: Annotated[When | None, Meta(description="When the latest of them was discarded.")] = None


class PartitionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One partition of the store."""

    number: Count
    last_sequence: Count
    log_entries: Count
    log_bytes: Count
    owner: Annotated[str | None, Meta(description="Which process delivers from it; null if none does.")]
    epoch: Count
    lease_left_ms: Count


class SpoolStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What waits outside the store, because it was away when it came."""

    configured: Annotated[bool, Meta(description="Whether `[store] spool` names a folder.")] = False
    requests: Annotated[Count, Meta(description="Requests that wait, of all processes.")] = 0
    events: Count = 0
    bytes: Count = 0
    limit_bytes: Annotated[Count, Meta(description="`spool_bytes`: beyond it webhooks are answered 503.")] = 0
    files: Annotated[Count, Meta(description="Files with something in them: each process writes its own.")] = 0
    oldest_at: Annotated[When | None, Meta(description="When the oldest of them came.")] = None
    put_aside: Annotated[Count, Meta(description="Batches the store does not take, or that are damaged.")] = 0
    unreadable: Annotated[dict[str, str], Meta(description="Files that are not drained → why.")] = {}


class StoreStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The store."""

    kind: Annotated[str, Meta(description="embedded or remote")]
    server: Annotated[str, Meta(description="Name and version.", examples=["valkey 9.1.2"])]
    durability: Annotated[str, Meta(description="fsync: a 2xx means it is on disk. memory: a crash loses events.")]
    settings: Annotated[dict[str, str], Meta(description="What the server said of itself at the last look.")]
    durable: Annotated[
        bool,
        Meta(description="Whether it fsyncs before it answers, by those settings or by `assume_durable`."),
    ] = True
    memory_bytes: Count
    memory_limit_bytes: Annotated[Count, Meta(description="0: none set.")]
    log_bytes: Count
    log_entries: Count
    retention_bytes: Count
    quarantined: Annotated[Count, Meta(description="Requests in quarantine now.")]
    spool: SpoolStatus = msgspec.field(default_factory=SpoolStatus)
    disk: Annotated[
        str,
        Meta(description="That the embedded store's disk has next to no room, and what to do; empty if it has."),
    ] = ""
    partitions: list[PartitionStatus]


class AlertsStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What is told to whoever is on call."""

    configured: Annotated[bool, Meta(description="Whether `[alerts]` has a URL.")] = False
    standing: Annotated[Count, Meta(description="Alerts that were raised and are not over.")] = 0
    unsent: Annotated[Count, Meta(description="Of the words about them, those not yet sent.")] = 0
    failing_since: Annotated[When | None, Meta(description="Since when they cannot be sent; null if they can.")] = None
    why: Annotated[str | None, Meta(description="Why not.")] = None


TroubleKind = Literal[
    "unaccounted",
    "broken_adapter",
    "disabled",
    "paused",
    "waiting",
    "not_configured",
    "dead_letters",
    "lag",
    "discarded",
    "store_disk",
    "store_memory",
    "store_settings",
    "log_bytes",
    "memory_only",
    "spooled",
    "spool",
    "quarantined",
    "rejected",
    "silence",
    "alerts",
    "replay",
]
"""What sort of problem it is. ``waiting``: events for a subscriber are late, whatever the reason. ``spooled``: requests
wait in the spool; ``spool``: it is nearly full, or holds what cannot be drained. ``replay``: one stopped by itself."""


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """One open problem, many cases of the same cause taken together."""

    severity: Annotated[Literal["bad", "warn"], Meta(description="bad: something waits for a person.")]
    what: Annotated[str, Meta(description="One sentence.")]
    count: Count
    kind: TroubleKind
    cause: Annotated[str, Meta(examples=["http_500", "not_proven", "broken_adapter"])]
    subscriber: str | None = None
    source: str | None = None
    replay: Annotated[str | None, Meta(description="The id of a replay.")] = None
    command: Annotated[str | None, Meta(description="The command that helps, or shows more.")] = None
    page: Annotated[str | None, Meta(description="Where on the pages it is to be seen.")] = None
    since: Annotated[When | None, Meta(description="Since when, where that is known.")] = None


class ReplayLine(msgspec.Struct, frozen=True, kw_only=True):
    """One replay at a glance."""

    id: str
    state: State
    words: Annotated[str, Meta(description="The state as a sentence.")]
    target: Annotated[str, Meta(description="The subscriber, or the URL, masked.")]
    progress: Annotated[float, Meta(ge=0, le=1, description="How much of the log's range is gone through.")]
    created_at: When
    ended_at: When | None


class ReplaysStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent again on purpose: apart from the account, and in no term of it."""

    states: Annotated[dict[str, int], Meta(description="State → replays, of the newest 200.", examples=[{"done": 3}])]
    waiting: Annotated[Count, Meta(description="Of those that run, how many send nothing at the moment.")]
    delivered: Annotated[Count, Meta(description="Events, by all replays there ever were.")]
    requeued: Annotated[Count, Meta(description="Dead letters put back, by all of them.")]
    failed: Annotated[Count, Meta(description="Events that could not be delivered, by all of them.")]
    attempts: Annotated[Count, Meta(description="By all of them.")]
    items: Annotated[
        list[ReplayLine],
        Meta(description="The newest 20 that wait, run or stopped by themselves, then the 3 that ended last."),
    ]


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the gateway."""

    worker: Annotated[Count, Meta(description="Its number, from 0; the one started in its place has the same.")]
    pid: Annotated[int | None, Meta(description="Null: it does not answer, and what only it knows is in no sum.")]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at a glance."""

    at: When
    ledger: Ledger
    replays: ReplaysStatus
    sources: list[SourceStatus]
    subscribers: list[SubscriberStatus]
    store: StoreStatus
    workers: Annotated[list[WorkerStatus], Meta(description="The processes that take requests and deliver.")]
    alerts: AlertsStatus = AlertsStatus()
    problems: list[Trouble]


DeliveryStateName = Literal[
    "not_offered", "pending", "in_flight", "parked", "held", "dead_letter", "delivered", "filtered"
]


class DeliveryState(msgspec.Struct, frozen=True, kw_only=True):
    """Where one event stands with one subscriber."""

    subscriber: str
    state: DeliveryStateName
    certain: Annotated[
        bool,
        Meta(
            description="What was filtered leaves no trace, nor does what was delivered for ever; false where the "
            "counts and the configuration of today cannot tell which of the two, or discarded, it was."
        ),
    ]
    words: Annotated[str, Meta(description="The state as a sentence.")]
    attempts: Annotated[Count | None, Meta(description="Attempts made so far, where known.")] = None
    cause: str | None = None
    status: Annotated[int | None, Meta(description="The last answer's HTTP status.")] = None
    detail: str | None = None
    due_at: When | None = None
    first_failed_at: When | None = None
    last_attempt_at: When | None = None
    died_at: When | None = None
    answer: Annotated[str | None, Meta(description="The last answer's body as text, cut at 4 KiB.")] = None


class EventDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One event: canonical, raw, and what became of it."""

    event: Annotated[Any, Meta(description="The canonical event, without raw.")]
    raw: Annotated[Any, Meta(description="What the provider sent for it, redacted.")]
    partition: Count
    sequence: Count
    deliveries: list[DeliveryState]


class AttemptItem(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt that was made."""

    number: Annotated[Count, Meta(description="From 1, as the subscriber was told: `gateway-attempt`.")]
    began_at: When
    at: Annotated[When, Meta(description="When it ended.")]
    cause: Annotated[str | None, Meta(description="Why it failed, normalised; null if it was delivered.")]
    status: Annotated[int | None, Meta(description="The HTTP status, if there was an answer.")]
    duration_ms: Count
    probe: Annotated[
        bool, Meta(description="A breaker's probe that failed: it used no attempt up, so the next has its number.")
    ]
    before_retry: Annotated[
        bool, Meta(description="Made before it was a dead letter that was tried again: then the numbers begin anew.")
    ]


class DeadItem(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that no further attempt will be made of by itself."""

    event_id: str
    event_type: str
    subscriber: str
    cause: Annotated[str, Meta(examples=["http_500", "timeout", "dns"])]
    status: int | None
    detail: str
    attempts: Count
    first_failed_at: When
    died_at: When
    answer: Annotated[str, Meta(description="The last answer's body as text, cut at 4 KiB.")]
    history: Annotated[list[AttemptItem], Meta(description="The newest 10 attempts, the oldest first.")]


class DeadPage(msgspec.Struct, frozen=True, kw_only=True):
    """Part of the list of dead letters."""

    items: list[DeadItem]
    next: Next


class DeadOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters to retry or drop. `ids`, `cause` or `all` must say which."""

    subscriber: Annotated[str | None, Meta(description="Only of this subscriber; null: of any.")] = None
    ids: (
        Annotated[
            list[Annotated[str, Meta(min_length=1, max_length=64)]],
            Meta(max_length=1_000, description="Event ids, or unique beginnings of them.", examples=[["evt_hdvgbpm7"]]),
        ]
        | None
    ) = None
    cause: Annotated[str | None, Meta(description="Only with this cause.", examples=["http_500"])] = None
    all: Annotated[bool, Meta(description="All that the other fields do not exclude.")] = False
    dry_run: Annotated[bool, Meta(description="Only say which would be concerned.")] = False


class DeadMoved(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an order."""

    word: Literal["retry", "drop"]
    dry_run: bool
    matched: Annotated[Count, Meta(description="Dead letters the order names.")]
    moved: Annotated[Count, Meta(description="How many were moved; 0 in a dry run.")]
    subscribers: Annotated[dict[str, int], Meta(description="Subscriber → matched.")]
    ids: Annotated[list[str], Meta(description="The first 100 event ids.")]


class KeptItem(msgspec.Struct, frozen=True, kw_only=True):
    """A request kept with its exact bytes: in quarantine (proven, not mappable) or rejected (not proven; a sample)."""

    place: Annotated[str, Meta(description="Where it is kept.")]
    request: str
    source: str
    adapter: str
    received_at: When
    reason: str
    verified: Annotated[str | None, Meta(description="How it was proven; null for a rejected one.")]
    client_ip: str | None
    path_token: Annotated[bool, Meta(description="Whether a path token came with it (never which).")]
    headers: Annotated[
        list[tuple[str, str]], Meta(description="Values that may prove something are masked, length kept in words.")
    ]
    body_bytes: Count
    body: Annotated[str, Meta(description="The body as text, cut at 4 KiB, known secrets masked.")]


class KeptPage(msgspec.Struct, frozen=True, kw_only=True):
    """Part of a shelf."""

    items: list[KeptItem]
    next: Next


class AuditAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The account, counted again from the log and not from the counters."""

    ledger: Ledger
    findings: Annotated[list[str], Meta(description="Every difference, in words; empty when all is well.")]
