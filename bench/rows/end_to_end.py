"""End to end ÷ bare handler: intake and delivery at once, with client, sink and store on the same cores, unpinned.

Two rows: one process that does everything, which is what ``gateway serve`` starts, and one process for each role.
"""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.load import Run
from bench.measuring import CONNECTIONS, Bench, Budget, RefusedError, Result, Row, about, check, per_s, result
from bench.sink import Sink
from bench.subject import Gateway

DRAINED_WITHIN_S = 120


def measure(bench: Bench, row: Row, *, roles: bool) -> Result:
    """Alternate the bare handler and the whole gateway; a round's rate is the smaller of in and out."""
    ours, bare, ways_in, ways_out, store = [], [], [], [], ""
    with bench.bare(None) as server, Sink(bench.place("sink") / "nginx", None) as sink:
        for _ in range(bench.effort.rounds):
            bare.append(bench.bare_rate(server.port, cores=None).per_s)
            rate_in, rate_out, store = both_ways(bench, sink, roles=roles)
            ways_in.append(rate_in)
            ways_out.append(rate_out)
            ours.append(min(rate_in, rate_out))
    return result(
        row,
        [mine / other for mine, other in zip(ours, bare, strict=True)],
        ours=per_s(statistics.median(ours)),
        bare=per_s(statistics.median(bare)),
        store=store,
        notes=[
            f"{per_s(statistics.median(ways_in))} in, {per_s(statistics.median(ways_out))} out until nothing was"
            " pending; the smaller counts"
        ],
    )


def both_ways(bench: Bench, sink: Sink, *, roles: bool) -> tuple[float, float, str]:
    """One round: 200s a second, deliveries a second from the first request until nothing is pending, the store.

    Raises ``RefusedError`` unless log, 200s and deliveries are the same number.
    """
    place = bench.place("end-to-end")
    before = sink.received()
    with started(place, sink, roles=roles) as gateway:
        with Run(
            gateway.port,
            bench.requests(),
            window_s=bench.window_s,
            connections=CONNECTIONS,
            log=place / "wrk.log",
            cores=None,
        ) as run:
            # Deliveries may be done in the moment in which wrk ends, so their end is looked for meanwhile.
            drained_s, last = 0.0, -1
            deadline_s = time.monotonic() + bench.window_s + DRAINED_WITHIN_S
            while run.running or gateway.progress().pending:
                if time.monotonic() > deadline_s:
                    raise gateway.child.failure(
                        f"still {gateway.progress().pending} pending after {DRAINED_WITHIN_S} s"
                    )
                progress = gateway.progress()
                if progress.pending == 0 and progress.logged != last:
                    drained_s, last = time.monotonic(), progress.logged
                time.sleep(0.02)
            sent = run.result()
        facts, progress = gateway.facts(), gateway.progress()
        if progress.logged != last:
            drained_s = time.monotonic()
        check([sent], facts)
        received = sink.received() - before
    if not received == progress.delivered == sent.ok:
        raise RefusedError(
            f"{sent.ok} answers of 200, but the sink saw {received} and {progress.delivered} were counted as delivered",
            about(facts),
        )
    bench.clear(place)
    return sent.per_s, sent.ok / (drained_s - sent.first_sent_s), about(facts)


@contextmanager
def started(place: Path, sink: Sink, *, roles: bool) -> Iterator[Gateway]:
    """The gateway that takes the requests; the same one delivers, or another one beside it."""
    role = "intake" if roles else "all"
    with Gateway(place / "intake", role=role, cores=None, sink_url=sink.url).ready() as gateway:
        if not roles:
            yield gateway
            return
        with Gateway(place / "delivery", role="delivery", cores=None, sink_url=sink.url, beside=gateway).ready():
            yield gateway


ONE = Row("end-to-end", "end to end, one process ÷ bare handler", Budget(0.20, 0.35), partial(measure, roles=False))
TWO = Row(
    "end-to-end-roles", "end to end, a process a role ÷ bare handler", Budget(0.20, 0.35), partial(measure, roles=True)
)
