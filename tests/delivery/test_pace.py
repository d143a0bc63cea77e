"""A subscriber's rate: alone, on a clock that only waiting moves; then seen by a real subscriber."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.delivery.pace import Pace
from tests.support.delivering import rig, subscriber, until
from tests.support.servers import Connection, answering, response, serving

OK = response("204 No Content")


class _Loop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer instead of waiting for it."""

    now_s = 1_000.0

    def time(self) -> float:
        return self.now_s

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]  # asyncio's own, told nowhere else
            self.now_s = max(self.now_s, self._scheduled[0].when())  # type: ignore[attr-defined]  # as above
        super()._run_once()  # type: ignore[misc]  # as above


@contextmanager
def clocked() -> Iterator[tuple[asyncio.Runner, _Loop]]:
    """A runner on such a loop."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, _Loop)
        yield runner, loop


def turns(pace: Pace, loop: _Loop, runner: asyncio.Runner, count: int) -> list[float]:
    """When so many turns came, asked for one after the other, in seconds from now."""

    async def run() -> list[float]:
        began, stopped = loop.time(), asyncio.Event()
        found = []
        for _ in range(count):
            assert await pace.turn(stopped)
            found.append(loop.time() - began)
        return found

    return runner.run(run())


def test_without_a_rate_nobody_waits() -> None:
    """A thousand turns at once."""
    with clocked() as (runner, loop):
        pace = Pace(None, monotonic=loop.time)
        assert not pace.is_limited
        assert turns(pace, loop, runner, 1_000)[-1] == 0


@pytest.mark.parametrize("rate_per_s", [0.5, 1.0, 10.0, 50.0, 1_000.0])
def test_over_any_time_no_more_than_the_rate_and_a_second_of_it(rate_per_s: float) -> None:
    """A burst of at most one second's worth, then evenly."""
    with clocked() as (runner, loop):
        found = turns(Pace(rate_per_s, monotonic=loop.time), loop, runner, 200)
        for number, at_s in enumerate(found, 1):
            assert number <= max(1.0, rate_per_s) + at_s * rate_per_s + 1e-6
        waited = max(0.0, (200 - max(1.0, rate_per_s)) / rate_per_s)
        assert found[-1] == pytest.approx(waited, abs=1 / rate_per_s)


def test_slow_rates_have_no_bursts_however_long_nothing_went() -> None:
    """One a minute is one a minute, also after a day without events."""
    with clocked() as (runner, loop):
        pace = Pace(1 / 60, monotonic=loop.time)
        assert turns(pace, loop, runner, 3) == [0, 60, 120]
        loop.now_s += 86_400
        assert turns(pace, loop, runner, 3) == [0, 60, 120]


def test_many_who_wait_at_once_are_served_one_after_the_other() -> None:
    """Thirty workers that ask together do not go together."""
    with clocked() as (runner, loop):
        pace, stopped = Pace(2.0, monotonic=loop.time), asyncio.Event()

        async def one() -> float:
            assert await pace.turn(stopped)
            return loop.time() - 1_000.0

        async def run() -> list[float]:
            return list(await asyncio.gather(*[one() for _ in range(30)]))

        assert sorted(runner.run(run()))[-1] == pytest.approx(14.0)


def test_a_stop_ends_the_wait() -> None:
    """Nobody waits for a turn an hour away while the gateway wants to end."""
    with clocked() as (runner, loop):

        async def run() -> tuple[bool, float]:
            pace, stopped = Pace(1 / 3_600, monotonic=loop.time), asyncio.Event()
            assert await pace.turn(stopped)
            loop.call_later(3, stopped.set)
            return await pace.turn(stopped), loop.time() - 1_000.0

        assert runner.run(run()) == (False, 3.0)


@pytest.mark.alone
def test_a_rate_is_kept_with_retries_and_several_workers(tmp_path: Path) -> None:
    """First attempts and retries together stay under the rate, over any stretch of time; a neighbour does not wait."""

    async def run() -> None:
        at_s: list[float] = []

        async def script(connection: Connection) -> None:
            while True:
                request = await connection.request()
                at_s.append(time.monotonic())
                first = request.headers["gateway-attempt"] == "1"
                await connection.write(response("500 Internal Server Error") if first and len(at_s) % 4 == 0 else OK)

        async with rig(tmp_path) as r, serving(script) as slow, serving(answering(OK)) as other:
            await r.append(70)
            rate = 12.0  # so slow that the neighbour is through long before, on whatever machine
            async with r.delivering(subscriber(slow.port, rate_per_s=rate), subscriber(other.port, "other")):
                await r.settled("other", offered=70)
                assert len(at_s) < 70
                await r.settled("crm", offered=70)
            assert len(at_s) > 70
            # the subscriber's clock sees the requests later than we sent them, each by another little, which is up to a
            # second on a busy machine; two workers that knew nothing of each other would go twice as fast all the time
            for first, begun_s in enumerate(at_s):
                for last in range(first, len(at_s)):
                    assert last - first + 1 <= rate * (2 + at_s[last] - begun_s) + 1
            assert await r.audited() == (0, [])

    asyncio.run(run())


@pytest.mark.alone
def test_a_stop_does_not_wait_for_a_slow_rate(tmp_path: Path) -> None:
    """What has not got its turn stays in the log."""

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(OK)) as server:
            await r.append(20)
            async with r.delivering(subscriber(server.port, rate_per_s=1 / 60)):
                await until(lambda: len(server.requests) == 1)
                stopping_s = time.monotonic()
            assert time.monotonic() - stopping_s < 30, "its turn comes in a minute"
            line = await r.line()
            assert (line.delivered, line.pending) == (1, 19)
            assert await r.audited() == (0, [])

    asyncio.run(run())
