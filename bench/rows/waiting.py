"""What waiting events cost: bytes in the store beyond their own, and memory of the gateway while they wait.

The budgets speak of a million events. With fewer the bytes an event are judged all the same, since they do not depend
on the number; the memory is only shown.
"""

import socket
import statistics
import time

from bench.measuring import Bench, Budget, Result, Row, about, result
from bench.subject import Gateway

MILLION = 1_000_000
SETTLED_S = 2.0


def measure_bytes(bench: Bench, row: Row) -> Result:
    """Compare the store's memory before and after a backlog."""
    backlog = bench.backlog(bench.effort.backlog)
    over = (backlog.store_bytes - backlog.own_bytes) / backlog.count
    place = bench.copy(backlog, "bytes")
    with Gateway(place, role="intake", cores=bench.cores).ready() as gateway:
        facts = gateway.facts()
    bench.clear(place)
    return result(
        row,
        [over],
        ours=f"{backlog.store_bytes / backlog.count:.0f} B an event",
        bare=f"{backlog.own_bytes / backlog.count:.0f} B its own",
        store=about(facts),
        notes=[f"{backlog.count} events waiting; the keys that remember their ids are counted too"],
    )


def measure_memory(bench: Bench, row: Row) -> Result:
    """Start a gateway on a backlog whose subscriber accepts connections and never answers; look at its memory."""
    backlog = bench.backlog(bench.effort.backlog)
    place = bench.copy(backlog, "memory")
    samples: list[float] = []
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/hooks"
        with Gateway(place, role="all", cores=None, sink_url=url).ready() as gateway:
            end_s = time.monotonic() + SETTLED_S
            while time.monotonic() < end_s:
                samples.append(gateway.resident_bytes() / 1e6)
                time.sleep(0.1)
            facts, progress = gateway.facts(), gateway.progress()
    bench.clear(place)
    return result(
        row,
        [max(samples)],
        ours=f"{max(samples):.0f} MB",
        bare="",
        store=about(facts),
        notes=[
            f"{progress.pending} of {backlog.count} events pending, subscriber silent;"
            f" median {statistics.median(samples):.0f} MB"
            + ("" if backlog.count >= MILLION else "; the budget is for 1,000,000 (--backlog 1000000)")
        ],
        judged=backlog.count >= MILLION,
    )


BYTES = Row(
    "store-bytes",
    "store bytes per waiting event beyond its own",
    Budget(350, 220, "B", less=True),
    measure_bytes,
    timed=False,
)
MEMORY = Row(
    "memory", "resident memory with events waiting", Budget(200, 120, "MB", less=True), measure_memory, timed=False
)
