"""``max_lag``: what one subscriber may hold back, by age and by bytes, and what happens to the rest."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from gateway.age_clock import AgeClock
from gateway.delivery import dispatcher as dispatcher_module
from gateway.delivery.breaker import Rules
from gateway.store.control import Control
from gateway.store.dead_letters import DeadLetters
from gateway.store.ledger import read_account
from gateway.store.parked import SubscriberStore
from tests.support.clock import Clock
from tests.support.delivering import Rig, numbers, rig, subscriber, until
from tests.support.servers import Connection, answering, refusing, response, serving

OK = response("204 No Content")
YEAR_S = 365 * 86_400.0


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    """The lag is looked at ten times a second, parked events every other time."""
    monkeypatch.setattr(dispatcher_module, "LAG_S", 0.1)
    monkeypatch.setattr(dispatcher_module, "PARKED_LAG_TURNS", 2)


@asynccontextmanager
async def clocked(directory: Path) -> AsyncIterator[tuple[Rig, Clock]]:
    """A rig on a clock that stands at 12:01:00; the rig's event number n was received at 12:00:n."""
    async with rig(directory) as r:
        clock = Clock()
        r.wall_ms, r.monotonic = clock.wall_ms, clock.monotonic
        yield r, clock


async def paused(r: Rig, name: str = "crm") -> Control:
    """Give a subscriber its cursor and pause it."""
    control = Control(r.store, [r.keys], name)
    store = SubscriberStore(r.store, r.keys, name)
    await store.subscribe(0, r.wall_ms())
    await control.pause("a test says so")
    return control


async def discarded(r: Rig, count: int) -> None:
    """Wait until exactly so many are discarded, and see that it stays so for a few looks."""

    async def done() -> bool:
        return (await r.line()).discarded >= count

    await until(done)
    await asyncio.sleep(0.3)  # three looks at the lag that must change nothing
    assert (await r.line()).discarded == count


