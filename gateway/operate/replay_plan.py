"""The range of the log a replay goes through, and the dry run over it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from gateway import problems
from gateway.config import SubscriberSettings
from gateway.config_file.values import did_you_mean
from gateway.delivery.selecting import Head, Rules, Selecting
from gateway.operate.refusals import Refused
from gateway.operate.replay_views import ReplayEnd, ReplayPlan
from gateway.operate.search import DISORDER_MS, find
from gateway.operate.sight import Sight
from gateway.store.log import PartitionLog, received_ms
from gateway.store.replays import ReplaySpec
from schemas.event import CREDENTIAL_TYPE
from schemas.timestamps import format_ms

PLAN_S = 15.0
ID_LENGTH = len("evt_") + 26
BEGINNINGS = 20
"""Beginnings of ids that may be looked up at once: each costs a search."""


class Range(msgspec.Struct, frozen=True):
    """What a replay goes through, a number a partition."""

    starts: list[int]
    ends: list[int]
    picked: list[list[int]] | None


async def range_of(sight: Sight, spec: ReplaySpec, ids: Sequence[str]) -> Range:
    """The log as it is now, narrowed by time and by ids. Raises ``Refused`` for an id that the log does not hold."""
    starts, ends = [], []
    for log in sight.logs:
        start, end = await _bounds(log, spec)
        starts.append(start)
        ends.append(end)
    if not ids:
        return Range(starts, ends, None)
    if sum(len(name) < ID_LENGTH for name in ids) > BEGINNINGS:
        raise Refused(problems.BAD_REQUEST, f"ids: at most {BEGINNINGS} may be beginnings; write the others in full")
    picked: list[set[int]] = [set() for _ in sight.logs]
    for name in ids:
        found = await find(sight, name)
        picked[found.partition].add(found.entry.seq)
    return Range(starts, ends, [sorted(seqs) for seqs in picked])


async def _bounds(log: PartitionLog, spec: ReplaySpec) -> tuple[int, int]:
    """Clocks are set back now and then, so a time narrows the range with a margin; each event is looked at anyway."""
    first, last = await log.read(0, 1), await log.last()
    if not first:
        return last, last
    start, end = first[0].seq - 1, last
    if spec.since_ms is not None:
        start = max(start, await log.last_before(spec.since_ms - DISORDER_MS))
    if spec.until_ms is not None:
        end = max(start, min(end, await log.last_before(spec.until_ms + DISORDER_MS)))
    return start, end


async def plan(
    sight: Sight,
    spec: ReplaySpec,
    subscriber: SubscriberSettings | None,
    over: Range,
    monotonic: Callable[[], float],
) -> ReplayPlan:
    """Go through it and count. Raises ``StoreUnavailable``."""
    stop_s = monotonic() + PLAN_S
    rules = Rules(spec, subscriber)
    types: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    withheld = expired = looked_at = 0
    first: Head | None = None
    last: Head | None = None
    complete = True
    for number, (keys, log) in enumerate(zip(sight.keys, sight.logs, strict=True)):
        at = over.starts[number]
        picked = None if over.picked is None else over.picked[number]
        async for page in Selecting(spec, rules, sight.store, keys, log).pages(at, over.ends[number], picked):
            looked_at, at = looked_at + page.upto - at, page.upto
            withheld += page.withheld
            expired += page.expired
            for match in page.matches:
                head = match.head
                types[head.type] += 1
                sources[head.source] += 1
                first = head if first is None or head.received_at < first.received_at else first
                last = head if last is None or head.received_at >= last.received_at else last
            if monotonic() > stop_s:
                complete = False
                break
            await asyncio.sleep(0)
    limits = [spec.rate_per_s]
    if spec.to is None and subscriber is not None and subscriber.rate_per_s:
        limits.append(subscriber.rate_per_s)
    return ReplayPlan(
        matched=types.total(),
        complete=complete,
        looked_at=looked_at,
        types=dict(types.most_common()),
        sources=dict(sources.most_common()),
        first=_end(first),
        last=_end(last),
        withheld=withheld,
        expired=expired,
        rate_per_s=min(limits),
        seconds=round(types.total() / min(limits), 1),
        retries_dead=spec.requeues,
        notes=await _notes(sight, spec, withheld),
    )


def _end(head: Head | None) -> ReplayEnd | None:
    if head is None:
        return None
    return ReplayEnd(event_id=head.id, event_type=head.type, received_at=head.received_at)


async def _notes(sight: Sight, spec: ReplaySpec, withheld: int) -> list[str]:
    notes = []
    if spec.requeues:
        notes.append(
            f"this retries dead letters of {spec.subscriber}, as gateway dead retry does: they become pending, with a "
            "fresh schedule, and are delivered without the header gateway-replay"
        )
    elif spec.subscriber and spec.to is None and not spec.wanted_only and spec.state != "delivered":
        notes.append(f"the types and the condition of {spec.subscriber} are not asked (--wanted would)")
    if spec.source is not None and spec.source not in sight.config.sources:
        hint = did_you_mean(spec.source, sight.config.sources)
        notes.append(f"no source {spec.source} is configured{hint}; the log is searched for it all the same")
    if withheld:
        notes.append(f"{withheld} of {CREDENTIAL_TYPE} are held back: they go only to who names this type")
    begins = [entries[0] for log in sight.logs if (entries := await log.read(0, 1))]
    begins_ms = min((received_ms(entry.event_json) for entry in begins if entry.seq > 1), default=0)
    if begins_ms and (spec.since_ms is None or begins_ms > spec.since_ms):
        notes.append(f"the log begins at {format_ms(begins_ms)}: what came before is gone by retention")
    return notes
