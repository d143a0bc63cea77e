"""The breaker in a lane, with real sockets: what it holds, what it sends, how it recovers."""

import asyncio
import itertools
import time
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from gateway.delivery.breaker import BreakerState, Rules
from gateway.store.dead_letters import DeadLetters
from tests.support.delivering import Rig, lane_status, rig, subscriber, until
from tests.support.servers import Connection, response, serving

pytestmark = pytest.mark.usefixtures("quick")

OK = response("204 No Content")
FAST = Rules(trip_failures=4, rate_over=1_000_000, first_wait_s=0.3, longest_wait_s=0.6)


class Switch:
    """A subscriber that answers 503 until it is mended."""

    def __init__(self) -> None:
        self.broken = True
        self.attempts = Counter[str]()
        self.at_s: list[float] = []

    async def script(self, connection: Connection) -> None:
        """Answer one connection."""
        while True:
            request = await connection.request()
            self.attempts[request.headers["webhook-id"]] += 1
            self.at_s.append(time.monotonic())
            await connection.write(response("503 Service Unavailable", b"down") if self.broken else OK)


async def saved_breaker(r: Rig) -> BreakerState:
    """The breaker of ``crm`` as the store has it."""
    saved = await r.store.call("HGET", r.keys.subscriber("crm").sub, "breaker")
    return msgspec.json.decode(saved, type=BreakerState) if saved else BreakerState()


