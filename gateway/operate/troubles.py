"""Problems as the numbers of ``status`` tell them, each with the command that helps. Pure.

``problems.py`` adds the causes of dead letters and of kept requests, which it has to read; alerts do without.
"""

from collections.abc import Sequence

from gateway.delivery.lag import WARN_PART
from gateway.intake.spool_folder import BEING_WRITTEN
from gateway.operate.views import AlertsStatus, SourceStatus, SpoolStatus, StoreStatus, SubscriberStatus, Trouble
from gateway.store.housekeeping import FULL
from gateway.store.ledger import Ledger
from schemas.timestamps import format_ms, parse_iso_ms

LATE_S = 10.0
"""A retry that mends it sooner is no problem of anybody's."""

RECENT_MS = 86_400_000
"""Requests rejected and events discarded longer ago are history: they stay on their page and in the counts."""

NEARLY_FULL = 0.75
"""The part of its memory at which the store is mentioned; at ``FULL`` the spool takes over, or the intake stops."""

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


def summed_troubles(
    ledger: Ledger,
    sources: Sequence[SourceStatus],
    subscribers: Sequence[SubscriberStatus],
    store: StoreStatus,
    alerts: AlertsStatus,
) -> list[Trouble]:
    """All open problems from numbers alone, without a look at answers and bodies, for who asks every few seconds.

    Dead letters are one problem a subscriber, quarantine one a source, counting all that ever came there; what is
    rejected is left out: whoever knows a URL can bring that about.
    """
    found = plain_troubles(ledger, sources, subscribers, store, alerts)
    found += [
        Trouble(
            severity="bad",
            what=f"{each.name} has {each.dead} dead {'letter' if each.dead == 1 else 'letters'}",
            count=each.dead,
            kind="dead_letters",
            cause="dead_letters",
            subscriber=each.name,
            command=f"gateway dead list --subscriber {each.name}",
            page=f"/dead?subscriber={each.name}",
        )
        for each in subscribers
        if each.dead
    ]
    if store.quarantined:
        found += [
            Trouble(
                severity="warn",
                what=f"{number} {'request' if number == 1 else 'requests'} of {each.name} so far proven but not "
                "mappable: they are in quarantine",
                count=number,
                kind="quarantined",
                cause="quarantined",
                source=each.name,
                page="/quarantine",
            )
            for each in sources
            if (number := each.account.requests.quarantined)
        ]
    return found


def plain_troubles(
    ledger: Ledger,
    sources: Sequence[SourceStatus],
    subscribers: Sequence[SubscriberStatus],
    store: StoreStatus,
    alerts: AlertsStatus,
) -> list[Trouble]:
    """All but dead letters and kept requests."""
    found: list[Trouble] = []
    if ledger.unaccounted:
        found.append(
            Trouble(
                severity="bad",
                what=f"{ledger.unaccounted} events are in no place: the account does not add up",
                count=ledger.unaccounted,
                kind="unaccounted",
                cause="unaccounted",
                command="gateway audit",
            )
        )
    found += [_broken(source) for source in sources if source.broken]
    found += [_silent(source) for source in sources if source.silent]
    now_ms = parse_iso_ms(ledger.at) or 0
    for subscriber in subscribers:
        found += _of_subscriber(subscriber, now_ms)
        found += _of_lag(subscriber, now_ms)
    found += _of_store(store)
    if alerts.failing_since is not None:
        found.append(
            Trouble(
                severity="bad",
                what=f"alerts cannot be sent: {alerts.why}",
                count=alerts.unsent,
                kind="alerts",
                cause="alerts",
                command="gateway alerts test",
                since=alerts.failing_since,
            )
        )
    return found


def _broken(source: SourceStatus) -> Trouble:
    return Trouble(
        severity="bad",
        what=f"{source.name} answers 503: {source.broken}",
        count=1,
        kind="broken_adapter",
        cause="broken_adapter",
        source=source.name,
        command="gateway check",
    )


def _silent(source: SourceStatus) -> Trouble:
    return Trouble(
        severity="bad",
        what=f"{source.name} is silent: no proven request for longer than expect_every",
        count=1,
        kind="silence",
        cause="silence",
        source=source.name,
        command="gateway urls",
        since=source.last_heard_at,
    )


