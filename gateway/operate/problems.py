"""Open problems, grouped by cause: those that the numbers tell, and what dead letters and kept requests say."""

from collections import Counter
from collections.abc import Sequence

from gateway.operate.amounts import counted
from gateway.operate.sight import Sight
from gateway.operate.troubles import RECENT_MS, does, plain_troubles, trouble
from gateway.operate.views import (
    AlertsStatus,
    ReplaysStatus,
    SourceStatus,
    StoreStatus,
    SubscriberStatus,
    Trouble,
)
from gateway.store.dead_letters import DeadLetters
from gateway.store.ledger import Ledger
from gateway.store.quarantine import KeptRequests, Shelf
from schemas.timestamps import parse_iso_ms

LOOKED_AT = 50
"""Dead letters a subscriber and partition, and kept requests a shelf, that are looked at for their causes. They come
with answers and bodies, so not many."""


async def find_troubles(
    sight: Sight,
    ledger: Ledger,
    sources: Sequence[SourceStatus],
    subscribers: Sequence[SubscriberStatus],
    store: StoreStatus,
    alerts: AlertsStatus,
    replays: ReplaysStatus,
) -> list[Trouble]:
    """All open problems, the worst first, each of dead letters and kept requests by its cause.

    Raises ``StoreUnavailable``.
    """
    found = plain_troubles(ledger, sources, subscribers, store, alerts, replays)
    for subscriber in subscribers:
        if subscriber.dead:
            found += await _dead(sight, subscriber.name, subscriber.dead)
    found += await _quarantined(sight, store)
    found += await _rejected(sight, sources)
    return sorted(found, key=lambda trouble: trouble.severity)  # "bad" sorts before "warn"


async def _dead(sight: Sight, name: str, dead: int) -> list[Trouble]:
    causes: Counter[str] = Counter()
    for keys in sight.keys:
        letters = await DeadLetters(sight.store, keys, name).list(0, LOOKED_AT)
        causes.update(letter.cause for letter, _ in letters)
    rest = dead - causes.total()
    return [
        trouble(
            "bad",
            "dead_letters",
            f"{name} {does(cause)}: {counted(number, 'dead letter')}"
            + (f", and {rest} older ones of causes not looked at" if rest > 0 and position == 0 else ""),
            f"gateway dead list --subscriber {name}",
            count=number,
            cause=cause,
            subscriber=name,
            page=f"/dead?subscriber={name}&cause={cause}",
        )
        for position, (cause, number) in enumerate(causes.most_common())
    ]


async def _quarantined(sight: Sight, store: StoreStatus) -> list[Trouble]:
    if not store.quarantined:
        return []
    return [
        trouble(
            "warn",
            "quarantined",
            f"{source}: {number} proven but not mappable: {reason}",
            count=number,
            source=source,
            page="/quarantine",
        )
        for (source, reason), number in await _kept_by_reason(sight, "quarantine", 0)
    ]


async def _rejected(sight: Sight, sources: Sequence[SourceStatus]) -> list[Trouble]:
    if not any(source.account.requests.rejected for source in sources):
        return []
    return [
        trouble(
            "warn",
            "rejected",
            f"{source}: {number} rejected in the last day (of those kept): {reason}",
            "gateway urls",
            count=number,
            cause="not_proven",
            source=source,
            page="/rejected",
        )
        for (source, reason), number in await _kept_by_reason(sight, "rejected", sight.wall_ms() - RECENT_MS)
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