def test_an_open_breaker_holds_everything_probes_with_one_event_and_drains_by_itself(tmp_path: Path) -> None:
    """A dead subscriber costs a few attempts; once it is back, every event arrives without anybody's help."""

    async def run() -> None:
        switch = Switch()
        async with rig(tmp_path) as r, serving(switch.script) as server:
            r.breaker_rules = FAST
            await r.append(500)
            async with r.delivering(subscriber(server.port, concurrency=4, retry_s=(0.2, 0.2, 60.0))) as dispatcher:

                async def is_open() -> bool:
                    return (await saved_breaker(r)).open

                await until(is_open)
                tripped = len(server.requests)
                assert tripped <= 8, "the four that tripped it, and at most the three that were on the wire"
                await until(lambda: len(server.requests) >= tripped + 4)
                probes = switch.at_s[tripped:]
                gaps = [after - before for before, after in itertools.pairwise(probes)]
                assert min(gaps) > 0.25, "one probe at a time, a wait between them"
                line = await r.line()
                assert (line.dead, line.delivered, line.pending) == (0, 0, 500)
                switch.broken = False
                await r.settled(offered=500)
                assert not lane_status(dispatcher)["breaker"]["open"]
            line = await r.line()
            assert (line.delivered, line.dead, line.discarded) == (500, 0, 0)
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_no_probe_uses_an_attempt_up(tmp_path: Path) -> None:
    """A subscriber that is down for many more probes than it has attempts gets every event all the same."""

    async def run() -> None:
        switch = Switch()
        async with rig(tmp_path) as r, serving(switch.script) as server:
            r.breaker_rules = Rules(trip_failures=1, first_wait_s=0.05, longest_wait_s=0.05)
            await r.append(3)
            async with r.delivering(subscriber(server.port, concurrency=1, retry_s=(0.01,))):
                await until(lambda: len(server.requests) >= 8)
                assert (await r.line()).dead == 0
                switch.broken = False
                await r.settled(offered=3)
            assert max(switch.attempts.values()) > 2, "more sendings than the schedule has attempts"
            assert (await r.line()).delivered == 3
            assert {request.headers["gateway-attempt"] for request in server.requests} <= {"1", "2"}
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_an_open_breaker_survives_a_restart_and_so_does_its_wait(tmp_path: Path) -> None:
    """The next process holds too: nothing is sent before the probe is due, and then one event."""

    async def run() -> None:
        switch = Switch()
        async with rig(tmp_path) as r, serving(switch.script) as server:
            r.breaker_rules = Rules(trip_failures=4, rate_over=1_000_000, first_wait_s=2.5, longest_wait_s=2.5)
            await r.append(100)
            settings = subscriber(server.port, concurrency=2, retry_s=(0.01,) * 20)
            async with r.delivering(settings) as dispatcher:
                await until(lambda: lane_status(dispatcher)["breaker"]["open"])
            # stopped in the same second: what it knew is in the store all the same
            before = await saved_breaker(r)
            assert before.open
            tripped = len(server.requests)
            async with r.delivering(settings) as dispatcher:
                await until(lambda: dispatcher.holds)
                assert lane_status(dispatcher)["breaker"]["open"]
                await until(lambda: len(server.requests) > tripped)
                assert r.wall_ms() >= before.probe_ms
                await until(lambda: lane_status(dispatcher)["breaker"]["probe_ms"] > before.probe_ms)
                assert len(server.requests) == tripped + 1
                switch.broken = False
                await r.settled(offered=100)
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_a_poison_event_among_good_ones_dies_alone(tmp_path: Path) -> None:
    """One event that the subscriber cannot digest becomes a dead letter; the breaker stays closed, the rest arrives."""

    async def run() -> None:
        poison = "evt_message.received-None-7"

        async def script(connection: Connection) -> None:
            while True:
                request = await connection.request()
                bad = request.headers["webhook-id"] == poison
                await connection.write(response("500 Internal Server Error", b"cannot digest") if bad else OK)

        async with rig(tmp_path) as r, serving(script) as server:
            r.breaker_rules = Rules(trip_failures=3)
            await r.append(60)
            async with r.delivering(subscriber(server.port, retry_s=(0.02,))) as dispatcher:
                await r.settled(offered=60)
                assert not lane_status(dispatcher)["breaker"]["open"]
            line = await r.line()
            assert (line.delivered, line.dead) == (59, 1)
            ((letter, answer),) = await DeadLetters(r.store, r.keys, "crm").list(0, 10)
            assert (letter.event_id, letter.cause, letter.attempts, answer) == (poison, "http_500", 2, b"cannot digest")
            assert [attempt.status for attempt in letter.history] == [500, 500]
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_events_nobody_wants_such_as_400_do_not_open_it(tmp_path: Path) -> None:
    """A subscriber that refuses every event of one kind keeps receiving the others."""

    async def run() -> None:
        async def script(connection: Connection) -> None:
            while True:
                request = await connection.request()
                odd = msgspec.json.decode(request.body)["number"] % 10
                await connection.write(response("422 Unprocessable Content") if odd else OK)

        async with rig(tmp_path) as r, serving(script) as server:
            r.breaker_rules = Rules(trip_failures=3, rate_over=10)
            await r.append(100)
            async with r.delivering(subscriber(server.port, retry_s=())):
                await r.settled(offered=100)
            line = await r.line()
            assert (line.delivered, line.dead) == (10, 90)
            assert await saved_breaker(r) == BreakerState()

    asyncio.run(run())


def test_one_stuck_key_opens_the_breaker_by_the_attempts_of_its_one_event(tmp_path: Path) -> None:
    """With order by key and a single key there is one attempt a while; each counts as a failure of the subscriber."""

    async def run() -> None:
        switch = Switch()
        async with rig(tmp_path) as r, serving(switch.script) as server:
            r.breaker_rules = FAST
            await r.append(20, key="a")
            settings = subscriber(server.port, order="key", retry_s=(0.02,) * 9)
            async with r.delivering(settings):

                async def is_open() -> bool:
                    return (await saved_breaker(r)).open

                await until(is_open)
                assert len(switch.attempts) == 1, "the others are held behind it"
                assert (await r.line()).dead == 0
                switch.broken = False
                await r.settled(offered=20)
            assert (await r.line()).delivered == 20
            assert await r.audited() == (0, [])

    asyncio.run(run())
