"""The ledger: the account of every request and every event, read in one step a partition.

::

    requests at a known source   received = accepted + ignored + quarantined + rejected
    events                       produced = logged + duplicate + spooled
    a subscriber                 offered  = delivered + filtered + dead + discarded + pending

``spooled`` counts the batches in the spool that the store does not know yet (``spooled.py``); they are ``produced`` and
``received`` too. ``offered`` comes from sequence numbers, ``pending`` is measured (not yet read + parked + held),
``dead`` is the number of dead letters there are. No term is the rest of the others, so what they do not explain shows
as ``unaccounted``.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gateway.store.connection import Store
from gateway.store.layout import Keys
from gateway.store.spooled import Brought, SpooledLine
from schemas.timestamps import format_ms


class Requests(msgspec.Struct, kw_only=True):
    """What became of requests at a known source."""

    received: int = 0
    accepted: int = 0
    ignored: int = 0
    quarantined: int = 0
    rejected: int = 0


class Events(msgspec.Struct, kw_only=True):
    """What became of events."""

    produced: int = 0
    logged: int = 0
    duplicate: int = 0
    spooled: int = 0


class Subscriber(msgspec.Struct, kw_only=True):
    """What became of the events offered to one subscriber since it subscribed."""

    offered: int = 0
    delivered: int = 0
    filtered: int = 0
    dead: int = 0
    discarded: int = 0
    pending: int = 0
    unaccounted: int = 0


class SourceAccount(msgspec.Struct, kw_only=True):
    """The first two lines for one source."""

    requests: Requests = msgspec.field(default_factory=Requests)
    events: Events = msgspec.field(default_factory=Events)


class Ledger(msgspec.Struct, kw_only=True):
    """The whole account at one moment."""

    at: str
    requests: Requests
    events: Events
    subscribers: dict[str, Subscriber]
    unaccounted: int
    """Events that the account does not explain: holes in the log, and differences of any line."""


class Account(msgspec.Struct, kw_only=True):
    """One partition's numbers, as they stand in the store."""

    seq: int
    entries: int
    trimmed: int
    log_bytes: int
    quarantined_now: int
    latest: dict[str, str] = {}
    """Source → when its latest event here came, as the event says it. It outlives the event."""
    sources: dict[str, SourceAccount]
    subscribers: dict[str, "SubscriberAccount"]

    @property
    def holes(self) -> int:
        """Sequence numbers that are neither in the log nor trimmed."""
        return self.seq - self.trimmed - self.entries


class SubscriberAccount(msgspec.Struct, kw_only=True):
    """One subscriber's numbers in one partition."""

    start: int
    cursor: int
    delivered: int
    filtered: int
    discarded: int
    parked: int
    held: int
    dead: int
    paused: str = ""
    """Why it is paused; empty if it is not."""
    breaker: bytes = b""
    """JSON of its breaker's state (``delivery/breaker.py``); empty if it never opened."""
    given_up: int = 0
    """Of the discarded, those that nobody asked to discard: beyond ``max_lag``, or dead letters without room."""
    given_up_ms: int = 0
    """When the latest of them was; 0 without one."""

    def lines(self, seq: int) -> Subscriber:
        """Its line of the ledger, where ``seq`` is the partition's last sequence number."""
        line = Subscriber(
            offered=seq - self.start,
            delivered=self.delivered,
            filtered=self.filtered,
            dead=self.dead,
            discarded=self.discarded,
            pending=seq - self.cursor + self.parked + self.held,
        )
        line.unaccounted = unaccounted(line)
        return line


def unaccounted(line: Subscriber) -> int:
    """What the terms of a subscriber's line do not explain."""
    return line.offered - line.delivered - line.filtered - line.dead - line.discarded - line.pending


async def subscribers_of(store: Store, keys: Sequence[Keys]) -> list[set[str]]:
    """The names of all subscribers that have a cursor, a partition each."""
    replies = await store.many([("SMEMBERS", each.subs) for each in keys])
    return [{name.decode() for name in reply} for reply in replies]


