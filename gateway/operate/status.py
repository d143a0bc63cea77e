"""``status``: sources, subscribers and store at a glance, each with its state in words."""

import asyncio
from collections.abc import Sequence

import msgspec

from gateway.config import StoreSettings, SubscriberSettings
from gateway.delivery.breaker import BreakerState
from gateway.errors import NotDurable
from gateway.intake.spool_folder import FolderView
from gateway.operate.absence import spool_status
from gateway.operate.amounts import duration
from gateway.operate.problems import find_troubles
from gateway.operate.processes import Processes
from gateway.operate.replay_items import read_replays
from gateway.operate.sight import Sight
from gateway.operate.troubles import does, forget_command, summed_troubles
from gateway.operate.views import (
    AlertsStatus,
    PartitionStatus,
    SourceStatus,
    Status,
    StoreStatus,
    SubscriberState,
    SubscriberStatus,
    WorkerStatus,
)
from gateway.operate.waiting import Waiting, look_at_waiting
from gateway.store.alerts import AlertBook, Remembered
from gateway.store.connection import check_settings
from gateway.store.control import GONE
from gateway.store.ledger import Account, SourceAccount, Subscriber, make_ledger
from gateway.store.plight import no_room
from schemas.timestamps import format_ms

BEHIND_S = 10.0
"""An unread event older than this is more than the ordinary way takes."""

decode_breaker = msgspec.json.Decoder(BreakerState).decode


async def read_status(sight: Sight, *, summed: bool = False, spool: FolderView | None = None) -> Status:
    """Ask the store everything. Raises ``StoreUnavailable``.

    ``summed``: without what costs more than numbers, which is the causes of dead letters and of kept requests.
    ``spool``: what lies in it, if that was read a moment ago.
    """
    remembered = await AlertBook(sight.store, sight.keys[0]).read()  # first: without the store no spool need be read
    if spool is None:
        spool = await sight.spooled()
    accounts = await sight.accounts(spool.lines)
    server, memory, time, *leases = await asyncio.gather(
        sight.store.info("server"),
        sight.store.info("memory"),
        sight.store.call("TIME"),  # leases run by the store's clock, which need not be ours
        *[sight.store.call("HMGET", keys.state, "owner", "epoch", "lease_until_ms") for keys in sight.keys],
    )
    store_ms = int(time[0]) * 1000 + int(time[1]) // 1000
    partitions = [
        _partition(number, account, lease, store_ms)
        for number, (account, lease) in enumerate(zip(accounts, leases, strict=True))
    ]
    store = _store(sight, accounts, partitions, server, memory)
    store = msgspec.structs.replace(store, spool=spool_status(sight, spool))
    names = sorted({*sight.config.subscribers, *(name for account in accounts for name in account.subscribers)})
    delivering = any(partition.owner is not None for partition in partitions)
    processes = await sight.processes()
    subscribers = await read_subscribers(sight, accounts, names, delivering=delivering, processes=processes)
    ledger = make_ledger(accounts, sight.wall_ms())
    sources = _sources(sight, accounts, remembered)
    alerts = _alerts(sight, remembered)
    replays = await read_replays(sight)
    numbers = (ledger, sources, subscribers, store, alerts, replays)
    return Status(
        at=ledger.at,
        ledger=ledger,
        replays=replays,
        sources=sources,
        subscribers=subscribers,
        store=store,
        workers=_workers(processes),
        alerts=alerts,
        problems=summed_troubles(*numbers) if summed else await find_troubles(sight, *numbers),
    )


async def read_subscribers(
    sight: Sight,
    accounts: Sequence[Account],
    names: Sequence[str],
    *,
    delivering: bool,
    processes: Processes | None = None,
) -> list[SubscriberStatus]:
    """How these subscribers do. Raises ``StoreUnavailable``.

    ``delivering``: whether any process delivers from the store. ``processes``: what they know, if it was asked already.
    """
    if processes is None:
        processes = await sight.processes()
    found = []
    for name in names:
        waiting = await look_at_waiting(sight, name, accounts)
        each = _subscriber(sight, name, accounts, waiting, processes, delivering, sight.wall_ms())
        found.append(each)
    return found


