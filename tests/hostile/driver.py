"""Sends, and looks at the gateway all the while: its answers, its life, its log, its memory, its account."""

import asyncio
import contextlib
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec

from tests.forgeries.endpoint import config, environment
from tests.forgeries.genuine import rsa_keys
from tests.hostile.messages import HIDDEN, HIDDEN_SOURCE, OPEN, Maker, Message, digest
from tests.support.gateways import GatewayProcess, gateway

AT_ONCE = 16
HONEST_EVERY = 100
QUIET_S = 0.15
"""After an answer, or without one, so much silence is the end of it."""
ANSWER_S = 20.0
"""How long a request that must be answered is waited for."""
MEMORY_BYTES = 50 * 1024 * 1024
ALLOWED_5XX = (501, 503, 505)
"""A method and a version that nobody knows, said of the request and not of us; and overload, by design."""
WARM = 0.1
"""So much of a run goes by before its memory is first looked at."""
EXAMPLES = 8

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_DEFECTS = ("Traceback", "intake.defect", "Exception in", "never awaited", "exc_info", "RuntimeWarning")

CONFIG = f"""
[sources.{HIDDEN}]
adapter = "enviaai"
secrets = ["env:HIDDEN"]
[sources.{OPEN}]
adapter = "generic_chat"
unauthenticated = true
"""


class Report(msgspec.Struct, kw_only=True):
    """What a run saw."""

    sent: Counter[str] = msgspec.field(default_factory=Counter)
    """By kind."""
    answers: Counter[int] = msgspec.field(default_factory=Counter)
    """By status; 0: the connection ended without an answer, or stayed silent."""
    server_errors: int = 0
    unexpected: int = 0
    """Requests that had to be answered in one way and were answered in another."""
    honest: int = 0
    honest_refused: int = 0
    smuggled: int = 0
    deaths: int = 0
    defects: int = 0
    unaccounted: int = 0
    growth_bytes: int = 0
    took_s: float = 0.0
    examples: list[str] = msgspec.field(default_factory=list)

    def wrong(self) -> list[str]:
        """What is wrong, by the names of these fields."""
        names = ("server_errors", "unexpected", "honest_refused", "smuggled", "deaths", "defects", "unaccounted")
        found = [name for name in names if getattr(self, name)]
        found += ["growth_bytes"] if self.growth_bytes >= MEMORY_BYTES else []
        return found + ([] if self.sent and self.honest else ["honest"])

    def note(self, what: str) -> None:
        """Keep an example."""
        if len(self.examples) < EXAMPLES:
            self.examples.append(what)


class Driver:
    """Sends hostile requests to one gateway."""

    def __init__(self, running: GatewayProcess, maker: Maker, report: Report) -> None:
        self._running = running
        self._maker = maker
        self.report = report
        self._left = 0

    async def send(self, count: int) -> None:
        """So many hostile requests, with honest ones among them."""
        self._left = count
        await asyncio.gather(*[self._sender() for _ in range(AT_ONCE)])

    async def _sender(self) -> None:
        while self._left > 0:
            self._left -= 1
            if self._left % HONEST_EVERY == 0:
                await self._honest()
            await self.judge(self._maker.message(_now_ms()))

    async def _honest(self) -> None:
        answers = statuses(await self.ask(self._maker.honest(_now_ms())))
        self.report.honest += 1
        if answers != [200]:
            self.report.honest_refused += 1
            self.report.note(f"honest: answered {answers}")

    async def judge(self, message: Message) -> None:
        """Send one and look at its answers."""
        report, answer = self.report, await self.ask(message)
        found = statuses(answer)
        report.sent[message.kind] += 1
        report.answers.update(found or [0])
        name = f"{message.kind} ({digest(message.wire)})"
        if any(status >= 500 and status not in ALLOWED_5XX for status in found):
            report.server_errors += 1
            report.note(f"{name}: answered {found}: {message.wire[:300]!r}")
        if message.allowed is not None and not (len(found) == 1 and found[0] in message.allowed | {503}):
            report.unexpected += 1
            report.note(f"{name}: answered {found}: {message.wire[-300:]!r}")

    async def ask(self, message: Message) -> bytes:
        """All that comes back until the gateway ends the connection, or has been silent for a while."""
        waits_s = QUIET_S if message.allowed is None else ANSWER_S
        answer = b""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._running.port)
        except OSError as error:
            self.report.note(f"{message.kind}: no connection: {error}")
            return answer
        try:
            writer.write(message.wire)
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(ANSWER_S):
                    await writer.drain()
                while True:
                    async with asyncio.timeout(waits_s):
                        data = await reader.read(65_536)
                    if not data:
                        break
                    answer += data
        except ConnectionError:
            pass  # what came before counts
        finally:
            writer.transport.abort()
        return answer

    def look(self) -> None:
        """At the end: does it live, what did it log, what did it count."""
        report, process = self.report, self._running.process
        if process is None or process.poll() is not None:
            report.deaths += 1
            report.note(f"it ended: {self._running.words()[-500:]}")
            return
        words = self._running.words()
        for line in words.splitlines():
            if any(word in line for word in _DEFECTS):
                report.defects += 1
                report.note(f"logged: {line[:300]}")
        asyncio.run(self._honest())  # what was counted before is in the account once this one is answered
        report.smuggled = hidden_requests(self._running)
        for event_id in hidden(self._running):
            report.note(f"taken, and was hidden in: {self._maker.hiding.get(event_id, event_id)}")
        report.unaccounted = int(self._running.ledger()["unaccounted"])


