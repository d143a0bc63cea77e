"""Durable intake of two workers ÷ of one process, with client and store on the same cores, unpinned.

On two cores the client, the store and its fsyncs already take what one process leaves, so it says how little is lost by
a second process there, not what more cores would bring.
"""

from statistics import median

from bench.load import send
from bench.measuring import CONNECTIONS, Bench, Budget, Result, Row, about, check, per_s, result
from bench.subject import Gateway

WORKERS = 2


def measure(bench: Bench, row: Row) -> Result:
    """Alternate one process and several workers."""
    one, several, store = [], [], ""
    for _ in range(bench.effort.rounds):
        one.append(intake_rate(bench, 1)[0])
        rate, store = intake_rate(bench, WORKERS)
        several.append(rate)
    return result(
        row,
        [many / alone for many, alone in zip(several, one, strict=True)],
        ours=per_s(median(several)),
        bare=per_s(median(one)),
        store=store,
        notes=[f"{CONNECTIONS} connections, {len(bench.cores.every)} cores for client, workers and store together"],
        judged=False,
    )


def intake_rate(bench: Bench, workers: int) -> tuple[float, str]:
    """200s a second of a gateway on an empty store; the store. Raises ``RefusedError``."""
    place = bench.place("workers")
    with Gateway(place, role="intake", cores=None, workers=workers).ready() as gateway:
        log = place / "wrk.log"
        warm = send(
            gateway.port, bench.warm_up(), window_s=bench.warm_up_s, connections=CONNECTIONS, log=log, cores=None
        )
        sent = send(
            gateway.port, bench.requests(), window_s=bench.window_s, connections=CONNECTIONS, log=log, cores=None
        )
        facts = gateway.facts()
        check([warm, sent], facts)
    bench.clear(place)
    return sent.per_s, about(facts)


ROW = Row("workers", f"durable intake, {WORKERS} workers ÷ one process", Budget(1.0, 1.5), measure)