def test_what_is_older_than_max_lag_is_discarded_and_the_rest_arrives(tmp_path: Path) -> None:
    """A paused subscriber's old events are given up, counted, and not sent later; its neighbour gets all of them."""

    async def run() -> None:
        async with clocked(tmp_path) as (r, _), serving(answering(OK)) as server, serving(answering(OK)) as other:
            control = await paused(r)
            await r.append(60)
            async with r.delivering(subscriber(server.port, max_lag_s=30), subscriber(other.port, "other")):
                await discarded(r, 30)  # numbers 0 to 29, received more than 30 s ago
                line = await r.line()
                assert (line.pending, line.unaccounted) == (30, 0)
                await control.resume()
                await r.settled("crm", "other", offered=60)
            line = await r.line()
            assert (line.delivered, line.discarded) == (30, 30)
            assert sorted(numbers([request.body for request in server.requests])) == list(range(30, 60))
            assert (await r.line("other")).delivered == 60
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_within_max_lag_nothing_is_discarded(tmp_path: Path) -> None:
    """The same, a little less late: everything waits, and everything arrives."""

    async def run() -> None:
        async with clocked(tmp_path) as (r, clock), serving(answering(OK)) as server:
            control = await paused(r)
            await r.append(60)
            async with r.delivering(subscriber(server.port, max_lag_s=61)):
                await asyncio.sleep(0.5)
                assert (await r.line()).pending == 60
                clock.advance(11)
                await discarded(r, 10)
                await control.resume()
                await r.settled(offered=60)
            assert (await r.line()).delivered == 50
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_nobody_holds_back_more_bytes_than_allowed(tmp_path: Path) -> None:
    """Of a subscriber too far behind only the newest events are kept, however young the others are."""

    async def run() -> None:
        async with clocked(tmp_path) as (r, _), serving(answering(OK)) as server, serving(answering(OK)) as other:
            control = await paused(r)
            await r.append(50, first=10)
            extent = await r.log.extent()
            r.most_lag_bytes = 20 * extent.log_bytes // 50
            async with r.delivering(subscriber(server.port), subscriber(other.port, "other")):
                await discarded(r, 30)
                await r.append(5, first=60)  # numbers of two digits, all of one size
                await discarded(r, 35)
                await control.resume()
                await r.settled("crm", "other", offered=55)
            arrived = numbers([request.body for request in server.requests])
            assert sorted(arrived) == list(range(45, 65))
            assert (await r.line("other")).delivered == 55
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_parked_events_within_max_lag_are_kept_however_often_the_lag_is_looked_at(tmp_path: Path) -> None:
    """Once every look at parked events discarded all up to the cursor: no retry later than a minute ever came."""

    async def run() -> None:
        broken = True

        async def script(connection: Connection) -> None:
            while True:
                await connection.request()
                await connection.write(response("500 Internal Server Error") if broken else OK)

        async with clocked(tmp_path) as (r, clock), serving(script) as server:
            await r.append(5, key="a", first=40)
            await r.append(5, first=50)
            settings = subscriber(server.port, max_lag_s=1_000, order="key", retry_s=(600.0,) * 5)
            async with r.delivering(settings):
                keys = r.keys.subscriber("crm")

                async def all_parked() -> bool:
                    return bool(await r.store.call("HLEN", keys.parked) == 6)  # four are held behind one of them

                await until(all_parked)
                await asyncio.sleep(0.6)  # three looks at parked events
                line = await r.line()
                assert (line.discarded, line.pending) == (0, 10)
                broken = False
                clock.advance(700)
                await r.settled(offered=10)
            line = await r.line()
            assert (line.delivered, line.discarded) == (10, 0)
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_parked_events_beyond_max_lag_are_dropped_and_their_keys_go_on(tmp_path: Path) -> None:
    """A parked event holds its followers no longer than ``max_lag``; what is young enough is delivered in order."""

    async def run() -> None:
        async def script(connection: Connection) -> None:
            while True:
                old = msgspec.json.decode((await connection.request()).body)["number"] < 20
                await connection.write(response("500 Internal Server Error") if old else OK)

        async with clocked(tmp_path) as (r, clock), serving(script) as server:
            for number in (0, 5, 10, 40, 50):
                await r.append(1, key=None if number == 5 else "a", first=number)
            settings = subscriber(server.port, max_lag_s=70, order="key", retry_s=(3_600.0,) * 5)
            async with r.delivering(settings):

                async def held() -> bool:
                    keys = r.keys.subscriber("crm")
                    return [await r.store.call("HLEN", each) for each in (keys.parked, keys.held)] == [2, 3]

                await until(held)
                assert (await r.line()).discarded == 0
                clock.advance(30)  # now 12:01:30: what was received before 12:00:20 is beyond it
                await r.settled(offered=5)
            line = await r.line()
            assert (line.delivered, line.discarded, line.dead) == (2, 3, 0)
            assert numbers([request.body for request in server.requests])[-2:] == [40, 50]
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_what_an_open_breaker_holds_in_hand_is_discarded_too(tmp_path: Path) -> None:
    """Events that were read before the breaker opened are no exception."""

    async def run() -> None:
        async with clocked(tmp_path) as (r, _), refusing() as port, serving(answering(OK)) as other:
            r.breaker_rules = Rules(trip_failures=2, first_wait_s=1e6, longest_wait_s=1e6)
            await r.append(55)
            settings = subscriber(port, concurrency=2, max_lag_s=20, retry_s=(3_600.0,) * 5)
            async with r.delivering(settings, subscriber(other.port, "other")):

                async def done() -> bool:
                    line = await r.line()
                    return line.discarded == 40 and line.pending == 15

                await until(done)  # 12:00:40 is the limit: 0 to 39 are older; one event parked among them is dropped
                await r.settled("other", offered=55)
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_an_attempt_on_the_wire_is_not_given_up(tmp_path: Path) -> None:
    """An event whose attempt runs when it becomes too old counts once: as what its attempt comes to."""

    async def run() -> None:
        answer = asyncio.Event()

        async def script(connection: Connection) -> None:
            while True:
                await connection.request()
                await answer.wait()
                await connection.write(OK)

        async with clocked(tmp_path) as (r, clock), serving(script) as server:
            await r.append(10)
            async with r.delivering(subscriber(server.port, concurrency=2, max_lag_s=600, timeout_s=20)):
                await until(lambda: len(server.requests) == 2)
                clock.advance(2)  # now they run for long, and are parked as in flight
                keys = r.keys.subscriber("crm")

                async def in_flight() -> bool:
                    return bool(await r.store.call("HLEN", keys.parked) == 2)

                await until(in_flight)
                clock.advance(3_600)
                await discarded(r, 8)
                answer.set()
                await r.settled(offered=10)
            line = await r.line()
            assert (line.delivered, line.discarded) == (2, 8)
            assert len(server.requests) == 2
            assert await r.audited() == (0, [])

    asyncio.run(run())


