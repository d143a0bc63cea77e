"""Start-up: from typing ``gateway serve`` to the first 200, with an embedded, empty store."""

import http.client
import statistics
import time

from adapters.contract import Source
from adapters.enviaai import ADAPTER
from bench.load import CASE, SECRET, SOURCE
from bench.measuring import Bench, Budget, RefusedError, Result, Row, about, result
from bench.subject import Gateway

WITHIN_S = 60
EVERY_S = 0.005


def measure(bench: Bench, row: Row) -> Result:
    """Start it several times, each on an empty directory, and ask every few milliseconds until it accepts a webhook."""
    rounds, store = [], ""
    for _ in range(bench.effort.starts):
        place = bench.place("start")
        with Gateway(place, role="all", cores=None) as gateway:
            gateway.child.until(lambda: post(gateway.port) or None, what="200", within_s=WITHIN_S, every_s=EVERY_S)
            rounds.append(time.monotonic() - gateway.started_s)
            gateway.store_ready()
            facts = gateway.facts()
            if facts.log_length != 1:
                raise RefusedError(f"one 200, but the log holds {facts.log_length} events", about(facts))
            store = about(facts)
        bench.clear(place)
    return result(
        row,
        rounds,
        ours=f"{statistics.median(rounds):.2f} s",
        bare="",
        store=store,
        notes=[f"{len(rounds)} starts: {min(rounds):.2f} to {max(rounds):.2f} s"],
    )


def post(port: int) -> bool:
    """Whether one signed webhook is answered 200 now."""
    body = ADAPTER.sample(next(case for case in ADAPTER.cases if case.startswith(CASE)), 1)
    headers = ADAPTER.sign(body, Source(name=SOURCE, secrets=(SECRET,)), 0)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", f"/in/{SOURCE}", body, headers)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


ROW = Row("start-up", "gateway serve to first 200, embedded, empty store", Budget(2.5, 1.2, "s", less=True), measure)
