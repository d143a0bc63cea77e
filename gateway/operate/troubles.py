"""Open problems, grouped by cause, each with the command that helps."""

from collections import Counter
from collections.abc import Sequence

from gateway.operate.sight import Sight
from gateway.operate.views import SourceStatus, StoreStatus, SubscriberStatus, Trouble
from gateway.store.dead_letters import DeadLetters
from gateway.store.ledger import Ledger
from gateway.store.quarantine import KeptRequests, Shelf
from schemas.timestamps import parse_iso_ms

LOOKED_AT = 50
"""Dead letters a subscriber and partition, and kept requests a shelf, that are looked at for their causes. They come
with answers and bodies, so not many."""

LATE_S = 10.0
"""A retry that mends it sooner is no problem of anybody's."""

REJECTED_MS = 86_400_000
"""Requests rejected longer ago are history: they stay on their page and in the counts."""

NEARLY_FULL = 0.75
"""The part of its memory at which the store is mentioned; at 0.85 the intake stops."""

CAUSES = {
    "timeout": "does not answer in time",
    "dns": "has a name that cannot be looked up",
    "connect": "refuses the connection",
    "tls": "has a certificate that is not trusted",
    "reset": "breaks the connection off",
    "protocol": "answers something that is not HTTP",
    "redirect": "answers with a redirect, which is not followed",
    "gone": "answers 410 Gone",
    "refused_target": "is at an address deliveries may not go to",
    "internal": "could not be tried, through a defect of the gateway",
    "closed": "was not answered before the gateway stopped",
}
"""Cause of a failed delivery → what the subscriber does, in words. ``http_<status>`` is told by its number."""


def does(cause: str) -> str:
    """What a subscriber does that a delivery fails with ``cause``."""
    if cause.startswith("http_"):
        return f"answers {cause.removeprefix('http_')}"
    return CAUSES.get(cause, f"fails with {cause}")


async def find_troubles(
    sight: Sight,
    ledger: Ledger,
    sources: Sequence[SourceStatus],
    subscribers: Sequence[SubscriberStatus],
    store: StoreStatus,
) -> list[Trouble]:
    """All open problems, the worst first. Raises ``StoreUnavailable``."""
    found: list[Trouble] = []
    if ledger.unaccounted:
        found.append(
            Trouble(
                severity="bad",
                what=f"{ledger.unaccounted} events are in no place: the account does not add up",
                count=ledger.unaccounted,
                cause="unaccounted",
                command="gateway audit",
            )
        )
    found += [_broken(source) for source in sources if source.broken]
    for subscriber in subscribers:
        found += await _of_subscriber(sight, subscriber)
    found += _of_store(store)
    found += await _quarantined(sight, store)
    found += await _rejected(sight, sources)
    return sorted(found, key=lambda trouble: trouble.severity)  # "bad" sorts before "warn"


def _broken(source: SourceStatus) -> Trouble:
    return Trouble(
        severity="bad",
        what=f"{source.name} answers 503: {source.broken}",
        count=1,
        cause="broken_adapter",
        source=source.name,
        command="gateway check",
    )


async def _of_subscriber(sight: Sight, subscriber: SubscriberStatus) -> list[Trouble]:
    name = subscriber.name
    found = []
    if subscriber.state in ("disabled", "paused"):
        found.append(
            Trouble(
                severity="bad" if subscriber.state == "disabled" else "warn",
                what=f"{name} is {subscriber.words}",
                count=1,
                cause=subscriber.state,
                subscriber=name,
                command=f"gateway resume {name}",
            )
        )
    elif subscriber.state == "not_delivering":
        found.append(
            Trouble(
                severity="bad",
                what=f"{subscriber.pending} events wait for {name}, and no process delivers",
                count=subscriber.pending,
                cause="not_delivering",
                subscriber=name,
                command="gateway serve --role delivery",
            )
        )
    elif subscriber.state == "not_configured" and subscriber.pending:
        found.append(
            Trouble(
                severity="warn",
                what=f"{subscriber.pending} events are kept for {name}, which is no longer in the configuration",
                count=subscriber.pending,
                cause="not_configured",
                subscriber=name,
                command="gateway check",
            )
        )
    elif subscriber.state == "breaker_open" or (
        subscriber.state in ("retrying", "behind") and (subscriber.oldest_pending_s or 0) > LATE_S
    ):
        found.append(
            Trouble(
                severity="warn",
                what=f"{name}: {subscriber.words}",
                count=subscriber.parked or subscriber.pending,
                cause=subscriber.state,
                subscriber=name,
                command="gateway status",
            )
        )
    if subscriber.dead:
        found += await _dead(sight, name, subscriber.dead)
    return found


