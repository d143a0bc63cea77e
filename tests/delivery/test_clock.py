"""Clocks that jump, a second to a year either way, while events are parked, on the wire, or held by a breaker.

Bounds: no schedule waits longer than a day, so what is due more than 25 h ahead was written before a jump and is due;
what a smaller jump back delays, it delays by itself at most. Leases go by the store's own clock.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.delivery.breaker import Rules
from tests.support.clock import Clock
from tests.support.delivering import Rig, lane_status, rig, subscriber, until
from tests.support.servers import Connection, answering, response, serving

pytestmark = pytest.mark.usefixtures("quick")

OK = response("204 No Content")
HOUR_S, DAY_S, YEAR_S = 3_600.0, 86_400.0, 365 * 86_400.0
JUMPS_S = (1.0, -1.0, HOUR_S, -HOUR_S, 30 * DAY_S, -30 * DAY_S, YEAR_S, -YEAR_S)


@asynccontextmanager
async def clocked(directory: Path) -> AsyncIterator[tuple[Rig, Clock]]:
    """A rig on a clock that stands still."""
    async with rig(directory) as r:
        clock = Clock()
        r.wall_ms, r.monotonic = clock.wall_ms, clock.monotonic
        yield r, clock


async def passing(clock: Clock, step_s: float, most_s: float, done) -> float:  # type: ignore[no-untyped-def]  # any condition
    """Let time pass in steps until ``done``; returns how much it took, and fails beyond ``most_s``."""
    passed_s = 0.0
    while True:
        await asyncio.sleep(0.12)  # two ticks of every lane
        if await done():
            return passed_s
        assert passed_s < most_s, f"not within {most_s} s of the clock"
        clock.advance(step_s)
        passed_s += step_s


@pytest.mark.parametrize("jump_s", JUMPS_S)
def test_a_parked_event_is_delivered_in_time_whatever_the_clock_does(tmp_path: Path, jump_s: float) -> None:
    """It waits for its ten minutes, and for a small jump back, but never for a year; nobody loses the lease by it."""

    async def run() -> None:
        broken = True

        async def script(connection: Connection) -> None:
            while True:
                await connection.request()
                await connection.write(response("500 Internal Server Error") if broken else OK)

        async with clocked(tmp_path) as (r, clock), serving(script) as server:
            await r.append(3)
            async with r.delivering(subscriber(server.port, retry_s=(600.0,) * 3)) as dispatcher:
                keys = r.keys.subscriber("crm")

                async def parked() -> bool:
                    return bool(await r.store.call("HLEN", keys.parked) == 3)

                await until(parked)
                epoch = await r.store.call("HGET", r.keys.state, "epoch")
                broken = False
                clock.jump(jump_s)
                await asyncio.sleep(0.4)  # the lane looks at everything anew once in a while

                async def delivered() -> bool:
                    return (await r.line()).delivered == 3

                small_s = -jump_s if -DAY_S < jump_s < 0 else 0.0
                took_s = await passing(clock, 200.0, 600 + small_s + 400, delivered)
                if jump_s >= 600 or jump_s < -DAY_S:
                    assert took_s == 0, "it is due at once"
                else:
                    assert took_s >= 600 - max(0.0, jump_s) - 200
                assert dispatcher.holds
                assert await r.store.call("HGET", r.keys.state, "epoch") == epoch
                await r.append(20, first=100)
                await r.settled(offered=23)
            assert len(server.requests) == 26, "three failed, and no event came twice"
            assert await r.audited() == (0, [])

    asyncio.run(run())


@pytest.mark.parametrize("jump_s", JUMPS_S)
def test_an_open_breaker_probes_in_time_whatever_the_clock_does(tmp_path: Path, jump_s: float) -> None:
    """The next probe comes within the longest wait and a jump smaller than that, and then everything drains."""

    async def run() -> None:
        broken = True

        async def script(connection: Connection) -> None:
            while True:
                await connection.request()
                await connection.write(response("503 Service Unavailable") if broken else OK)

        async with clocked(tmp_path) as (r, clock), serving(script) as server:
            r.breaker_rules = Rules(trip_failures=3, first_wait_s=120, longest_wait_s=300)
            await r.append(30)
            async with r.delivering(subscriber(server.port, concurrency=1, retry_s=(5.0,) * 9)) as dispatcher:
                await until(lambda: dispatcher.holds and lane_status(dispatcher)["breaker"]["open"])
                broken = False
                clock.jump(jump_s)

                async def closed() -> bool:
                    return not lane_status(dispatcher)["breaker"]["open"]

                took_s = await passing(clock, 60.0, 3 * 300 + 120, closed)
                assert took_s <= 120 + (-jump_s if -900 < jump_s < 0 else 0) + 60

                async def drained() -> bool:
                    return (await r.line()).delivered == 30

                await passing(clock, 600.0, 2 * HOUR_S, drained)
            assert await r.audited() == (0, [])

    asyncio.run(run())


@pytest.mark.parametrize("jump_s", [DAY_S, -2 * DAY_S, YEAR_S, -YEAR_S])
def test_an_attempt_on_the_wire_is_not_made_twice_when_the_clock_jumps(tmp_path: Path, jump_s: float) -> None:
    """Parked as in flight it looks overdue after the jump; as long as its attempt runs nobody takes it."""

    async def run() -> None:
        answer = asyncio.Event()

        async def script(connection: Connection) -> None:
            while True:
                await connection.request()
                await answer.wait()
                await connection.write(OK)

        async with clocked(tmp_path) as (r, clock), serving(script) as server:
            await r.append(2, key="a")
            async with r.delivering(subscriber(server.port, timeout_s=20, order="key")):
                keys = r.keys.subscriber("crm")
                await until(lambda: len(server.requests) == 1)
                clock.advance(2)

                async def in_flight() -> bool:
                    return bool(await r.store.call("HLEN", keys.parked) == 1)

                await until(in_flight)
                clock.jump(jump_s)
                await asyncio.sleep(0.5)  # ten ticks, in which nothing may be sent
                assert len(server.requests) == 1
                answer.set()
                await r.settled(offered=2)
            assert len(server.requests) == 2
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_a_clock_that_jumps_to_and_fro_all_the_time_loses_nothing(tmp_path: Path) -> None:
    """Jumps of all sizes while events fail, are parked and come back: everything arrives once."""

    async def run() -> None:
        tried = set[str]()

        async def script(connection: Connection) -> None:
            while True:
                event = (await connection.request()).headers["webhook-id"]
                await connection.write(OK if event in tried else response("500 Internal Server Error"))
                tried.add(event)

        async with clocked(tmp_path) as (r, clock), serving(script) as server, serving(answering(OK)) as other:
            slow = subscriber(server.port, retry_s=(30.0,) * 9, order="key")
            async with r.delivering(slow, subscriber(other.port, "other")):
                for number, jump_s in enumerate((*JUMPS_S, *JUMPS_S[::-1])):
                    await r.append(5, key=str(number % 3), first=10 * number)
                    clock.jump(jump_s)
                    clock.advance(3)
                    await asyncio.sleep(0.02)

                async def drained() -> bool:
                    return (await r.line()).delivered == 80

                await passing(clock, 20.0, 2 * DAY_S, drained)
                await r.settled("other", offered=80)
            assert len(server.requests) == 160
            assert len(other.requests) == 80
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_a_good_neighbour_hears_nothing_of_a_jump(tmp_path: Path) -> None:
    """Deliveries that do not wait for anything go on at once, signed with the time that the clock shows."""

    async def run() -> None:
        async with clocked(tmp_path) as (r, clock), serving(answering(OK)) as server:
            async with r.delivering(subscriber(server.port)):
                for number, jump_s in enumerate(JUMPS_S):
                    clock.jump(jump_s)
                    await r.append(2, first=10 * number)
                    await r.settled(offered=2 * number + 2)
                    assert server.requests[-1].headers["webhook-timestamp"] == str(clock.wall_ms() // 1000)
            assert len(server.requests) == 2 * len(JUMPS_S)
            assert await r.audited() == (0, [])

    asyncio.run(run())
