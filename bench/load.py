"""The client: distinct requests, signed beforehand, and wrk to send them.

The requests are made with the enviaai adapter's own ``sample`` and ``sign``, one provider event each, so that no two
are duplicates of each other. Files and not memory: wrk reads its slice from the page cache as it goes.
"""

import math
import os
from collections.abc import Collection
from pathlib import Path

import msgspec

from adapters.contract import Source
from adapters.enviaai import ADAPTER
from bench.machine import tool
from bench.process import BenchError, Child

CASE = "message.received"
SOURCE = "bench"
SECRET = b"a-secret-that-signs-nothing-but-benchmarks"

SCRIPT = Path(__file__).with_name("load.lua")

_ANSWERS_S = 20
"""How long the last answers may take. The script ends wrk when they are there; a server that owes one lets it wait."""


class Sent(msgspec.Struct, frozen=True):
    """What one run of the client saw."""

    sent: int
    ok: int
    """Answered 200."""
    not_ok: int
    """Answered otherwise."""
    socket_errors: int
    first_sent_s: float
    """On the monotonic clock, which Python's ``time.monotonic`` reads too."""
    last_answer_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float

    def problem(self) -> str | None:
        """Why this run must not be believed, if anything but 200 came back."""
        unanswered = self.sent - self.ok - self.not_ok
        if not (self.not_ok or unanswered or self.socket_errors) and self.ok:
            return None
        return (
            f"of {self.sent} requests {self.ok} were answered 200, {self.not_ok} answers were not 200,"
            f" {unanswered} requests had no answer, {self.socket_errors} connections failed"
        )

    @property
    def elapsed_s(self) -> float:
        """From the first request sent to the last answer."""
        return self.last_answer_s - self.first_sent_s

    @property
    def per_s(self) -> float:
        """200s a second."""
        return self.ok / self.elapsed_s if self.elapsed_s > 0 else 0.0


class Requests(msgspec.Struct, frozen=True):
    """A slice a thread, in files ``<files>-<thread>.http``."""

    files: Path
    count: int
    threads: int
    body_bytes: int
    """Of one body; all are of about that size."""


def make_requests(files: Path, count: int, *, first_seed: int = 0, threads: int = 1) -> Requests:
    """Write ``count`` distinct signed requests, dealt to ``threads`` slices, and wait until they are on disk."""
    case = next(case for case in ADAPTER.cases if case.startswith(CASE))
    source = Source(name=SOURCE, secrets=(SECRET,))
    body_bytes = 0
    for thread in range(threads):
        path = Path(f"{files}-{thread}.http")
        with path.open("wb") as slice_file:
            for seed in range(first_seed + thread, first_seed + count, threads):
                body = ADAPTER.sample(case, seed)
                record = http_request(body, ADAPTER.sign(body, source, 0))
                slice_file.write(b"%06d%b" % (len(record), record))
                body_bytes = len(body)
            slice_file.flush()
            os.fsync(slice_file.fileno())  # else it is written back while the store's fsyncs are being measured
    return Requests(files, count, threads, body_bytes)


def http_request(body: bytes, headers: dict[str, str]) -> bytes:
    """The bytes of one POST to the benchmark's source."""
    lines = [f"POST /in/{SOURCE} HTTP/1.1", "Host: 127.0.0.1", "User-Agent: bench", "Accept: */*"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


class Run:
    """One run of wrk; use as a context manager, so that it ends with its row."""

    def __init__(
        self,
        port: int,
        requests: Requests,
        *,
        window_s: float,
        connections: int,
        log: Path,
        cores: Collection[int] | None,
        wrap: bool = False,
        rate_per_s: float = 0.0,
    ) -> None:
        """Start sending ``requests`` over ``connections`` for ``window_s`` seconds, or until they are used up.

        ``wrap`` begins them again (only for servers that do not mind duplicates); ``rate_per_s`` > 0 holds that rate
        instead of sending as fast as answers come.
        """
        alone = requests.threads == 1
        self._duration_s = math.ceil(window_s) + (_ANSWERS_S if alone else 1)  # wrk knows whole seconds only
        slots = f"{rate_per_s / requests.threads:.3f}"
        argv = [
            *(tool("wrk"), "-t", str(requests.threads), "-c", str(connections), "-d", f"{self._duration_s}s"),
            *("--timeout", f"{_ANSWERS_S}s", "-s", str(SCRIPT), f"http://127.0.0.1:{port}/in/{SOURCE}", "--"),
            *(
                str(requests.files),
                f"{window_s:.3f}",
                "wrap" if wrap else "once",
                slots,
                "alone" if alone else "together",
            ),
        ]
        self._child = Child(argv, log=log, cores=cores, stop_within_s=2)

    @property
    def running(self) -> bool:
        """Whether wrk has not ended yet."""
        return self._child.process.poll() is None

    def result(self) -> Sent:
        """Wait for its end. Raises ``BenchError`` if wrk failed."""
        output = self._child.finish(within_s=self._duration_s + 30)
        lines = [line for line in output.splitlines() if line.startswith("{")]
        if not lines:
            raise BenchError(f"wrk printed no summary\n{output}")
        return msgspec.json.decode(lines[-1], type=Sent)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close()


def send(
    port: int,
    requests: Requests,
    *,
    window_s: float,
    connections: int,
    log: Path,
    cores: Collection[int] | None,
    wrap: bool = False,
    rate_per_s: float = 0.0,
) -> Sent:
    """A whole ``Run``, waited for. Raises ``BenchError`` if wrk failed."""
    with Run(
        port,
        requests,
        window_s=window_s,
        connections=connections,
        log=log,
        cores=cores,
        wrap=wrap,
        rate_per_s=rate_per_s,
    ) as run:
        return run.result()