def _sources(sight: Sight, accounts: Sequence[Account], remembered: Remembered) -> list[SourceStatus]:
    totals: dict[str, SourceAccount] = {name: SourceAccount() for name in sight.config.sources}
    for account in accounts:
        for name, part in account.sources.items():
            total = totals.setdefault(name, SourceAccount())
            for whole, piece in ((total.requests, part.requests), (total.events, part.events)):
                for field in piece.__struct_fields__:
                    setattr(whole, field, getattr(whole, field) + getattr(piece, field))
    found = []
    for name, total in totals.items():
        settings = sight.config.sources.get(name)
        heard = remembered.watch.heard.get(name)
        every_s = settings.expect_every_s if settings else None
        found.append(
            SourceStatus(
                name=name,
                adapter=settings.adapter if settings else None,
                configured=settings is not None,
                broken=settings.broken if settings else None,
                last_event_at=max((account.latest.get(name, "") for account in accounts), default="") or None,
                last_heard_at=format_ms(heard.at_ms) if heard else None,
                silent=bool(heard and every_s and sight.wall_ms() - heard.at_ms > every_s * 1000),
                account=total,
            )
        )
    return found


def _subscriber(
    sight: Sight,
    name: str,
    accounts: Sequence[Account],
    waiting: Waiting,
    processes: Processes,
    delivering: bool,
    now_ms: int,
) -> SubscriberStatus:
    line, unread, parked, held = Subscriber(), 0, 0, 0
    for account in accounts:
        numbers = account.subscribers.get(name)
        if numbers is None:
            continue
        part = numbers.lines(account.seq)
        for field in part.__struct_fields__:
            setattr(line, field, getattr(line, field) + getattr(part, field))
        unread += account.seq - numbers.cursor
        parked += numbers.parked
        held += numbers.held
    settings = sight.config.subscribers.get(name)
    known = [account.subscribers[name] for account in accounts if name in account.subscribers]
    paused = next((each.paused for each in known if each.paused), "")
    breakers = [decode_breaker(each.breaker) for each in known if each.breaker]
    open_breaker = next((each for each in breakers if each.open), None)
    oldest_s = None if waiting.oldest_ms is None else max(0.0, (now_ms - waiting.oldest_ms) / 1000)
    given_up_ms = max((each.given_up_ms for each in known), default=0)
    if settings is None:
        state, words = _of_unconfigured(name)
    elif paused or open_breaker is not None:
        state, words = _of_stopped(name, paused, open_breaker, line, now_ms)
    else:
        state, words = _state(delivering, line, oldest_s, waiting, now_ms)
    return SubscriberStatus(
        name=name,
        state=state,
        words=words,
        paused=paused or None,
        types=list(settings.types) if settings else [],
        offered=line.offered,
        delivered=line.delivered,
        filtered=line.filtered,
        discarded=line.discarded,
        dead=line.dead,
        pending=max(0, line.pending),
        unread=max(0, unread),
        parked=parked,
        held=held,
        in_flight=processes.sum(name, "in_flight"),
        attempts=processes.attempts(name),
        filter_failures=processes.sum(name, "filter_failures"),
        unaccounted=line.unaccounted,
        oldest_pending_s=oldest_s,
        next_attempt_at=None if waiting.next_due_ms is None else format_ms(waiting.next_due_ms),
        breaker_open_since=None if open_breaker is None else format_ms(open_breaker.since_ms),
        lag_used=_lag_used(sight.config.store, settings, name, accounts, oldest_s),
        given_up=sum(each.given_up for each in known),
        given_up_at=format_ms(given_up_ms) if given_up_ms else None,
    )


def _workers(processes: Processes) -> list[WorkerStatus]:
    found = [WorkerStatus(worker=each.worker, pid=each.pid) for each in processes.found]
    missing = [WorkerStatus(worker=number, pid=None) for number in processes.missing]
    return sorted([*found, *missing], key=lambda each: each.worker)


def _lag_used(
    store: StoreSettings,
    settings: SubscriberSettings | None,
    name: str,
    accounts: Sequence[Account],
    oldest_s: float | None,
) -> float:
    """As ``delivery/lag.py`` reckons, with the age of what is parked as well."""
    if settings is None or oldest_s is None:
        return 0.0
    behind_bytes = [
        (account.seq - numbers.cursor) * account.log_bytes / max(1, account.entries)
        for account in accounts
        if (numbers := account.subscribers.get(name)) is not None
    ]
    used = max(oldest_s / settings.max_lag_s, max(behind_bytes, default=0.0) / store.most_lag_bytes)
    return round(used, 4)


def _alerts(sight: Sight, remembered: Remembered) -> AlertsStatus:
    watch, standing = remembered.watch, remembered.standing.values()
    configured = sight.config.alerts.url is not None
    return AlertsStatus(
        configured=configured,
        standing=sum(each.raised for each in standing),
        unsent=sum(bool(each.owed) for each in standing) if configured else 0,
        failing_since=format_ms(watch.failing_ms) if configured and watch.failing_ms else None,
        why=watch.why or None,
    )