async def read_account(store: Store, keys: Keys, names: Iterable[str], spooled: Sequence[SpooledLine] = ()) -> Account:
    """Read one partition's numbers, all of the same moment. Raises ``StoreUnavailable``.

    ``spooled``: the batches of this partition in the spool, read before: those that the store has got since are told by
    their numbers.
    """
    ordered = sorted(names)
    committers = sorted({line.committer for line in spooled})
    wanted = [keys.state, keys.log, keys.quarantine, *[keys.committer_prefix + each for each in committers]]
    for name in ordered:
        each = keys.subscriber(name)
        wanted += (each.sub, each.parked, each.held, each.dead)
    reply = await store.script("ledger", wanted, [len(committers)])
    state_pairs, entries, quarantined_now, numbers, *subs = reply
    newest = {name: int(last or 0) for name, last in zip(committers, numbers, strict=True)}
    state = _fields(state_pairs)
    sources: dict[str, SourceAccount] = {}
    latest: dict[str, str] = {}
    for field, value in state.items():
        letter, _, rest = field.partition(":")
        if letter == "l":
            latest[rest] = value
        if letter not in ("q", "e") or not rest:
            continue
        source, _, term = rest.rpartition(":")
        account = sources.setdefault(source, SourceAccount())
        setattr(account.requests if letter == "q" else account.events, term, int(value))
    for line in sorted(spooled, key=lambda each: each.numbers[0]):  # they will be committed as they are counted here
        for brought in line.beyond(newest[line.committer]):
            _count_spooled(sources, brought)
        newest[line.committer] = max(newest[line.committer], line.numbers[-1])
    for account in sources.values():
        count = account.requests
        count.received = count.accepted + count.ignored + count.quarantined + count.rejected
    return Account(
        seq=int(state.get("seq", 0)),
        entries=entries,
        trimmed=int(state.get("trimmed", 0)),
        log_bytes=int(state.get("log_bytes", 0)),
        quarantined_now=quarantined_now,
        latest=latest,
        sources=sources,
        subscribers={name: _subscriber(reply) for name, reply in zip(ordered, subs, strict=True)},
    )


def _count_spooled(sources: dict[str, SourceAccount], brought: Brought) -> None:
    event_counts, request_counts, times = brought
    for source, number in event_counts.items():
        events = sources.setdefault(source, SourceAccount()).events
        events.produced += number * times
        events.spooled += number * times
    for source, outcome, number in request_counts:
        requests = sources.setdefault(source, SourceAccount()).requests
        setattr(requests, outcome, getattr(requests, outcome) + number * times)


def make_ledger(accounts: Sequence[Account], now_ms: int) -> Ledger:
    """Add the partitions' accounts up."""
    requests, events = Requests(), Events()
    subscribers: dict[str, Subscriber] = {}
    holes = 0
    for account in accounts:
        holes += abs(account.holes)
        for source in account.sources.values():
            _add(requests, source.requests)
            _add(events, source.events)
        for name, numbers in account.subscribers.items():
            _add(subscribers.setdefault(name, Subscriber()), numbers.lines(account.seq))
    rest = abs(events.produced - events.logged - events.duplicate - events.spooled)
    rest += abs(events.logged - sum(account.seq for account in accounts))
    # A hole that a subscriber's cursor has passed shows in its line too: one event, counted once.
    rest += sum(max(0, abs(line.unaccounted) - holes) for line in subscribers.values())
    return Ledger(
        at=format_ms(now_ms), requests=requests, events=events, subscribers=subscribers, unaccounted=holes + rest
    )


def _add(total: msgspec.Struct, part: msgspec.Struct) -> None:
    for field in total.__struct_fields__:
        setattr(total, field, getattr(total, field) + getattr(part, field))


def _fields(pairs: Any) -> dict[str, str]:
    return {pairs[at].decode(): pairs[at + 1].decode() for at in range(0, len(pairs), 2)}


def _subscriber(reply: Any) -> SubscriberAccount:
    pairs, parked, held, dead = reply
    fields = _fields(pairs)
    return SubscriberAccount(
        start=int(fields.get("start", 0)),
        cursor=int(fields.get("cursor", 0)),
        delivered=int(fields.get("delivered", 0)),
        filtered=int(fields.get("filtered", 0)),
        discarded=int(fields.get("discarded", 0)),
        parked=parked,
        held=held,
        dead=dead,
        paused=fields.get("paused", ""),
        breaker=fields.get("breaker", "").encode(),
        given_up=int(fields.get("given_up", 0)),
        given_up_ms=int(fields.get("given_up_ms", 0)),
    )
