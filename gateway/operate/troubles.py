"""Problems as the numbers of ``status`` tell them, each with the command that helps. Pure.

``problems.py`` adds the causes of dead letters and of kept requests, which it has to read; alerts do without.
"""

from collections.abc import Sequence
from typing import Literal

from gateway.delivery.lag import WARN_PART
from gateway.intake.spool_file import SUFFIX, UNREADABLE
from gateway.intake.spool_folder import BEING_WRITTEN
from gateway.operate.amounts import counted, size
from gateway.operate.views import (
    AlertsStatus,
    ReplaysStatus,
    SourceStatus,
    SpoolStatus,
    StoreStatus,
    SubscriberStatus,
    Trouble,
    TroubleKind,
)
from gateway.store.housekeeping import FULL
from gateway.store.ledger import Ledger
from schemas.timestamps import format_ms, parse_iso_ms

LATE_S = 10.0
"""A retry that mends it sooner is no problem of anybody's."""

RECENT_MS = 86_400_000
"""Requests rejected and events discarded longer ago are history: they stay on their page and in the counts."""

SPOOL_HELP = "gateway check --effective"
"""Names the folder and ``spool_bytes``, and says nothing of a file. ``gateway audit`` counts, and mends nothing."""

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
        asked = " (does it have the secret?)" if cause == "http_401" else ""
        return f"answers {cause.removeprefix('http_')}{asked}"
    return CAUSES.get(cause, f"fails with {cause}")


def forget_command(name: str) -> str:
    """How to give up what is kept of a subscriber that is no longer configured."""
    return f"gateway subscribers delete {name} --forget"


def trouble(
    severity: Literal["bad", "warn"],
    kind: TroubleKind,
    what: str,
    command: str | None = None,
    *,
    count: int = 1,
    cause: str | None = None,
    subscriber: str | None = None,
    source: str | None = None,
    replay: str | None = None,
    page: str | None = None,
    since: str | None = None,
) -> Trouble:
    """One problem. Unless told otherwise it is one case, and its cause is its kind."""
    return Trouble(
        severity=severity,
        kind=kind,
        what=what,
        command=command,
        count=count,
        cause=kind if cause is None else cause,
        subscriber=subscriber,
        source=source,
        replay=replay,
        page=page,
        since=since,
    )