@pytest.mark.parametrize("jump_s", [-YEAR_S, -86_400.0, 3_600.0, YEAR_S])
def test_a_clock_that_jumps_discards_nothing(tmp_path: Path, jump_s: float) -> None:
    """Events do not age by a clock that is set; only the time that passes counts."""

    async def run() -> None:
        async with clocked(tmp_path) as (r, clock), serving(answering(OK)) as server:
            control = await paused(r)
            await r.append(50)
            async with r.delivering(subscriber(server.port, max_lag_s=600)):
                await asyncio.sleep(0.3)
                clock.jump(jump_s)
                await asyncio.sleep(0.5)
                assert (await r.line()).pending == 50
                if jump_s > 0:  # the positive control: time that does pass counts as ever
                    clock.advance(575)
                    await discarded(r, 35)
                await control.resume()
                await r.settled(offered=50)
            assert (await r.line()).delivered == (15 if jump_s > 0 else 50)
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_the_age_clock_leaves_out_jumps_ahead_and_nothing_else() -> None:
    """Time that passes counts, small corrections count, a jump ahead does not; one back takes it away, and is
    followed beyond that."""
    clock = Clock()
    began_ms = clock.wall_ms()
    age = AgeClock(wall_ms=clock.wall_ms, monotonic=clock.monotonic)
    clock.advance(7_200)
    assert age.now_ms() - began_ms == 7_200_000
    clock.jump(30)
    assert age.now_ms() - began_ms == 7_230_000
    clock.jump(YEAR_S)
    clock.advance(10)
    assert age.now_ms() - began_ms == 7_240_000
    clock.jump(-YEAR_S)  # mended
    assert age.now_ms() - began_ms == 7_240_000
    clock.jump(-YEAR_S)
    assert age.now_ms() < began_ms


def test_a_lag_is_one_line_when_it_begins_and_one_when_it_ends(tmp_path: Path) -> None:
    """However often it is looked at; and status can tell how many were discarded without anybody asking."""

    async def run() -> list[str]:
        async with clocked(tmp_path) as (r, clock), serving(answering(OK)) as server:
            control = await paused(r)
            await r.append(60)
            with capture_logs() as lines:
                async with r.delivering(subscriber(server.port, max_lag_s=119)):
                    await until(lambda: any(each["event"] == "delivery.lag" for each in lines))
                    await asyncio.sleep(0.5)  # five more looks
                    assert [each["event"] for each in lines].count("delivery.lag") == 1
                    clock.advance(60)  # 0 was received 120 s ago
                    await discarded(r, 1)
                    await control.resume()
                    await r.settled(offered=60)
                    await until(lambda: any(each["event"] == "delivery.lag_over" for each in lines))
                    await asyncio.sleep(0.3)
            numbers = (await read_account(r.store, r.keys, ["crm"])).subscribers["crm"]
            assert (numbers.given_up, numbers.given_up_ms) == (1, clock.wall_ms())
            return [each["event"] for each in lines]

    found = asyncio.run(run())
    assert [event for event in found if event in ("delivery.lag", "delivery.given_up", "delivery.lag_over")] == [
        "delivery.lag",
        "delivery.given_up",
        "delivery.lag_over",
    ]


def test_what_an_operator_drops_is_not_given_up(tmp_path: Path) -> None:
    """A dead letter that is dropped on purpose is discarded, and no loss to be told of."""

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(response("500 No"))) as server:
            await r.append(1)
            async with r.delivering(subscriber(server.port, retry_s=())):

                async def dead() -> bool:
                    return (await r.line()).dead == 1

                await until(dead)
            assert await DeadLetters(r.store, r.keys, "crm").move("drop", [1], r.wall_ms()) == 1
            numbers = (await read_account(r.store, r.keys, ["crm"])).subscribers["crm"]
            assert (numbers.discarded, numbers.given_up) == (1, 0)

    asyncio.run(run())