def _of_unconfigured(name: str) -> tuple[SubscriberState, str]:
    words = "no longer in the configuration; what it has not read still waits for it, until it is there again or: "
    return "not_configured", words + forget_command(name)


def _of_stopped(
    name: str, paused: str, breaker: BreakerState | None, line: Subscriber, now_ms: int
) -> tuple[SubscriberState, str]:
    waits = f"{line.pending} {'waits' if line.pending == 1 else 'wait'}"
    if paused:
        state: SubscriberState = "disabled" if paused.startswith(GONE) else "paused"
        return state, f"{state}: {paused}; {waits}"
    assert breaker is not None
    probe = _in_words((breaker.probe_ms - now_ms) / 1000)
    since = duration((now_ms - breaker.since_ms) / 1000)
    return "breaker_open", f"it {does(breaker.cause)}; nothing was sent for {since}; one event probes {probe}; {waits}"


def _state(
    delivering: bool,
    line: Subscriber,
    oldest_s: float | None,
    waiting: Waiting,
    now_ms: int,
) -> tuple[SubscriberState, str]:
    if line.pending and not delivering:
        return "not_delivering", "no process delivers from this store at the moment"
    under_way = _under_way(waiting, now_ms)
    if waiting.failed:
        due_ms = waiting.next_due_ms
        when = "" if due_ms is None else f"; the next is due {_in_words((due_ms - now_ms) / 1000)}"
        why = f", mostly because it {does(waiting.commonest_cause)}" if waiting.commonest_cause else ""
        wait = "waits" if waiting.failed == 1 else "wait"
        also = f"; {under_way}" if under_way else ""
        return "retrying", f"{waiting.failed} failed and {wait} for another attempt{why}{when}{also}"
    if line.pending and oldest_s is not None and oldest_s > BEHIND_S:
        others = line.pending - waiting.in_flight
        if others <= 0:
            return "behind", under_way
        wait = "waits" if others == 1 else "wait"
        also = f"; {under_way}" if under_way else ""
        return "behind", f"{others} {wait}, the oldest event is {duration(oldest_s)} old{also}"
    if line.pending:
        return "delivering", f"{line.pending} on the way"
    return "up_to_date", "nothing waits"


def _under_way(waiting: Waiting, now_ms: int) -> str:
    """Attempts that take long, in words; empty without one."""
    if waiting.in_flight_since_ms is None:
        return ""
    took = duration((now_ms - waiting.in_flight_since_ms) / 1000)
    if waiting.in_flight == 1:
        return f"1 attempt under way for {took}"
    return f"{waiting.in_flight} attempts under way, the longest for {took}"


def _in_words(seconds: float) -> str:
    return "now" if seconds <= 0 else f"in {duration(seconds)}"


def _store(
    sight: Sight,
    accounts: Sequence[Account],
    partitions: list[PartitionStatus],
    server: dict[str, str],
    memory: dict[str, str],
) -> StoreStatus:
    settings = sight.config.store
    name = server.get("server_name", "redis")
    version = server.get(f"{name}_version") or server.get("redis_version", "of an unknown version")
    return StoreStatus(
        kind="embedded" if settings.data_dir else "remote",
        server=f"{name} {version}",
        durability=settings.durability,
        settings=dict(sight.store.live_settings),
        durable=_is_durable(settings, sight.store.live_settings),
        memory_bytes=int(memory.get("used_memory", 0)),
        memory_limit_bytes=int(memory.get("maxmemory", 0)),
        log_bytes=sum(account.log_bytes for account in accounts),
        log_entries=sum(account.entries for account in accounts),
        retention_bytes=settings.retention_bytes,
        quarantined=sum(account.quarantined_now for account in accounts),
        disk="" if settings.data_dir is None else no_room(settings.data_dir),
        partitions=partitions,
    )


def _is_durable(settings: StoreSettings, found: dict[str, str]) -> bool:
    if settings.durability != "fsync" or settings.assume_durable:
        return settings.durability == "fsync"
    try:
        check_settings(found)
    except NotDurable:
        return not found  # what was never read cannot be judged
    return True


def _partition(number: int, account: Account, lease: list[bytes | None], now_ms: int) -> PartitionStatus:
    owner, epoch, until_ms = lease
    left_ms = max(0, int(until_ms or 0) - now_ms)
    return PartitionStatus(
        number=number,
        last_sequence=account.seq,
        log_entries=account.entries,
        log_bytes=max(0, account.log_bytes),
        owner=owner.decode() if owner and left_ms else None,
        epoch=int(epoch or 0),
        lease_left_ms=left_ms,
    )