def summed_troubles(
    ledger: Ledger,
    sources: Sequence[SourceStatus],
    subscribers: Sequence[SubscriberStatus],
    store: StoreStatus,
    alerts: AlertsStatus,
    replays: ReplaysStatus,
) -> list[Trouble]:
    """All open problems from numbers alone, without a look at answers and bodies, for who asks every few seconds.

    Dead letters are one problem a subscriber, quarantine one a source, counting all that ever came there; what is
    rejected is left out: whoever knows a URL can bring that about.
    """
    found = plain_troubles(ledger, sources, subscribers, store, alerts, replays)
    found += [
        trouble(
            "bad",
            "dead_letters",
            f"{each.name} has {counted(each.dead, 'dead letter')}",
            f"gateway dead list --subscriber {each.name}",
            count=each.dead,
            subscriber=each.name,
            page=f"/dead?subscriber={each.name}",
        )
        for each in subscribers
        if each.dead
    ]
    if store.quarantined:
        found += [
            trouble(
                "warn",
                "quarantined",
                f"{counted(number, 'request')} of {each.name} so far proven but not mappable: they are in quarantine",
                count=number,
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
    replays: ReplaysStatus,
) -> list[Trouble]:
    """All but dead letters and kept requests."""
    found: list[Trouble] = []
    if lost := ledger.unaccounted:
        what = f"{counted(lost, 'event is', 'events are')} in no place: the account does not add up"
        found.append(trouble("bad", "unaccounted", what, "gateway audit", count=lost))
    for source in sources:
        found += _of_source(source)
    now_ms = parse_iso_ms(ledger.at) or 0
    for subscriber in subscribers:
        found += _of_subscriber(subscriber, now_ms)
        found += _of_lag(subscriber, now_ms)
    found += _of_store(store, ledger)
    found += _of_replays(replays)
    if alerts.failing_since is not None:
        what = f"alerts cannot be sent: {alerts.why}"
        found.append(
            trouble("bad", "alerts", what, "gateway alerts test", count=alerts.unsent, since=alerts.failing_since)
        )
    return found


def _of_source(source: SourceStatus) -> list[Trouble]:
    name, found = source.name, []
    if source.broken:
        found.append(
            trouble("bad", "broken_adapter", f"{name} answers 503: {source.broken}", "gateway check", source=name)
        )
    if source.silent:
        what = f"{name} is silent: no proven request for longer than expect_every"
        found.append(trouble("bad", "silence", what, "gateway urls", source=name, since=source.last_heard_at))
    return found


def _of_subscriber(subscriber: SubscriberStatus, now_ms: int) -> list[Trouble]:
    name, state, pending = subscriber.name, subscriber.state, subscriber.pending
    since = _waits_since(subscriber, now_ms)
    if state == "disabled" or state == "paused":
        severity: Literal["bad", "warn"] = "bad" if state == "disabled" else "warn"
        return [trouble(severity, state, f"{name} is {subscriber.words}", f"gateway resume {name}", subscriber=name)]
    if state == "not_delivering":
        what = f"{counted(pending, 'event waits', 'events wait')} for {name}, and no process delivers"
        command = "gateway serve --role delivery"
        return [trouble("bad", "waiting", what, command, count=pending, cause=state, subscriber=name, since=since)]
    if state == "not_configured" and pending:
        what = f"{counted(pending, 'event is', 'events are')} kept for {name}, which is no longer in the configuration"
        what += "; put it back, or give them up for good"
        return [trouble("warn", "not_configured", what, forget_command(name), count=pending, subscriber=name)]
    if state == "breaker_open" or (state in ("retrying", "behind") and (subscriber.oldest_pending_s or 0) > LATE_S):
        what, number = f"{name}: {subscriber.words}", subscriber.parked or pending
        return [
            trouble("warn", "waiting", what, "gateway status", count=number, cause=state, subscriber=name, since=since)
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
        what = (
            f"{name} has used {100 * subscriber.lag_used:.0f} % of what max_lag and retention_bytes leave it; "
            "beyond that its oldest events are discarded"
        )
        found.append(trouble("warn", "lag", what, "gateway status", count=subscriber.pending, subscriber=name))
    given_up_ms = None if subscriber.given_up_at is None else parse_iso_ms(subscriber.given_up_at)
    if given_up_ms is not None and now_ms - given_up_ms < RECENT_MS:
        number = subscriber.given_up
        what = (
            f"{name} has lost {counted(number, 'event')}, discarded beyond max_lag or as dead letters without room; "
            f"the latest at {subscriber.given_up_at}"
        )
        found.append(trouble("bad", "discarded", what, "gateway status", count=number, subscriber=name))
    return found


def _of_spool(spool: SpoolStatus, spooled_events: int) -> list[Trouble]:
    found = []
    # A full disk also refuses to remove what is in the log already: that waits for nothing, and is told below.
    if spool.requests and (spooled_events or not spool.events):
        waits = counted(spool.requests, "request waits", "requests wait")
        room = f"{size(spool.bytes)} of {size(spool.limit_bytes)}"
        what = f"{waits} in the spool on disk ({room}), the oldest since {spool.oldest_at}"
        found.append(trouble("warn", "spooled", what, "gateway status", count=spool.requests, since=spool.oldest_at))
    return found + spool_troubles(spool)


def spool_troubles(spool: SpoolStatus) -> list[Trouble]:
    """What is wrong with the spool, as one problem; it can be told without the store."""
    wrong = []
    if why := spool.unreadable.get(BEING_WRITTEN):
        wrong.append(f"it cannot be written: {why}; give its disk room, or mend what is said, and it goes on by itself")
    wrong += [
        f"{name}: {why}; keep the file, it holds what was answered 200{_mended(name)}"
        for name, why in sorted(spool.unreadable.items())
        if name != BEING_WRITTEN
    ]
    if spool.put_aside:
        waits = counted(spool.put_aside, "batch was", "batches were")
        wrong.append(
            f"{waits} put aside: the store does not take them, or they are damaged; the next start tries them again"
        )
    if spool.bytes > NEARLY_FULL * spool.limit_bytes:
        wrong.append(
            f"it has used {100 * spool.bytes // max(1, spool.limit_bytes)} % of spool_bytes, beyond which webhooks are "
            "answered 503; it drains when the store takes events again, or write a larger spool_bytes and restart"
        )
    what = "the spool needs a look: " + ". ".join(wrong)
    asks_for_room = BEING_WRITTEN in spool.unreadable or spool.bytes > NEARLY_FULL * spool.limit_bytes
    return [trouble("bad", "spool", what, SPOOL_HELP if asks_for_room else None, count=len(wrong))] if wrong else []


def _mended(name: str) -> str:
    """What becomes of a damaged file, which was set aside, if somebody can mend it."""
    if not name.endswith(UNREADABLE):
        return ""
    return f"; mended and called {name.removesuffix(UNREADABLE)}{SUFFIX} again, it is drained"


def _of_store(store: StoreStatus, ledger: Ledger) -> list[Trouble]:
    spool = store.spool
    found = _of_spool(spool, ledger.events.spooled)
    takes = spool.configured and BEING_WRITTEN not in spool.unreadable and spool.bytes < spool.limit_bytes
    goes_to = "webhooks go into the spool" if takes else "webhooks are answered 503"
    if store.disk:
        found.append(trouble("bad", "store_disk", store.disk, "gateway status"))
    limit = store.memory_limit_bytes
    if limit and store.memory_bytes > NEARLY_FULL * limit:
        full = store.memory_bytes >= FULL * limit
        what = (
            f"the store uses {100 * store.memory_bytes // limit} % of its memory; {'' if full else 'at 85 % '}{goes_to}"
            ". What is delivered or too old makes room; else give it more maxmemory"
        )
        found.append(trouble("bad" if full else "warn", "store_memory", what, "gateway status"))
    if store.log_bytes > store.retention_bytes:
        what = "the log is larger than retention_bytes, because a subscriber has not read all of it"
        found.append(trouble("warn", "log_bytes", what, "gateway status"))
    if store.durability != "fsync":
        what = 'durability = "memory": a crash of the store loses events that were answered 200'
        found.append(trouble("warn", "memory_only", what, "gateway check --effective", cause="not_durable"))
    elif not store.durable:
        what = f"the settings of the store would lose what it acknowledges; {goes_to}"
        found.append(trouble("bad", "store_settings", what, "gateway status"))
    return found


def _of_replays(replays: ReplaysStatus) -> list[Trouble]:
    """Those that stopped by themselves: they stand until somebody lets them go on, or cancels them."""
    return [
        trouble(
            "bad",
            "replay",
            f"the replay {each.id} to {each.target}: {each.words}",
            f"gateway replay resume {each.id}",
            replay=each.id,
            page="/replays",
        )
        for each in replays.items
        if each.state in ("paused", "failed")
    ]
