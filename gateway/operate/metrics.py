"""``GET /metrics``: the numbers of the desk in Prometheus' text form.

Labels are names from the configuration, HTTP statuses and the few words of the design; nothing a sender writes is ever
a label, so their number is bounded. What counts from the start of a process and not of the store has its ``worker``.

While the store is away there is what the processes know and the spool's folder holds; what only the store knows is
missing, and no 0 stands for it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, get_args

from litestar import Request, Response, Router, get
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from gateway.config import Config
from gateway.operate.absence import Absence, StoreAway
from gateway.operate.api.documented import UNAVAILABLE, documented
from gateway.operate.desk import Desk
from gateway.operate.gate import Door, gate
from gateway.operate.processes import Processes, resource_families
from gateway.operate.refusals import SECURITY_HEADERS, exception_handlers
from gateway.operate.views import (
    ReplaysStatus,
    SourceStatus,
    SpoolStatus,
    Status,
    StoreStatus,
    SubscriberStatus,
    TroubleKind,
)
from gateway.store.replays import State

MAX_AGE_MS = 1_000
"""Several scrapers at once cost as much as one."""

SCRAPER_WAITS_S = 10.0
"""Prometheus' own default, for a scraper that does not say how long it waits."""

STORE_WITHIN_S = 5.0
"""The longest that the store is waited for; never more than half of what the scraper waits, so that what is known
without the store still reaches it."""


def metrics_routes(desk: Desk, door: Door) -> list[Any]:
    """The route, behind the gate."""

    @get(
        "/metrics",
        summary="Metrics in Prometheus' text form",
        operation_id="metrics",
        media_type="text/plain",
        responses=documented(UNAVAILABLE),
    )
    async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Counts of the whole store, and of each process by `worker`. Names begin with `gateway_`.

        While the store is away, `gateway_store_away` is 1, and what only the store knows is missing.
        """
        within_s = patience_s(request.headers.get("x-prometheus-scrape-timeout-seconds"))
        try:
            status = await desk.status(max_age_ms=MAX_AGE_MS, within_s=within_s)
        except StoreAway as error:
            families = [*_of_absence(error.absence, desk.sight.config)]
            names = list(desk.sight.config.subscribers)
        else:
            families = [*_of_status(status), _store_away(desk.sight.away() is not None)]
            names = [each.name for each in status.subscribers]
        families += _of_processes(await desk.sight.processes(), names)
        return Response(
            expose(families),
            media_type=CONTENT_TYPE_PLAIN_0_0_4,
            headers=SECURITY_HEADERS,
        )

    return [
        Router(
            "/",
            route_handlers=[metrics],
            guards=[gate(door)],
            exception_handlers=exception_handlers(),
            tags=["metrics"],
        )
    ]


def patience_s(scraper_waits: str | None) -> float:
    """How long the store may take, for a scraper that says how many seconds it waits. What is no time is none said."""
    try:
        waits_s = float(scraper_waits or "")
    except ValueError:
        waits_s = SCRAPER_WAITS_S
    return min(STORE_WITHIN_S, waits_s / 2) if waits_s > 0 else STORE_WITHIN_S


def expose(families: list[Metric]) -> bytes:
    """The text of one scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(families))
    return generate_latest(registry)


