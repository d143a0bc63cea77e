"""While the store cannot be used: how fast the spool takes webhooks, and how soon after a start it does."""

import os
import signal
import statistics
import time
from functools import partial

from bench.load import send
from bench.measuring import CONNECTIONS, Bench, Budget, RefusedError, Result, Row, about, check, per_s, result
from bench.rows.start import EVERY_S, post
from bench.subject import Gateway

MILLION = 1_000_000
DRAINED_S = 300.0


def measure_rate(bench: Bench, row: Row) -> Result:
    """One gateway after the other: into the store, then into the spool while the store hangs; then it is drained."""
    stored, spooled, drained_s = [], [], []
    for _ in range(bench.effort.rounds):
        place = bench.place("spool")
        with Gateway(place, role="intake", cores=bench.cores).ready() as gateway:
            around, log = bench.cores.around, place / "wrk.log"
            first = send(
                gateway.port, bench.requests(), window_s=bench.window_s, connections=CONNECTIONS, log=log, cores=around
            )
            check([first], gateway.facts())
            stored.append(first.per_s)
            store = gateway.store_pid()
            os.kill(store, signal.SIGSTOP)
            try:
                gateway.child.until(partial(taken, gateway.port), what="200", within_s=10)
                second = send(
                    gateway.port,
                    bench.more_requests(),
                    window_s=bench.window_s,
                    connections=CONNECTIONS,
                    log=log,
                    cores=around,
                )
                spooled.append(second.per_s)
            finally:
                os.kill(store, signal.SIGCONT)
            began_s, wanted = time.monotonic(), first.ok + second.ok + 1
            drained_s.append(drained(gateway, wanted) - began_s)
            facts = gateway.facts()
        bench.clear(place)
    return result(
        row,
        [into / out for into, out in zip(spooled, stored, strict=True)],
        ours=per_s(statistics.median(spooled)),
        bare=per_s(statistics.median(stored)),
        store=about(facts),
        notes=[f"drained within {max(drained_s):.1f} s; beside it: the same gateway into its store"],
    )


def measure_restart(bench: Bench, row: Row) -> Result:
    """Start a gateway on a store that has much to load, and ask until it accepts a webhook."""
    backlog = bench.backlog(bench.effort.backlog)
    rounds, opened = [], []
    for _ in range(bench.effort.starts):
        place = bench.copy(backlog, "restart")
        with Gateway(place, role="all", cores=None) as gateway:
            gateway.child.until(partial(taken, gateway.port), what="200", within_s=60, every_s=EVERY_S)
            rounds.append(time.monotonic() - gateway.started_s)
            opened.append(drained(gateway, backlog.count + 1) - gateway.started_s)
            facts = gateway.facts()
        bench.clear(place)
    return result(
        row,
        rounds,
        ours=f"{statistics.median(rounds):.2f} s",
        bare="",
        store=about(facts),
        notes=[
            f"{backlog.count} events to load; the store was there and the spool drained after {max(opened):.1f} s"
            + ("" if backlog.count >= MILLION else "; the budget is for 1,000,000 (--backlog 1000000)")
        ],
        judged=backlog.count >= MILLION,
    )


def taken(port: int) -> bool | None:
    """True once a webhook is answered 200."""
    return post(port) or None


def drained(gateway: Gateway, events: int) -> float:
    """When the store had seen so many events and the spool held none. Raises ``RefusedError`` if it never does."""
    deadline_s = time.monotonic() + DRAINED_S
    gateway.ready()
    while True:
        ledger = gateway.ledger()
        if ledger["events"]["spooled"] == 0:
            found, lost = ledger["events"]["logged"] + ledger["events"]["duplicate"], ledger["unaccounted"]
            if (found, lost) != (events, 0):
                raise RefusedError(f"{events} were answered 200, and {found} are there; unaccounted {lost}", "")
            return time.monotonic()
        if time.monotonic() > deadline_s:
            raise RefusedError(f"the spool was not drained within {DRAINED_S:g} s", about(gateway.facts()))
        time.sleep(0.05)


RATE = Row("spool", "intake into the spool ÷ into the store", Budget(0.5, 0.9), measure_rate)
RESTART = Row(
    "restart", "gateway serve to first 200, 1,000,000 events to load", Budget(2.5, 1.8, "s", less=True), measure_restart
)
