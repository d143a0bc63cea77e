"""What others cost a delivery: a hundred subscribers that do not want the event, a million parked events."""

import statistics
import time
from pathlib import Path
from typing import Any

import msgspec
import redis

from bench.measuring import Bench, Budget, Result, Row, per_s, result
from bench.rows.delivery import deliver
from bench.sink import Sink
from bench.subject import SUBSCRIBER, Gateway
from gateway.store.layout import Keys
from gateway.store.parked import Parked

SUBSCRIBERS = 100
CHUNK = 10_000
HOURS_AHEAD_MS = 20 * 3_600_000


def measure_uninterested(bench: Bench, row: Row) -> Result:
    """Deliver the same backlog with one subscriber, and with 99 more whose types match nothing in it."""
    backlog = bench.backlog(bench.effort.backlog)
    one, hundred, store = [], [], ""
    with Sink(bench.place("sink") / "nginx", bench.cores.around) as sink:
        lines = f'url = "{sink.url}"\ntypes = ["booking.*", "payment.*"]'
        crowd = {f"s{number}": lines for number in range(1, SUBSCRIBERS)}
        for _ in range(bench.effort.rounds):
            one.append(deliver(bench, sink, backlog)[1])
            _, cpu_us, store = deliver(bench, sink, backlog, neighbours=crowd)
            hundred.append(cpu_us)
    return result(
        row,
        [many / alone for many, alone in zip(hundred, one, strict=True)],
        ours=f"{statistics.median(hundred):.1f} µs",
        bare=f"{statistics.median(one):.1f} µs",
        store=store,
        notes=[f"{backlog.count} events, {SUBSCRIBERS} subscribers"],
    )


def measure_parked(bench: Bench, row: Row) -> Result:
    """Deliver the same backlog with nothing parked, and with as many parked as the effort says, due in 20 hours."""
    backlog = bench.backlog(bench.effort.backlog)
    count = bench.effort.parked
    free, laden, store = [], [], ""
    with Sink(bench.place("sink") / "nginx", bench.cores.around) as sink:
        for _ in range(bench.effort.rounds):
            free.append(deliver(bench, sink, backlog)[0])
            rate, _, store = deliver(bench, sink, backlog, prepare=lambda place: park(bench, place, count))
            laden.append(rate)
    return result(
        row,
        [with_them / without for with_them, without in zip(laden, free, strict=True)],
        ours=per_s(statistics.median(laden)),
        bare=per_s(statistics.median(free)),
        store=store,
        notes=[f"{count} parked, {backlog.count} events to deliver"],
    )


def park(bench: Bench, place: Path, count: int) -> int:
    """Write ``count`` parked events of the subscriber into a store at rest, as settle would. Returns ``count``.

    Their sequence numbers lie before the first: they are never due during a run, and nothing looks their entries up.
    """
    with Gateway(place, role="intake", cores=bench.cores).ready() as gateway:
        names = Keys("0").subscriber(SUBSCRIBER)
        store: redis.Redis = gateway.store
        info = msgspec.json.encode(
            Parked(attempt=1, first_failed_ms=1, event_id="evt_" + "a" * 26, cause="http_500", status=500)
        )
        due_ms = time.time_ns() // 1_000_000 + HOURS_AHEAD_MS
        for first in range(0, count, CHUNK):
            members = [str(-number - 1) for number in range(first, min(count, first + CHUNK))]
            pipe: Any = store.pipeline(transaction=False)
            pipe.hset(names.parked, mapping=dict.fromkeys(members, info))
            pipe.zadd(names.due, dict.fromkeys(members, due_ms))
            pipe.execute()
    return count


UNINTERESTED = Row(
    "uninterested",
    "CPU per event with 100 subscribers of which 1 matches ÷ with 1",
    Budget(1.5, 1.2, less=True),
    measure_uninterested,
)
PARKED = Row("parked", "delivery rate with a million parked ÷ with none", Budget(0.8, 0.95), measure_parked)