def statuses(answer: bytes) -> list[int]:
    """The statuses of all answers on a connection. A 100 is none."""
    return [status for found in _STATUS.findall(answer) if (status := int(found)) != 100]


def hidden(running: GatewayProcess) -> list[str]:
    """The events of requests that were hidden in others."""
    return [item["id"] for item in _asked(running, "/api/events", source=HIDDEN, limit="1000")["items"]]


def hidden_requests(running: GatewayProcess) -> int:
    """How many requests were counted at the source that nobody sends to, whatever became of them."""
    sources = _asked(running, "/api/status")["sources"]
    (counted,) = [each["account"]["requests"] for each in sources if each["name"] == HIDDEN]
    return sum(counted[outcome] for outcome in ("accepted", "ignored", "quarantined", "rejected"))


def _asked(running: GatewayProcess, path: str, **questions: str) -> Any:
    token = (running.folder / "data" / "admin_token").read_text("utf-8").strip()
    headers = {"authorization": f"Bearer {token}"}
    answer = httpx.get(f"{running.url}{path}", params=questions, headers=headers, timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.json()


def memory_bytes(running: GatewayProcess) -> int:
    """What the gateway holds in memory now."""
    assert running.process is not None
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@contextlib.contextmanager
def serving(more: str = "", log_level: str = "warning") -> Iterator[GatewayProcess]:
    """A gateway of our own, which is gone afterwards. ``more``: further lines of its configuration."""
    with tempfile.TemporaryDirectory(prefix="gateway-hostile-") as name:
        folder = Path(name)
        (folder / "flex.pem").write_bytes(rsa_keys("flexengage").public)
        (folder / "gateway.toml").write_text(config(log_level) + CONFIG + more)
        with gateway(folder, {**environment(), "HIDDEN": HIDDEN_SOURCE.secrets[0].decode()}) as running:
            yield running


def run(requests: int, seed: int, say: Callable[[str], None]) -> Report:
    """Send so many; what was seen."""
    report, started_s = Report(), time.monotonic()
    with serving() as running:
        driver = Driver(running, Maker(seed), report)
        warm = max(1, int(requests * WARM))
        asyncio.run(driver.send(warm))
        first_bytes = memory_bytes(running)
        step = max(1, (requests - warm + 9) // 10)
        for done in range(warm, requests, step):
            asyncio.run(driver.send(min(step, requests - done)))
            process = running.process
            if process is None or process.poll() is not None:
                break
            report.growth_bytes = memory_bytes(running) - first_bytes
            say(f"{min(done + step, requests):,} of {requests:,}; {report.growth_bytes / 2**20:+.1f} MiB")
        driver.look()
    report.took_s = time.monotonic() - started_s
    return report
