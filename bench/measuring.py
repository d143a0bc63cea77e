"""What every row shares: how long to measure, the requests, the bare server, a backlog, and the form of a result."""

import shutil
import statistics
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from bench.belief import RefusedError, about, believable, check
from bench.load import Requests, Sent, make_requests, send
from bench.machine import Cores
from bench.process import BenchError, Child
from bench.subject import Gateway

CONNECTIONS = 256
"""Connections of the client where it sends as fast as answers come; more only make the queue longer."""


class Effort(msgspec.Struct, frozen=True):
    """How much is measured."""

    rounds: int
    """Alternations of bare and ours; the median round speaks."""
    window_s: float
    """Length of one measured run."""
    backlog: int
    """Events to deliver from a backlog."""
    starts: int
    """How many times the gateway is started for the start-up row."""
    fsyncs: int
    """How many fsyncs are timed."""
    parked: int = 1_000_000
    """Events parked for the row about them."""


FULL = Effort(rounds=3, window_s=4.0, backlog=100_000, starts=5, fsyncs=500)
QUICK = Effort(rounds=1, window_s=1.5, backlog=20_000, starts=2, fsyncs=200, parked=50_000)

MOST_PER_S = 50_000
"""More requests a second than a gateway process has ever taken: so many are signed for each second of a run."""


class Budget(msgspec.Struct, frozen=True):
    """What a row must reach. ``less`` is better, or more is."""

    floor: float
    aim: float
    unit: str = ""
    less: bool = False


Verdict = Literal["aim reached", "floor held", "MISSED", "REFUSED", "NOISY", "shown"]


class Result(msgspec.Struct, kw_only=True):
    """One row, measured."""

    row: str
    title: str
    ours: str
    """What the gateway did, with its unit."""
    bare: str
    """What it is compared with, in the same run."""
    value: float | None
    rounds: list[float]
    floor: float
    aim: float
    unit: str
    verdict: Verdict
    store: str
    """Version and live ``appendfsync``."""
    notes: list[str]


class Row(msgspec.Struct, frozen=True):
    """One budget and how to measure it."""

    name: str
    title: str
    budget: Budget
    measure: "Callable[[Bench, Row], Result]"
    timed: bool = True
    """Whether it moves when others use the machine; bytes do not."""


def judge(value: float, budget: Budget) -> Verdict:
    """Whether the aim is reached, the floor at least, or neither."""
    sign = -1 if budget.less else 1
    if sign * value >= sign * budget.aim:
        return "aim reached"
    return "floor held" if sign * value >= sign * budget.floor else "MISSED"


def result(
    row: Row,
    rounds: Sequence[float],
    *,
    ours: str,
    bare: str,
    store: str,
    notes: Sequence[str] = (),
    judged: bool = True,
) -> Result:
    """The median of ``rounds`` against the row's budget; ``judged`` is off where the budget speaks of another size."""
    value = statistics.median(rounds)
    return Result(
        row=row.name,
        title=row.title,
        ours=ours,
        bare=bare,
        value=value,
        rounds=list(rounds),
        floor=row.budget.floor,
        aim=row.budget.aim,
        unit=row.budget.unit,
        verdict=judge(value, row.budget) if judged else "shown",
        store=store,
        notes=list(notes),
    )


def refused(row: Row, why: str, store: str = "") -> Result:
    """The row without a number, and why."""
    return Result(
        row=row.name,
        title=row.title,
        ours="",
        bare="",
        value=None,
        rounds=[],
        floor=row.budget.floor,
        aim=row.budget.aim,
        unit=row.budget.unit,
        verdict="REFUSED",
        store=store,
        notes=[why],
    )


class Bare(msgspec.Struct, frozen=True):
    """The bare server, running."""

    port: int
    pid: int


class Backlog(msgspec.Struct, frozen=True):
    """A store that holds events nobody has read."""

    directory: Path
    """``directory/data`` is the store; copied for each use."""
    count: int
    body: bytes
    """What a subscriber is sent for one of them, about."""
    own_bytes: int
    """Bytes of all events and their raw."""
    store_bytes: int
    """Memory of the store, beyond what it had when empty."""