async def _dead(sight: Sight, name: str, dead: int) -> list[Trouble]:
    causes: Counter[str] = Counter()
    for keys in sight.keys:
        letters = await DeadLetters(sight.store, keys, name).list(0, LOOKED_AT)
        causes.update(letter.cause for letter, _ in letters)
    rest = dead - causes.total()
    return [
        Trouble(
            severity="bad",
            what=f"{name} {does(cause)}: {number} dead {'letter' if number == 1 else 'letters'}"
            + (f", and {rest} older ones of causes not looked at" if rest > 0 and position == 0 else ""),
            count=number,
            cause=cause,
            subscriber=name,
            command=f"gateway dead list --subscriber {name}",
            page=f"/dead?subscriber={name}&cause={cause}",
        )
        for position, (cause, number) in enumerate(causes.most_common())
    ]


def _of_store(store: StoreStatus) -> list[Trouble]:
    found = []
    limit = store.memory_limit_bytes
    if limit and store.memory_bytes > NEARLY_FULL * limit:
        found.append(
            Trouble(
                severity="bad",
                what=f"the store uses {100 * store.memory_bytes // limit} % of its memory; at 85 % the intake stops",
                count=1,
                cause="store_memory",
                command="gateway status",
            )
        )
    if store.log_bytes > store.retention_bytes:
        found.append(
            Trouble(
                severity="warn",
                what="the log is larger than retention_bytes, because a subscriber has not read all of it",
                count=1,
                cause="log_bytes",
                command="gateway status",
            )
        )
    if store.durability != "fsync":
        found.append(
            Trouble(
                severity="warn",
                what='durability = "memory": a crash of the store loses events that were answered 200',
                count=1,
                cause="not_durable",
                command="gateway check --effective",
            )
        )
    return found


async def _quarantined(sight: Sight, store: StoreStatus) -> list[Trouble]:
    if not store.quarantined:
        return []
    return [
        Trouble(
            severity="warn",
            what=f"{source}: {number} proven but not mappable: {reason}",
            count=number,
            cause="quarantined",
            source=source,
            page="/quarantine",
        )
        for (source, reason), number in await _kept_by_reason(sight, "quarantine", 0)
    ]


async def _rejected(sight: Sight, sources: Sequence[SourceStatus]) -> list[Trouble]:
    if not any(source.account.requests.rejected for source in sources):
        return []
    return [
        Trouble(
            severity="warn",
            what=f"{source}: {number} rejected in the last day (of those kept): {reason}",
            count=number,
            cause="not_proven",
            source=source,
            command="gateway urls",
            page="/rejected",
        )
        for (source, reason), number in await _kept_by_reason(sight, "rejected", sight.wall_ms() - REJECTED_MS)
    ]


async def _kept_by_reason(sight: Sight, shelf: Shelf, since_ms: int) -> list[tuple[tuple[str, str], int]]:
    """Source and reason → number, of the latest that are kept, the commonest first."""
    reasons: Counter[tuple[str, str]] = Counter()
    for keys in sight.keys:
        kept = await KeptRequests(sight.store, keys, shelf).list(None, LOOKED_AT)
        reasons.update(
            (each.meta.source, each.meta.reason)
            for each in kept
            if (parse_iso_ms(each.meta.received_at) or 0) >= since_ms
        )
    return reasons.most_common(20)