class _Collected:
    """What prometheus-client asks for: an object that hands out families."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _counter(name: str, doc: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"gateway_{name}", doc, labels=labels)


def _gauge(name: str, doc: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"gateway_{name}", doc, labels=labels)


def _of_status(status: Status) -> Iterator[Metric]:
    unaccounted = _gauge("unaccounted_events", "Events that are in no place. Anything but 0 is a loss: gateway audit.")
    unaccounted.add_metric([], status.ledger.unaccounted)
    yield unaccounted
    yield from _of_sources(status.sources)
    yield _broken({each.name: each.broken is not None for each in status.sources})
    yield from _of_subscribers(status.subscribers)
    yield from _of_store(status.store)
    yield from _of_spool(status.store.spool)
    yield from _of_replays(status.replays)
    troubles = _gauge("problems", "Open problems, by severity; gateway status says which.", "severity")
    for severity in ("bad", "warn"):
        troubles.add_metric([severity], sum(each.severity == severity for each in status.problems))
    yield troubles
    by_kind = _gauge("problem", "Open problems, by kind; the API's description lists the kinds.", "kind")
    for kind in get_args(TroubleKind):
        by_kind.add_metric([kind], sum(each.kind == kind for each in status.problems))
    yield by_kind
    for name, doc, value in (
        ("alerts_standing", "Alerts raised and not over.", status.alerts.standing),
        ("alerts_unsent", "Alerts that are still to be sent.", status.alerts.unsent),
        ("alerts_failing", "1 while alerts cannot be sent.", status.alerts.failing_since is not None),
    ):
        gauge = _gauge(name, doc)
        gauge.add_metric([], value)
        yield gauge


def _of_absence(absence: Absence, config: Config) -> Iterator[Metric]:
    yield _store_away(True)
    yield _broken({name: source.broken is not None for name, source in config.sources.items()})
    yield from _of_spool(absence.spool)


def _store_away(is_away: bool) -> Metric:
    gauge = _gauge("store_away", "1 while the store cannot be asked, or not used: what only it knows may be missing.")
    gauge.add_metric([], is_away)
    return gauge


def _broken(sources: Mapping[str, bool]) -> Metric:
    broken = _gauge("source_broken", "1 where the source's adapter cannot work: every request is a 503.", "source")
    for name, is_broken in sources.items():
        broken.add_metric([name], is_broken)
    return broken


def _of_sources(sources: Iterable[SourceStatus]) -> Iterator[Metric]:
    requests = _counter("requests", "Requests at a known source, by what became of them.", "source", "outcome")
    events = _counter("events", "Events, by what became of them.", "source", "outcome")
    produced = _counter("events_produced", "Events that requests brought, duplicates included.", "source")
    silent = _gauge("source_silent", "1 where no proven request came for longer than expect_every.", "source")
    for source in sources:
        account = source.account
        for outcome in ("accepted", "ignored", "quarantined", "rejected"):
            requests.add_metric([source.name, outcome], getattr(account.requests, outcome))
        for outcome in ("logged", "duplicate", "spooled"):
            events.add_metric([source.name, outcome], getattr(account.events, outcome))
        produced.add_metric([source.name], account.events.produced)
        silent.add_metric([source.name], source.silent)
    yield from (requests, events, produced, silent)


def _of_subscribers(subscribers: Iterable[SubscriberStatus]) -> Iterator[Metric]:
    offered = _counter("offered_events", "Events offered to a subscriber since it subscribed.", "subscriber")
    settled = _counter("settled_events", "Events done with, by how.", "subscriber", "outcome")
    pending = _gauge("pending_events", "Events not yet done with, by where they wait.", "subscriber", "where")
    oldest = _gauge("oldest_pending_seconds", "Age of the oldest pending event; 0 without one.", "subscriber")
    dead = _gauge("dead_letters", "Dead letters there are now.", "subscriber")
    in_flight = _gauge("attempts_in_flight", "Attempts on the wire, of all processes.", "subscriber")
    unaccounted = _gauge("subscriber_unaccounted_events", "Offered events that are in no place.", "subscriber")
    disabled = _gauge("subscriber_disabled", "1 where the subscriber answered 410 Gone.", "subscriber")
    breaker = _gauge("breaker_open", "1 where nothing is sent but probes.", "subscriber")
    lag = _gauge("lag_ratio", "Part of max_lag used, by age or bytes; beyond 1 events are discarded.", "subscriber")
    given_up = _counter("given_up_events", "Events discarded that nobody asked to discard.", "subscriber")
    for each in subscribers:
        offered.add_metric([each.name], each.offered)
        for outcome in ("delivered", "filtered", "discarded"):
            settled.add_metric([each.name, outcome], getattr(each, outcome))
        for where in ("unread", "parked", "held"):
            pending.add_metric([each.name, where], getattr(each, where))
        oldest.add_metric([each.name], each.oldest_pending_s or 0)
        dead.add_metric([each.name], each.dead)
        in_flight.add_metric([each.name], each.in_flight)
        unaccounted.add_metric([each.name], each.unaccounted)
        disabled.add_metric([each.name], each.state == "disabled")
        breaker.add_metric([each.name], each.breaker_open_since is not None)
        lag.add_metric([each.name], each.lag_used)
        given_up.add_metric([each.name], each.given_up)
    yield from (offered, settled, pending, oldest, dead, in_flight, unaccounted, disabled)
    yield from (breaker, lag, given_up)


def _of_store(store: StoreStatus) -> Iterator[Metric]:
    entries = _gauge("log_entries", "Entries of the log.", "partition")
    log_bytes = _gauge("log_bytes", "Bytes of the events in the log, without the store's own overhead.", "partition")
    sequence = _counter("log_sequence", "Last sequence number given.", "partition")
    leased = _gauge("partition_leased", "1 while some process delivers from the partition.", "partition")
    for each in store.partitions:
        label = [str(each.number)]
        entries.add_metric(label, each.log_entries)
        log_bytes.add_metric(label, each.log_bytes)
        sequence.add_metric(label, each.last_sequence)
        leased.add_metric(label, each.owner is not None)
    yield from (entries, log_bytes, sequence, leased)
    for name, doc, value in (
        ("quarantined_requests", "Requests in quarantine now.", store.quarantined),
        ("store_memory_bytes", "Memory the store uses.", store.memory_bytes),
        ("store_memory_limit_bytes", "The store's maxmemory; 0: none.", store.memory_limit_bytes),
        ("store_durable", "1 where the store fsyncs before it answers.", store.durable),
    ):
        gauge = _gauge(name, doc)
        gauge.add_metric([], value)
        yield gauge


def _of_spool(spool: SpoolStatus) -> Iterator[Metric]:
    for name, doc, value in (
        ("spool_requests", "Requests that wait in the spool, of all processes.", spool.requests),
        ("spool_bytes", "Bytes of them.", spool.bytes),
        ("spool_limit_bytes", "What spool_bytes allows; 0: no spool.", spool.limit_bytes),
        ("spool_unreadable_files", "Files of the spool that are not drained.", len(spool.unreadable)),
        ("spool_put_aside_batches", "Batches of the spool that the store does not take.", spool.put_aside),
    ):
        gauge = _gauge(name, doc)
        gauge.add_metric([], value)
        yield gauge


def _of_replays(replays: ReplaysStatus) -> Iterator[Metric]:
    """No label names a replay or its target: there is no end of them."""
    records = _gauge("replay_records", "Replays that are kept (the newest 200), by state.", "state")
    for state in get_args(State):
        records.add_metric([state], replays.states.get(state, 0))
    waiting = _gauge("replay_waiting", "Replays that run and send nothing at the moment: the target is paused.")
    waiting.add_metric([], replays.waiting)
    events = _counter("replay_events", "Events of all replays, by how they ended. In no account.", "outcome")
    for outcome in ("delivered", "requeued", "failed"):
        events.add_metric([outcome], getattr(replays, outcome))
    attempts = _counter("replay_attempts", "Attempts of all replays. Those of subscribers are counted apart.")
    attempts.add_metric([], replays.attempts)
    yield from (records, waiting, events, attempts)


def _of_processes(processes: Processes, subscribers: Sequence[str]) -> Iterator[Metric]:
    """Each process's own numbers: one that is started again begins at 0, as a scraper expects of its ``worker``."""
    info = _gauge("info", "The version that runs.", "version")
    info.add_metric([_version()], 1)
    yield info
    up = _gauge("worker_up", "1 while the process answers; 0: its numbers are missing here.", "worker")
    for number in processes.missing:
        up.add_metric([str(number)], 0)
    answers = _counter("answers", "Answers at /in since the process started, by HTTP status.", "status", "worker")
    received = _counter("received_bytes", "Bytes of the bodies answered 200 since the process started.", "worker")
    limited = _counter("limited_requests", "Requests answered 429 for their source's rate.", "source", "worker")
    connections = _gauge("connections", "Connections of senders that are open.", "worker")
    turned_away = _counter("refused_connections", "Connections for which there was no place.", "worker")
    refused = _counter("refused_changes", "Changes the process was asked for and refused.", "code", "worker")
    attempts = _counter(
        "attempts",
        "Attempts since the process started, by how they ended: delivered, or the cause.",
        "subscriber",
        "outcome",
        "worker",
    )
    failures = _counter("filter_failures", "Events on which where failed: filtered.", "subscriber", "worker")
    for each in processes.found:
        worker = str(each.worker)
        up.add_metric([worker], 1)
        received.add_metric([worker], each.received_bytes)
        connections.add_metric([worker], each.connections)
        turned_away.add_metric([worker], each.refused_connections)
        for status, number in sorted(each.answers.items()):
            answers.add_metric([str(status), worker], number)
        for source, number in sorted(each.limited.items()):
            limited.add_metric([source, worker], number)
        for code, number in sorted(each.refused_changes.items()):
            refused.add_metric([code, worker], number)
        for name in subscribers:
            for outcome, number in sorted(each.attempts(name).items()):
                attempts.add_metric([name, outcome, worker], number)
            failures.add_metric([name, worker], each.sum(name, "filter_failures"))
    yield from (up, answers, received, limited, connections, turned_away, refused, attempts, failures)
    for known in resource_families():
        family = Metric(known.name, known.documentation, known.type)
        for each in processes.found:
            if known.name in each.resources:
                family.add_sample(known.samples[0].name, {"worker": str(each.worker)}, each.resources[known.name])
        yield family


def _version() -> str:
    try:
        return version("webhook-gateway")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"
