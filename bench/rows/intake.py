"""Durable intake ÷ bare handler: how much of a core is left after proving, mapping and an fsync."""

import statistics

from bench.load import send
from bench.measuring import CONNECTIONS, Bench, Budget, Result, Row, about, check, per_s, result
from bench.process import cpu_s
from bench.subject import Gateway


def measure(bench: Bench, row: Row) -> Result:
    """Alternate bare and ours, each alone on the measured core."""
    ours, bare, busy, store = [], [], [], ""
    with bench.bare(bench.cores.measured) as bare_port:
        for _ in range(bench.effort.rounds):
            bare.append(bench.bare_rate(bare_port, cores=bench.cores.around).per_s)
            place = bench.place("intake")
            with Gateway(place, role="intake", cores=bench.cores).ready() as gateway:
                log, around = place / "wrk.log", bench.cores.around
                warm = send(gateway.port, bench.warm_up(), window_s=0.5, connections=CONNECTIONS, log=log, cores=around)
                before_s = cpu_s(gateway.pid)
                sent = send(
                    gateway.port,
                    bench.requests(),
                    window_s=bench.window_s,
                    connections=CONNECTIONS,
                    log=log,
                    cores=around,
                )
                busy.append((cpu_s(gateway.pid) - before_s) / sent.elapsed_s)
                facts = gateway.facts()
                check([warm, sent], facts)
                store = about(facts)
                ours.append(sent.per_s)
            bench.clear(place)
    bench.top_per_s = statistics.median(ours)
    return result(
        row,
        [mine / other for mine, other in zip(ours, bare, strict=True)],
        ours=per_s(statistics.median(ours)),
        bare=per_s(statistics.median(bare)),
        store=store,
        notes=[f"{CONNECTIONS} connections; the gateway was busy {statistics.median(busy):.0%} of its core"],
    )


ROW = Row("intake", "durable intake ÷ bare handler, one process", Budget(0.40, 0.55), measure)
