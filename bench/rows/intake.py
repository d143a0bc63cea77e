"""Durable intake ÷ bare handler: how much of a core is left after proving, mapping and an fsync."""

from statistics import median

from bench.load import Sent, send
from bench.measuring import CONNECTIONS, Bare, Bench, Budget, Result, Row, about, check, per_s, result
from bench.process import CpuUse, cpu_use
from bench.subject import Gateway


def measure(bench: Bench, row: Row) -> Result:
    """Alternate bare and ours, each alone on the measured core."""
    ours: list[Sent] = []
    bare: list[Sent] = []
    our_use: list[CpuUse] = []
    shared: list[float] = []
    bare_use: list[CpuUse] = []
    with bench.bare(bench.cores.measured) as server:
        for _ in range(bench.effort.rounds):
            sent, use = bare_round(bench, server)
            bare.append(sent)
            bare_use.append(use)
            sent, use, events_a_commit, store = our_round(bench)
            ours.append(sent)
            our_use.append(use)
            shared.append(events_a_commit)
    bench.top_per_s = median(sent.per_s for sent in ours)
    return result(
        row,
        [mine.per_s / other.per_s for mine, other in zip(ours, bare, strict=True)],
        ours=per_s(bench.top_per_s),
        bare=per_s(median(sent.per_s for sent in bare)),
        store=store,
        notes=[
            f"{CONNECTIONS} connections; of its core a request took {micros(ours, our_use)}, a bare one"
            f" {micros(bare, bare_use)}; the gateway {busy(ours, our_use)}, the bare handler {busy(bare, bare_use)}",
            f"{median(shared):.0f} events a commit ({min(shared):.0f} to {max(shared):.0f})",
        ],
    )


def bare_round(bench: Bench, server: Bare) -> tuple[Sent, CpuUse]:
    """The bare handler for one window."""
    before = cpu_use(server.pid)
    sent = bench.bare_rate(server.port, cores=bench.cores.around)
    return sent, cpu_use(server.pid).since(before)


def our_round(bench: Bench) -> tuple[Sent, CpuUse, float, str]:
    """A gateway on an empty store for one window; events a commit; the store. Raises ``RefusedError``."""
    place = bench.place("intake")
    with Gateway(place, role="intake", cores=bench.cores).ready() as gateway:
        log, around = place / "wrk.log", bench.cores.around
        warm = send(
            gateway.port, bench.warm_up(), window_s=bench.warm_up_s, connections=CONNECTIONS, log=log, cores=around
        )
        commits, before = gateway.facts().commits, cpu_use(gateway.pid)
        sent = send(
            gateway.port, bench.requests(), window_s=bench.window_s, connections=CONNECTIONS, log=log, cores=around
        )
        use = cpu_use(gateway.pid).since(before)
        facts = gateway.facts()
        check([warm, sent], facts)
    bench.clear(place)
    return sent, use, sent.ok / max(1, facts.commits - commits), about(facts)


def micros(runs: list[Sent], uses: list[CpuUse]) -> str:
    """Processor time a request: hardly moved by neighbours, unlike the rate."""
    return f"{median(use.ran_s / run.ok for run, use in zip(runs, uses, strict=True)) * 1e6:.1f} µs"


def busy(runs: list[Sent], uses: list[CpuUse]) -> str:
    """How much of the time a server ran, and how much of it somebody else had its core."""
    ran = median(use.ran_s / run.elapsed_s for run, use in zip(runs, uses, strict=True))
    waited = median(use.waited_s / run.elapsed_s for run, use in zip(runs, uses, strict=True))
    return f"ran {ran:.0%} and waited {waited:.0%} of the time"


ROW = Row("intake", "durable intake ÷ bare handler, one process", Budget(0.40, 0.55), measure)
