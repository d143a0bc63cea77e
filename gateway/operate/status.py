"""``status``: sources, subscribers and store at a glance, each with its state in words."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.delivery.breaker import BreakerState
from gateway.operate.paging import size_of
from gateway.operate.search import newest
from gateway.operate.sight import Sight
from gateway.operate.troubles import does, find_troubles
from gateway.operate.views import (
    PartitionStatus,
    SourceStatus,
    Status,
    StoreStatus,
    SubscriberState,
    SubscriberStatus,
)
from gateway.operate.waiting import Waiting, look_at_waiting
from gateway.store.control import GONE
from gateway.store.ledger import Account, SourceAccount, Subscriber, make_ledger
from schemas.timestamps import format_ms

NEWEST = 200
NEWEST_BYTES = 256 * 1024
"""Log entries a partition, and bytes of them, in which the latest event of each source is looked for."""

BEHIND_S = 10.0
"""An unread event older than this is more than the ordinary way takes."""


class _Head(msgspec.Struct, frozen=True, gc=False):
    source: str
    received_at: str


_decode_head = msgspec.json.Decoder(_Head).decode
decode_breaker = msgspec.json.Decoder(BreakerState).decode


async def read_status(sight: Sight) -> Status:
    """Ask the store everything. Raises ``StoreUnavailable``."""
    accounts = await sight.accounts()
    latest, server, memory, time, *leases = await asyncio.gather(
        _latest(sight),
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
    names = sorted({*sight.config.subscribers, *(name for account in accounts for name in account.subscribers)})
    delivering = any(partition.owner is not None for partition in partitions)
    subscribers = await read_subscribers(sight, accounts, names, delivering=delivering)
    ledger = make_ledger(accounts, sight.wall_ms())
    sources = _sources(sight, accounts, latest)
    return Status(
        at=ledger.at,
        ledger=ledger,
        sources=sources,
        subscribers=subscribers,
        store=store,
        problems=await find_troubles(sight, ledger, sources, subscribers, store),
    )


async def read_subscribers(
    sight: Sight, accounts: Sequence[Account], names: Sequence[str], *, delivering: bool
) -> list[SubscriberStatus]:
    """How these subscribers do. Raises ``StoreUnavailable``.

    ``delivering``: whether any process delivers from the store.
    """
    lanes = sight.deliveries.status() or {}
    found = []
    for name in names:
        waiting = await look_at_waiting(sight, name, accounts)
        each = _subscriber(sight, name, accounts, waiting, lanes.get(name) or [], delivering, sight.wall_ms())
        found.append(each)
    return found


async def _latest(sight: Sight) -> dict[str, str]:
    """When the newest event of each source came, among the newest log entries."""
    found: dict[str, str] = {}
    for log in sight.logs:
        seen_bytes = 0
        async for entry in newest(log, NEWEST):
            head = _decode_head(entry.event_json)
            found[head.source] = max(found.get(head.source, ""), head.received_at)
            seen_bytes += size_of(entry)
            if seen_bytes > NEWEST_BYTES:
                break
    return found


def _sources(sight: Sight, accounts: Sequence[Account], latest: dict[str, str]) -> list[SourceStatus]:
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
        found.append(
            SourceStatus(
                name=name,
                adapter=settings.adapter if settings else None,
                configured=settings is not None,
                broken=settings.broken if settings else None,
                last_event_at=latest.get(name),
                account=total,
            )
        )
    return found


def _subscriber(
    sight: Sight,
    name: str,
    accounts: Sequence[Account],
    waiting: Waiting,
    lanes: Sequence[dict[str, Any]],
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
    if settings is None:
        state, words = _of_unconfigured()
    elif paused or open_breaker is not None:
        state, words = _of_stopped(name, paused, open_breaker, line, now_ms)
    else:
        state, words = _state(delivering, line, parked, oldest_s, waiting, now_ms)
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
        in_flight=sum(int(lane.get("in_flight", 0)) for lane in lanes),
        attempts=_attempts(lanes),
        filter_failures=sum(int(lane.get("filter_failures", 0)) for lane in lanes),
        unaccounted=line.unaccounted,
        oldest_pending_s=oldest_s,
        next_attempt_at=None if waiting.next_due_ms is None else format_ms(waiting.next_due_ms),
    )


def _attempts(lanes: Sequence[dict[str, Any]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for lane in lanes:
        total.update(lane.get("attempts", {}))
    return dict(total)


def _of_unconfigured() -> tuple[SubscriberState, str]:
    return "not_configured", "no longer in the configuration; what it has not read still waits for it"


def _of_stopped(
    name: str, paused: str, breaker: BreakerState | None, line: Subscriber, now_ms: int
) -> tuple[SubscriberState, str]:
    waits = f"{line.pending} {'waits' if line.pending == 1 else 'wait'}"
    if paused:
        state: SubscriberState = "disabled" if paused.startswith(GONE) else "paused"
        return state, f"{state}: {paused}; {waits}; go on with: gateway resume {name}"
    assert breaker is not None
    probe = _in_words((breaker.probe_ms - now_ms) / 1000)
    since = duration((now_ms - breaker.since_ms) / 1000)
    return "breaker_open", f"it {does(breaker.cause)}; nothing is sent since {since}; one event probes {probe}; {waits}"


def _state(
    delivering: bool,
    line: Subscriber,
    parked: int,
    oldest_s: float | None,
    waiting: Waiting,
    now_ms: int,
) -> tuple[SubscriberState, str]:
    if line.pending and not delivering:
        return "not_delivering", "no process delivers from this store at the moment"
    if parked:
        when = "now" if waiting.next_due_ms is None else _in_words((waiting.next_due_ms - now_ms) / 1000)
        why = f", mostly because it {does(waiting.commonest_cause)}" if waiting.commonest_cause else ""
        wait = "waits" if parked == 1 else "wait"
        return "retrying", f"{parked} failed and {wait} for another attempt{why}; the next is due {when}"
    if line.pending and oldest_s is not None and oldest_s > BEHIND_S:
        wait = "waits" if line.pending == 1 else "wait"
        return "behind", f"{line.pending} {wait}, the oldest for {duration(oldest_s)}"
    if line.pending:
        return "delivering", f"{line.pending} on the way"
    return "up_to_date", "nothing waits"


def _in_words(seconds: float) -> str:
    return "now" if seconds <= 0 else f"in {duration(seconds)}"


def duration(seconds: float) -> str:
    """A length of time for people, to about two digits: ``4 s``, ``3 min``, ``2 h 10 min``, ``5 d``."""
    whole = round(seconds)
    if whole < 120:
        return f"{max(whole, 1)} s"
    if whole < 7_200:
        return f"{whole // 60} min"
    if whole < 172_800:
        hours, minutes = divmod(whole // 60, 60)
        return f"{hours} h {minutes} min" if minutes and hours < 10 else f"{hours} h"
    return f"{whole // 86_400} d"


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
        memory_bytes=int(memory.get("used_memory", 0)),
        memory_limit_bytes=int(memory.get("maxmemory", 0)),
        log_bytes=sum(account.log_bytes for account in accounts),
        log_entries=sum(account.entries for account in accounts),
        retention_bytes=settings.retention_bytes,
        quarantined=sum(account.quarantined_now for account in accounts),
        partitions=partitions,
    )


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
