"""Ack p99 at half our top rate: what the answer waits beyond the bare one, in fsyncs of this disk."""

import statistics

from bench.disk import FsyncCost, fsync_cost
from bench.load import Sent, send
from bench.measuring import (
    CONNECTIONS,
    Bench,
    Budget,
    RefusedError,
    Result,
    Row,
    about,
    believable,
    check,
    per_s,
    result,
)
from bench.subject import Gateway

PACED_CONNECTIONS = 256
"""So many that a free one is there for each slot, while requests in flight are few."""

NEAR_ENOUGH = 0.9
"""Of the wanted rate; below it the client was held up and half the top rate was not what was measured."""


def measure(bench: Bench, row: Row) -> Result:
    """Hold half the gateway's top rate against the bare handler and the gateway by turns; time fsyncs after each."""
    rate_per_s = top_rate(bench) / 2
    ours, bare, disk, store, rounds = [], [], [], "", []
    with bench.bare(bench.cores.measured) as server:
        for _ in range(bench.effort.rounds):
            bare.append(paced(bench, server.port, rate_per_s, wrap=True).p99_ms)
            sent, cost, store = ours_paced(bench, rate_per_s)
            ours.append(sent.p99_ms)
            disk.append(cost)
            rounds.append((sent.p99_ms - bare[-1]) / cost.p99_ms)
    return result(
        row,
        rounds,
        ours=f"p99 {statistics.median(ours):.2f} ms",
        bare=f"p99 {statistics.median(bare):.2f} ms",
        store=store,
        notes=[
            f"at {per_s(rate_per_s)} over {PACED_CONNECTIONS} connections;"
            f" fsync of {disk[-1].write_bytes} bytes (a commit's share of the append-only file):"
            f" p50 {statistics.median(cost.p50_ms for cost in disk):.3f} ms,"
            f" p99 {statistics.median(cost.p99_ms for cost in disk):.3f} ms"
        ],
    )


def paced(bench: Bench, port: int, rate_per_s: float, *, wrap: bool = False) -> Sent:
    """One run at a held rate. Raises ``RefusedError`` if the client could not hold it."""
    sent = believable(
        send(
            port,
            bench.requests(),
            window_s=bench.window_s,
            connections=PACED_CONNECTIONS,
            log=bench.directory / "paced-wrk.log",
            cores=bench.cores.around,
            wrap=wrap,
            rate_per_s=rate_per_s,
        )
    )
    if sent.per_s < NEAR_ENOUGH * rate_per_s:
        raise RefusedError(f"the client held {per_s(sent.per_s)} of the {per_s(rate_per_s)} it was to hold")
    return sent


def ours_paced(bench: Bench, rate_per_s: float) -> tuple[Sent, FsyncCost, str]:
    """The gateway at a held rate, then fsyncs of the size of its commits, in its directory."""
    place = bench.place("acknowledge")
    with Gateway(place, role="intake", cores=bench.cores).ready() as gateway:
        warm = warm_up(bench, gateway)
        before = gateway.facts()
        sent = paced(bench, gateway.port, rate_per_s)
        facts = gateway.facts()
        check([warm, sent], facts)
    commits = max(1, facts.commits - before.commits)
    write_bytes = max(1, (facts.aof_bytes - before.aof_bytes) // commits)
    cost = fsync_cost(place / "data", write_bytes, count=bench.effort.fsyncs, within_s=3)
    bench.clear(place)
    return sent, cost, about(facts)


def warm_up(bench: Bench, gateway: Gateway) -> Sent:
    """Some other requests."""
    return send(
        gateway.port,
        bench.warm_up(),
        window_s=bench.warm_up_s,
        connections=CONNECTIONS,
        log=bench.directory / "warm-wrk.log",
        cores=bench.cores.around,
    )


def top_rate(bench: Bench) -> float:
    """The gateway's rate in the intake row, or of one run now where that row was not asked for."""
    if bench.top_per_s is None:
        place = bench.place("top-rate")
        with Gateway(place, role="intake", cores=bench.cores).ready() as gateway:
            warm = warm_up(bench, gateway)
            sent = send(
                gateway.port,
                bench.requests(),
                window_s=bench.window_s,
                connections=CONNECTIONS,
                log=place / "wrk.log",
                cores=bench.cores.around,
            )
            check([warm, sent], gateway.facts())
        bench.clear(place)
        bench.top_per_s = sent.per_s
    return bench.top_per_s


ROW = Row(
    "ack-p99",
    "ack p99 at half our top rate: (p99 − bare p99) ÷ fsync p99",
    Budget(60, 20, less=True),
    measure,
)