def _of_subscriber(subscriber: SubscriberStatus, now_ms: int) -> list[Trouble]:
    name = subscriber.name
    if subscriber.state in ("disabled", "paused"):
        return [
            Trouble(
                severity="bad" if subscriber.state == "disabled" else "warn",
                what=f"{name} is {subscriber.words}",
                count=1,
                kind="disabled" if subscriber.state == "disabled" else "paused",
                cause=subscriber.state,
                subscriber=name,
                command=f"gateway resume {name}",
            )
        ]
    if subscriber.state == "not_delivering":
        return [
            Trouble(
                severity="bad",
                what=f"{subscriber.pending} events wait for {name}, and no process delivers",
                count=subscriber.pending,
                kind="waiting",
                cause="not_delivering",
                subscriber=name,
                command="gateway serve --role delivery",
                since=_waits_since(subscriber, now_ms),
            )
        ]
    if subscriber.state == "not_configured" and subscriber.pending:
        return [
            Trouble(
                severity="warn",
                what=f"{subscriber.pending} events are kept for {name}, which is no longer in the configuration",
                count=subscriber.pending,
                kind="not_configured",
                cause="not_configured",
                subscriber=name,
                command="gateway check",
            )
        ]
    if subscriber.state == "breaker_open" or (
        subscriber.state in ("retrying", "behind") and (subscriber.oldest_pending_s or 0) > LATE_S
    ):
        return [
            Trouble(
                severity="warn",
                what=f"{name}: {subscriber.words}",
                count=subscriber.parked or subscriber.pending,
                kind="waiting",
                cause=subscriber.state,
                subscriber=name,
                command="gateway status",
                since=_waits_since(subscriber, now_ms),
            )
        ]
    return []


def _waits_since(subscriber: SubscriberStatus, now_ms: int) -> str | None:
    """Since the oldest pending event came, or the breaker opened, whichever was first."""
    oldest_s = subscriber.oldest_pending_s
    known = [] if oldest_s is None else [format_ms(now_ms - round(oldest_s * 1000))]
    known += [subscriber.breaker_open_since] if subscriber.breaker_open_since else []
    return min(known, default=None)


def _of_lag(subscriber: SubscriberStatus, now_ms: int) -> list[Trouble]:
    """One when half of ``max_lag`` is used, and one, worse, when events were discarded."""
    name, found = subscriber.name, []
    if subscriber.state != "not_configured" and subscriber.lag_used >= WARN_PART:
        found.append(
            Trouble(
                severity="warn",
                what=f"{name} has used {100 * subscriber.lag_used:.0f} % of what max_lag and retention_bytes leave it; "
                "beyond that its oldest events are discarded",
                count=subscriber.pending,
                kind="lag",
                cause="lag",
                subscriber=name,
                command="gateway status",
            )
        )
    given_up_ms = None if subscriber.given_up_at is None else parse_iso_ms(subscriber.given_up_at)
    if given_up_ms is not None and now_ms - given_up_ms < RECENT_MS:
        number = subscriber.given_up
        found.append(
            Trouble(
                severity="bad",
                what=f"{name} has lost {number} {'event' if number == 1 else 'events'}, discarded beyond max_lag "
                f"or as dead letters without room; the latest at {subscriber.given_up_at}",
                count=number,
                kind="discarded",
                cause="discarded",
                subscriber=name,
                command="gateway status",
            )
        )
    return found


def _of_spool(spool: SpoolStatus) -> list[Trouble]:
    found = []
    if spool.requests:
        found.append(
            Trouble(
                severity="warn",
                what=f"{spool.requests} {'request waits' if spool.requests == 1 else 'requests wait'} in the spool "
                f"({spool.bytes} bytes), the oldest since {spool.oldest_at}",
                count=spool.requests,
                kind="spooled",
                cause="spooled",
                command="gateway status",
                since=spool.oldest_at,
            )
        )
    wrong = [
        f"{'it cannot be written' if name == BEING_WRITTEN else name}: {why}"
        for name, why in sorted(spool.unreadable.items())
    ]
    if spool.put_aside:
        wrong.append(f"{spool.put_aside} batches were put aside: the store does not take them, or they are damaged")
    if spool.bytes > NEARLY_FULL * spool.limit_bytes:
        wrong.append(f"it has used {100 * spool.bytes // max(1, spool.limit_bytes)} % of spool_bytes; beyond it: 503")
    if wrong:
        found.append(
            Trouble(
                severity="bad",
                what="the spool needs a look: " + "; ".join(wrong),
                count=len(wrong),
                kind="spool",
                cause="spool",
                command="gateway audit",
            )
        )
    return found


def _of_store(store: StoreStatus) -> list[Trouble]:
    found = _of_spool(store.spool)
    has_spool = store.spool.configured
    stopped = "webhooks go into the spool" if has_spool else "the intake has stopped"
    limit = store.memory_limit_bytes
    if limit and store.memory_bytes > NEARLY_FULL * limit:
        full = store.memory_bytes >= FULL * limit
        found.append(
            Trouble(
                severity="bad" if full else "warn",
                what=f"the store uses {100 * store.memory_bytes // limit} % of its memory; "
                + (stopped if full else f"at 85 % {'webhooks go into the spool' if has_spool else 'the intake stops'}"),
                count=1,
                kind="store_memory",
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
                kind="log_bytes",
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
                kind="memory_only",
                cause="not_durable",
                command="gateway check --effective",
            )
        )
    elif not store.durable:
        found.append(
            Trouble(
                severity="bad",
                what=f"the settings of the store would lose what it acknowledges; {stopped}",
                count=1,
                kind="store_settings",
                cause="store_settings",
                command="gateway status",
            )
        )
    return found
