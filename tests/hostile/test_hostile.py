"""The hostile requests, short; and that each kind of harm is noticed.

A long run, with its result: ``tests/hostile/__init__.py``.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from tests.hostile.bodies import VALUES, anywhere
from tests.hostile.driver import MEMORY_BYTES, Driver, Report, hidden, serving, statuses
from tests.hostile.framing import mutate, smuggle
from tests.hostile.messages import HIDDEN, HIDDEN_SOURCE, OPEN, Maker, Message, post
from tests.support.gateways import GatewayProcess

BROKEN = """
from adapters.enviaai import ADAPTER as GOOD
import msgspec
def verify(request, source, keys, now_ms):
    raise RuntimeError("a defect of this adapter")
ADAPTER = msgspec.structs.replace(GOOD, name="broken", verify=verify)
"""


@pytest.fixture(scope="module")
def running() -> Iterator[GatewayProcess]:
    """A gateway for the tests that do not end it."""
    with serving() as started:
        yield started


def test_no_hostile_request_does_harm(running: GatewayProcess) -> None:
    """Some hundreds of every kind: no server's error, no defect, nothing smuggled, honest requests are answered."""
    report = Report()
    driver = Driver(running, Maker(7), report)
    asyncio.run(driver.send(300))
    driver.look()
    assert report.wrong() == [], report.examples
    assert report.sent.total() == 300
    assert {kind.partition(":")[0] for kind in report.sent} == {"smuggled", "mutated", "odd head", "body", "words"}
    assert report.honest == 4


def test_every_body_is_answered_and_none_is_an_error(running: GatewayProcess) -> None:
    """Each of our JSON bodies alone, authentic: 200; at the source that proves nothing: 200 or 400."""
    report = Report()
    driver, adapter = Driver(running, Maker(1), report), Maker(1).enviaai
    source = msgspec.structs.replace(HIDDEN_SOURCE, name="enviaai", secrets=(b"whs_newest_of_two",))

    async def send() -> None:
        for body in VALUES:
            headers = adapter.sign(body, source, 0)
            await driver.judge(Message("authentic", post("enviaai", body, headers), frozenset({200})))
            await driver.judge(Message("open", post(OPEN, body, {}), frozenset({200, 400})))

    asyncio.run(send())
    driver.look()
    assert report.server_errors == report.unexpected == report.defects == 0, report.examples
    assert set(report.answers) == {200, 400}
    assert len(VALUES) > 120


def test_a_smuggled_request_a_defect_and_a_death_are_noticed(tmp_path: Path) -> None:
    """The controls: of two requests on one connection the second is found, as if it had been hidden; an adapter that
    raises where it must not is answered 503, and its line in the log is found; and so is the end of the process."""
    (tmp_path / "broken.py").write_text(BROKEN)
    with serving(f'[sources.bad]\nadapter = "{tmp_path / "broken.py"}"\nsecrets = ["env:HIDDEN"]\n') as running:
        report, maker = Report(), Maker(3)
        driver = Driver(running, maker, report)
        event_id, request = maker.hidden()
        maker.hiding[event_id] = "behind another"
        asyncio.run(driver.judge(Message("pipelined", b"POST /in/nobody HTTP/1.1\r\nhost: test\r\n\r\n" + request)))
        driver.look()
        assert report.smuggled == 1
        assert report.defects == 0
        assert report.examples == ["taken, and was hidden in: behind another"]
        assert hidden(running) == [event_id]
        forged = request.replace(b"sha256=", b"sha256=0", 1)
        asyncio.run(driver.judge(Message("pipelined", b"POST /in/nobody HTTP/1.1\r\nhost: test\r\n\r\n" + forged)))
        driver.look()
        assert report.smuggled == 2  # refused, and a request all the same
        asyncio.run(driver.judge(Message("body", post("bad", b"{}", {}), frozenset({200}))))
        driver.look()
        assert report.answers[503] == 1
        assert report.defects > 0
        assert running.process is not None
        running.process.kill()
        running.process.wait()
        driver.look()
        assert report.deaths == 1
        assert {"smuggled", "defects", "deaths"} <= set(report.wrong())


class Fixed:
    """A server that answers every request in one way."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        await reader.read(65_536)
        writer.write(self.answer)
        await writer.drain()
        writer.close()


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\n", ["server_errors", "unexpected", "honest_refused"]),
        (b"HTTP/1.1 503 Unavailable\r\n\r\n", ["honest_refused"]),
        (b"HTTP/1.1 401 No\r\n\r\n", ["unexpected", "honest_refused"]),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", ["unexpected", "honest_refused"]),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 502 Bad\r\n\r\n", ["server_errors", "unexpected", "honest_refused"]),
        (b"", ["unexpected", "honest_refused"]),
        (b"HTTP/1.1 200 OK\r\n\r\n", []),
    ],
)
def test_a_wrong_answer_is_noticed(answer: bytes, wrong: list[str]) -> None:
    """A server that fails, refuses all, answers twice, or not at all is found; one that answers 200 is not."""

    async def run() -> Report:
        fixed = Fixed(answer)
        async with await asyncio.start_server(fixed.serve, "127.0.0.1", 0) as server:
            fixed.port = server.sockets[0].getsockname()[1]
            report = Report()
            await Driver(fixed, Maker(5), report).send(100)  # type: ignore[arg-type]  # as much of a gateway as it asks
            return report

    assert asyncio.run(run()).wrong() == wrong


@pytest.mark.parametrize("field", ["smuggled", "deaths", "defects", "unaccounted", "growth_bytes"])
def test_each_harm_makes_a_run_wrong(field: str) -> None:
    """One number is not what it must be, and the run says which."""
    good: dict[str, Any] = {"sent": Counter(x=1), "honest": 1}
    assert Report(**good).wrong() == []
    assert Report(**{**good, field: MEMORY_BYTES}).wrong() == [field]
    assert Report().wrong() == ["honest"]


def test_the_seed_decides_what_is_sent() -> None:
    """The same seed makes the same requests; every way to hide one hides it whole."""
    first, again = Maker(9), Maker(9)
    assert [first.message(0) for _ in range(50)] == [again.message(0) for _ in range(50)]
    assert first.message(0) != Maker(10).message(0)
    event_id, request = first.hidden()
    assert event_id.startswith("evt_")
    assert f"/in/{HIDDEN} ".encode() in request
    whole = [smuggle(b"/in/x", request, Random(seed)) for seed in range(300)]
    assert len({what for what, _ in whole}) > 30
    assert sum(request in wire for _, wire in whole) > 150
    assert mutate(request, Random(1)) != request
    assert len({anywhere(b'{"a":1,"b":2}', Random(seed)) for seed in range(200)}) > 100


def test_only_answers_count_as_answers() -> None:
    """A 100 is none, and what stands in a body is none either unless it looks like one."""
    assert statuses(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n") == [200]
    assert statuses(b"") == []
