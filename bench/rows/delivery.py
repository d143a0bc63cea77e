"""Delivery from a backlog ÷ bare client: read, match, sign, POST and settle, against POST alone."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from bench.bare_client import Posted
from bench.measuring import Backlog, Bench, Budget, RefusedError, Result, Row, about, per_s, result
from bench.process import Child, cpu_use
from bench.sink import Sink
from bench.subject import SUBSCRIBER, Gateway

CONCURRENCY = 64
PROMPTLY_S = 120


def measure(bench: Bench, row: Row) -> Result:
    """Alternate the bare client and the gateway, each alone on the measured core, both to the same sink."""
    backlog = bench.backlog(bench.effort.backlog)
    body = bench.directory / "delivered-body"
    body.write_bytes(backlog.body)
    ours, bare, our_us, bare_us, store = [], [], [], [], ""
    with Sink(bench.place("sink") / "nginx", bench.cores.around) as sink:
        for _ in range(bench.effort.rounds):
            rate, cpu_us = bare_client(bench, sink, body)
            bare.append(rate)
            bare_us.append(cpu_us)
            rate, cpu_us, store = deliver(bench, sink, backlog)
            ours.append(rate)
            our_us.append(cpu_us)
    return result(
        row,
        [mine / other for mine, other in zip(ours, bare, strict=True)],
        ours=per_s(statistics.median(ours)),
        bare=per_s(statistics.median(bare)),
        store=store,
        notes=[
            f"{backlog.count} events of {len(backlog.body)} bytes, {CONCURRENCY} at once; of its core a delivery took"
            f" {statistics.median(our_us):.1f} µs, a bare post {statistics.median(bare_us):.1f} µs"
        ],
    )


def bare_client(bench: Bench, sink: Sink, body: Path) -> tuple[float, float]:
    """Posts a second of the bare loop, and processor time a post in µs.

    Raises ``RefusedError`` if the sink refused any.
    """
    window_s = bench.window_s
    argv = [*(sys.executable, "-m", "bench.bare_client", sink.url, str(body)), str(CONCURRENCY), str(window_s)]
    with Child(argv, log=bench.directory / "bare-client.log", cores=bench.cores.measured) as child:
        posted = msgspec.json.decode(child.finish(within_s=window_s + 30).splitlines()[-1], type=Posted)
    if posted.failed:
        raise RefusedError(f"the sink refused {posted.failed} posts of the bare client")
    return posted.delivered / posted.elapsed_s, posted.cpu_s / posted.delivered * 1e6


def deliver(
    bench: Bench,
    sink: Sink,
    backlog: Backlog,
    *,
    neighbours: Mapping[str, str] | None = None,
    prepare: Callable[[Path], int] = lambda _: 0,
) -> tuple[float, float, str]:
    """Deliver a copy of the backlog: events a second, processor time an event in µs, the store.

    ``neighbours``: further subscribers (``bench.subject.write_config``). ``prepare`` changes the copy before, and says
    how many events it parked for the subscriber.

    The clock runs from the first event seen at the sink until the ledger has none pending. Raises ``RefusedError``
    unless every event came exactly once.
    """
    place = bench.copy(backlog, "delivery")
    parked = prepare(place)
    before = sink.received()
    gateway = Gateway(
        place, role="delivery", cores=bench.cores, sink_url=sink.url, concurrency=CONCURRENCY, neighbours=neighbours
    )
    with gateway:
        gateway.store_ready()
        first = gateway.child.until(
            lambda: (sink.received() - before) or None, what="delivery", within_s=60, every_s=0.002
        )
        start_s, start_use = time.monotonic(), cpu_use(gateway.pid)
        gateway.child.until(
            lambda: sink.received() - before >= backlog.count or None,
            what=f"delivery of {backlog.count} events",
            within_s=PROMPTLY_S,
            every_s=0.02,
        )
        gateway.child.until(
            lambda: gateway.progress().pending == parked or None, what="end of pending", within_s=15, every_s=0.002
        )
        elapsed_s = time.monotonic() - start_s
        ran_s = cpu_use(gateway.pid).since(start_use).ran_s
        facts, progress = gateway.facts(), gateway.progress()
        received = sink.received() - before
        account = gateway.ledger()["subscribers"][SUBSCRIBER]
    if not received == progress.delivered == account["delivered"] == facts.log_length == backlog.count:
        raise RefusedError(
            f"of {backlog.count} events the sink saw {received}, the subscriber's count says {progress.delivered}, the"
            f" ledger {account['delivered']}, and the log holds {facts.log_length}",
            about(facts),
        )
    bench.clear(place)
    delivered = backlog.count - first
    return delivered / elapsed_s, ran_s / delivered * 1e6, about(facts)


ROW = Row("delivery", "delivery from a backlog ÷ bare client loop", Budget(0.55, 0.75), measure)