class Bench:
    """One run of the benchmark: its directory, its cores, and what is made once for all rows."""

    def __init__(self, directory: Path, cores: Cores, effort: Effort, say: Callable[[str], None] | None = None) -> None:
        self.directory = directory
        self.cores = cores
        self.effort = effort
        self.say = say or (lambda line: print(line, file=sys.stderr, flush=True))
        self.top_per_s: float | None = None
        """The gateway's rate in the intake row, once measured."""
        self._requests: Requests | None = None
        self._warm_up: Requests | None = None
        self._more_requests: Requests | None = None
        self._backlogs: dict[int, Backlog] = {}
        self._names = 0

    @property
    def window_s(self) -> float:
        """How long a measured run sends."""
        return self.effort.window_s

    @property
    def warm_up_s(self) -> float:
        """How long a server is warmed up before it is measured."""
        return min(0.5, self.effort.window_s)

    def place(self, name: str) -> Path:
        """A directory that nothing has used."""
        self._names += 1
        path = self.directory / f"{self._names:03d}-{name}"
        path.mkdir()
        return path

    def requests(self) -> Requests:
        """Distinct signed requests for the longest run; every round has a fresh store and begins with the first."""
        if self._requests is None:
            count = round(MOST_PER_S * self.window_s)
            self.say(f"signing {count} requests")
            self._requests = make_requests(self.directory / "load", count)
        return self._requests

    def warm_up(self) -> Requests:
        """Other requests, for ``warm_up_s``."""
        if self._warm_up is None:
            count = round(MOST_PER_S * self.warm_up_s)
            self._warm_up = make_requests(self.directory / "warm", count, first_seed=10_000_000)
        return self._warm_up

    def more_requests(self) -> Requests:
        """As many as ``requests``, and other ones."""
        if self._more_requests is None:
            count = round(MOST_PER_S * self.window_s)
            self._more_requests = make_requests(self.directory / "more", count, first_seed=40_000_000)
        return self._more_requests

    @contextmanager
    def bare(self, cores: Collection[int] | None) -> Iterator["Bare"]:
        """The bare server, warmed up."""
        place = self.place("bare")
        with Child([sys.executable, "-m", "bench.bare"], log=place / "bare.log", cores=cores, stop_within_s=5) as child:
            port = child.until(lambda: _first_number(child.output()), what="port", within_s=15)
            around = None if cores is None else self.cores.around
            send(
                port,
                self.warm_up(),
                window_s=self.warm_up_s,
                connections=64,
                log=place / "wrk.log",
                cores=around,
                wrap=True,
            )
            yield Bare(port, child.pid)

    def bare_rate(self, port: int, *, connections: int = CONNECTIONS, cores: Collection[int] | None) -> Sent:
        """What the bare server does now. Raises ``RefusedError``."""
        log = self.directory / "bare-wrk.log"
        sent = send(
            port, self.requests(), window_s=self.window_s, connections=connections, log=log, cores=cores, wrap=True
        )
        return believable(sent)

    def backlog(self, count: int) -> Backlog:
        """A store with ``count`` unread events, made once a run. Raises ``RefusedError``."""
        if count not in self._backlogs:
            self._backlogs[count] = self._fill(count)
        return self._backlogs[count]

    def _fill(self, count: int) -> Backlog:
        self.say(f"filling a log with {count} events")
        place = self.place("backlog")
        requests = make_requests(place / "load", count, first_seed=20_000_000)
        with Gateway(place, role="intake", cores=self.cores).ready() as gateway:
            empty = gateway.facts()
            sent = send(
                gateway.port,
                requests,
                window_s=10 + count / 2_000,  # far longer than it takes: it ends with the last request
                connections=CONNECTIONS,
                log=place / "wrk.log",
                cores=self.cores.around,
            )
            facts = gateway.facts()
            check([sent], facts)
            if sent.ok != count:
                raise RefusedError(f"of {count} events only {sent.ok} came into the log in time")
            entries = gateway.first_entries(1_000)
        Path(f"{requests.files}-0.http").unlink()
        return Backlog(
            directory=place,
            count=count,
            body=entries[0][0][:-1] + b',"raw":' + entries[0][1] + b"}",
            own_bytes=round(statistics.mean(len(event) + len(raw) for event, raw in entries) * count),
            store_bytes=facts.memory_bytes - empty.memory_bytes,
        )

    def copy(self, backlog: Backlog, name: str) -> Path:
        """A place with a copy of the backlog's store."""
        place = self.place(name)
        shutil.copytree(backlog.directory / "data", place / "data", ignore=shutil.ignore_patterns("*.sock"))
        return place

    def clear(self, place: Path) -> None:
        """Give the disk back what a round used."""
        shutil.rmtree(place, ignore_errors=True)


def per_s(rate: float) -> str:
    """A rate for people."""
    return f"{rate:,.0f}/s"


def _first_number(text: str) -> int | None:
    line = text.partition("\n")[0]
    return int(line) if line.isdecimal() and "\n" in text else None


__all__ = [
    "FULL",
    "QUICK",
    "Backlog",
    "Bench",
    "BenchError",
    "Budget",
    "Effort",
    "RefusedError",
    "Result",
    "Row",
    "about",
    "believable",
    "check",
    "judge",
    "per_s",
    "refused",
    "result",
]
