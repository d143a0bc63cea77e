"""One live subscriber among 99 dead or hanging ones: how late its events come, and how fast the intake is."""

import asyncio
import re
import socket
import statistics
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench.load import send
from bench.measuring import CONNECTIONS, Bench, Budget, Result, Row, about, believable, result
from bench.sink import free_port
from bench.subject import Gateway
from gateway.store.log import received_ms

NEIGHBOURS = 99
GENTLE_PER_S = 500.0
"""Requests a second while lateness is measured: what is measured is the wait for others, not one's own queue."""

TIMEOUT_S = 5
WARM_UP_S = TIMEOUT_S + 3
"""The neighbours have failed by the time it counts, as they would have in any life longer than this: those that never
answer only when their time is up, all in the same second."""

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class _Arrivals:
    """A subscriber that notes how long after its request was received each event came, in ms."""

    def __init__(self) -> None:
        self.late_ms: list[float] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "_Arrivals":
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                found = _LENGTH.search(head)
                body = await reader.readexactly(int(found[1]) if found else 0)
                self.late_ms.append(time.time() * 1000 - received_ms(body))
                writer.write(_ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError, msgspec.DecodeError):
            writer.close()


@contextmanager
def dead_neighbours() -> Iterator[Mapping[str, str]]:
    """The tables of 99 subscribers: half of them refuse connections, half accept and never answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as silent:
        hanging, refusing = silent.getsockname()[1], free_port()
        table = 'url = "http://127.0.0.1:{}/hooks"\ntimeout = "{}s"'
        yield {
            f"dead{number}": table.format((hanging, refusing)[number % 2], TIMEOUT_S) for number in range(NEIGHBOURS)
        }


def measure_late(bench: Bench, row: Row) -> Result:
    """p99 from the request's receipt to the event's arrival, with the neighbours ÷ alone, at a gentle rate."""
    alone, among, store = [], [], ""
    with dead_neighbours() as neighbours:
        for _ in range(bench.effort.rounds):
            late_ms, store = _late_ms(bench, None)
            alone.append(late_ms)
            late_ms, store = _late_ms(bench, neighbours)
            among.append(late_ms)
    return result(
        row,
        [with_them / without for with_them, without in zip(among, alone, strict=True)],
        ours=f"{statistics.median(among):.1f} ms",
        bare=f"{statistics.median(alone):.1f} ms",
        store=store,
        notes=[f"{GENTLE_PER_S:.0f} requests/s; half of the {NEIGHBOURS} refuse, half accept and never answer"],
    )


def _late_ms(bench: Bench, neighbours: Mapping[str, str] | None) -> tuple[float, str]:
    place = bench.place("neighbours")
    with _Arrivals() as arrivals:
        url = f"http://127.0.0.1:{arrivals.port}/hooks"
        with Gateway(place, role="all", cores=bench.cores, sink_url=url, neighbours=neighbours).ready() as gateway:
            log, around = place / "wrk.log", bench.cores.around
            _warm_up(bench, gateway, log)
            arrivals.late_ms.clear()
            sent = send(
                gateway.port,
                bench.requests(),
                window_s=bench.window_s,
                connections=8,
                log=log,
                cores=around,
                rate_per_s=GENTLE_PER_S,
            )
            believable(sent)
            gateway.child.until(
                lambda: len(arrivals.late_ms) >= sent.ok or None, what="arrival of every event", within_s=30
            )
            facts = gateway.facts()
    bench.clear(place)
    return statistics.quantiles(arrivals.late_ms, n=100)[98], about(facts)


def _warm_up(bench: Bench, gateway: Gateway, log: Path) -> None:
    send(
        gateway.port,
        bench.warm_up(),
        window_s=WARM_UP_S,
        connections=8,
        log=log,
        cores=bench.cores.around,
        rate_per_s=GENTLE_PER_S,
    )


def measure_intake(bench: Bench, row: Row) -> Result:
    """Requests a second at full speed, with the neighbours ÷ alone."""
    alone, among, store = [], [], ""
    with dead_neighbours() as neighbours:
        for _ in range(bench.effort.rounds):
            rate, store = _intake(bench, None)
            alone.append(rate)
            rate, store = _intake(bench, neighbours)
            among.append(rate)
    return result(
        row,
        [with_them / without for with_them, without in zip(among, alone, strict=True)],
        ours=f"{statistics.median(among):,.0f}/s",
        bare=f"{statistics.median(alone):,.0f}/s",
        store=store,
        notes=[f"half of the {NEIGHBOURS} refuse, half accept and never answer; alone means no subscriber at all"],
    )


def _intake(bench: Bench, neighbours: Mapping[str, str] | None) -> tuple[float, str]:
    place = bench.place("neighbours")
    with Gateway(place, role="all", cores=bench.cores, neighbours=neighbours).ready() as gateway:
        log, around = place / "wrk.log", bench.cores.around
        _warm_up(bench, gateway, log)
        sent = send(
            gateway.port, bench.requests(), window_s=bench.window_s, connections=CONNECTIONS, log=log, cores=around
        )
        believable(sent)
        facts = gateway.facts()
    bench.clear(place)
    return sent.per_s, about(facts)


LATE = Row(
    "neighbours-p99",
    "a live subscriber's p99 with 99 dead neighbours ÷ alone",
    Budget(2.0, 1.2, less=True),
    measure_late,
)
INTAKE = Row("neighbours-intake", "intake with 99 dead subscribers ÷ with none", Budget(0.9, 0.98), measure_intake)
