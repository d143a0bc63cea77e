"""What all lanes of one subscriber share: one breaker, one pause, one probe, in every partition and process."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.config import SubscriberSettings
from gateway.delivery.breaker import BreakerState, Rules
from gateway.delivery.dispatcher import Dispatcher
from gateway.delivery.guard import Guard
from gateway.delivery.lane import Lane
from gateway.delivery.outcome import Outcome
from gateway.delivery.standing import Standing, Standings
from gateway.store.connection import Store
from gateway.store.control import Control
from gateway.store.layout import Keys, tags
from gateway.store.lease import Lease, owner_name
from gateway.store.log import Batch, NewEvent, PartitionLog
from gateway.store.parked import SubscriberStore
from gateway.store.subscribers import StoredSubscribers
from tests.store.partition import forget
from tests.support.delivering import lane_status, rig, subscriber, until, wall_ms
from tests.support.servers import Connection, answering, response, serving

pytestmark = pytest.mark.usefixtures("quick")

KEYS = [Keys(tag) for tag in tags(2)]
OK, GONE, DOWN = response("204 No Content"), response("410 Gone"), response("503 Service Unavailable")
BAD = Outcome(False, "http_500", 500, None, b"", 0.0, "it failed")
GOOD = Outcome(True, "", 204, None, b"", 0.0, "")
RULES = Rules(trip_failures=6, rate_over=1_000_000, first_wait_s=0.3, longest_wait_s=30.0)


async def log_events(store: Store, partition: int, count: int, first: int = 0) -> None:
    """Log events in one partition; their ids say which."""
    log = PartitionLog(store, KEYS[partition])
    events = []
    for number in range(first, first + count):
        body = {"id": f"evt_{partition}_{number}", "type": "message.received", "source": "src", "ordering_key": None}
        body["received_at"] = "2026-02-03T12:00:00.000Z"
        events.append(NewEvent(str(body["id"]), "src", 600, msgspec.json.encode(body), b"{}"))
    await log.commit(log.next_batch(), Batch(events, [("src", "accepted", count)], [], []))


def process(store: Store, settings: SubscriberSettings, partitions: list[int], rules: Rules) -> list[Dispatcher]:
    """The dispatchers of one process that reads these partitions."""
    standings, guard, owner = Standings(store, KEYS, wall_ms=wall_ms, rules=rules), Guard(own=()), owner_name()

    def lane_in(keys: Keys) -> Any:
        def make(each: SubscriberSettings) -> Lane:
            log = PartitionLog(store, keys)
            of_lane = SubscriberStore(store, keys, each.name)
            return Lane(each, of_lane, log, guard, standings.of(each.name), wall_ms=wall_ms, monotonic=_now_s)

        return make

    return [
        Dispatcher(
            partition_log=PartitionLog(store, KEYS[at]),
            lease=Lease(store, KEYS[at], owner),
            subscribers=[settings],
            make_lane=lane_in(KEYS[at]),
            most_lag_bytes=1 << 40,
            wall_ms=wall_ms,
            monotonic=_now_s,
        )
        for at in partitions
    ]


def _now_s() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def delivering(*dispatchers: Dispatcher) -> AsyncIterator[None]:
    """While the block runs."""
    async with AsyncExitStack() as stack:
        for each in dispatchers:
            each.start()
            stack.push_async_callback(each.stop)
        await until(lambda: all(each.holds for each in dispatchers))
        yield


def is_paused(dispatcher: Dispatcher) -> bool:
    """Whether the lane of ``crm`` is."""
    return bool(lane_status(dispatcher)["paused"])


def test_a_410_in_one_partition_pauses_the_subscriber_in_all_partitions_and_processes(tmp_path: Path) -> None:
    """The other lane of the process stops at once, the other process at its next look; both for good."""

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(GONE)) as server:
            settings = subscriber(server.port)
            (one,), (two,) = process(r.store, settings, [0], RULES), process(r.store, settings, [1], RULES)
            async with delivering(one, two):
                await log_events(r.store, 1, 1)
                await until(lambda: is_paused(one) and is_paused(two))
                await log_events(r.store, 0, 5)
                await log_events(r.store, 1, 5, first=10)
                await asyncio.sleep(0.4)  # looks and reads in which nothing may go
                assert len(server.requests) == 1
                for keys in KEYS:
                    why = await r.store.call("HGET", keys.subscriber("crm").sub, "paused")
                    assert why.startswith(b"it answered 410 Gone")
            both = process(r.store, settings, [0, 1], RULES)
            async with delivering(*both):
                assert all(is_paused(each) for each in both), "a restart forgets nothing"
            assert len(server.requests) == 1

    asyncio.run(run())


def test_the_failures_of_all_partitions_count_together_and_one_probe_goes_at_a_time(tmp_path: Path) -> None:
    """Three failures in each of two partitions open a breaker of six; probes come one by one, then all drains."""

    async def run() -> None:
        down, on_wire, most = True, 0, 0
        seen: Counter[str] = Counter()

        async def script(connection: Connection) -> None:
            nonlocal on_wire, most
            while True:
                request = await connection.request()
                on_wire += 1
                most = max(most, on_wire) if opened else 0
                seen[request.headers["webhook-id"][:5]] += 1
                if opened and down:
                    await asyncio.sleep(0.1)  # long enough for a second probe to meet it
                on_wire -= 1
                await connection.write(DOWN if down else OK)

        opened = False
        rules = Rules(trip_failures=6, rate_over=1_000_000, first_wait_s=0.2, longest_wait_s=0.2)
        async with rig(tmp_path) as r, serving(script) as server:
            settings = subscriber(server.port, retry_s=(600.0,), concurrency=3)
            both = process(r.store, settings, [0, 1], rules)
            async with delivering(*both):
                await log_events(r.store, 0, 3)
                await until(lambda: sum(seen.values()) == 3)
                assert not lane_status(both[0])["breaker"]["open"]
                await log_events(r.store, 1, 3)
                await until(lambda: all(lane_status(each)["breaker"]["open"] for each in both))
                opened = True
                await log_events(r.store, 0, 20, first=10)
                await log_events(r.store, 1, 20, first=10)
                before = sum(seen.values())
                await until(lambda: sum(seen.values()) >= before + 4)
                assert most == 1
                where = [await r.store.call("HEXISTS", keys.subscriber("crm").sub, "breaker") for keys in KEYS]
                assert where == [1, 0], "in one place"
                down = False
                await until(lambda: not any(lane_status(each)["breaker"]["open"] for each in both))
                await until(lambda: all(lane_status(each)["window"] == 0 for each in both))

    asyncio.run(run())


def test_another_process_adopts_an_open_breaker_and_its_end(tmp_path: Path) -> None:
    """What one process finds, the other goes by at its next look; of two that would probe one may."""

    async def run() -> None:
        async with rig(tmp_path) as r:
            for keys in KEYS:
                await SubscriberStore(r.store, keys, "crm").subscribe(0, 1)
            told: list[str] = []
            one, two = (Standing("crm", Control(r.store, KEYS, "crm"), RULES, wall_ms=wall_ms) for _ in range(2))
            first, second = lambda: told.append("one"), lambda: told.append("two")
            await one.join(first)
            await two.join(second)
            for _ in range(RULES.trip_failures):
                one.note(BAD, probe=False, jitter=0.5)
            assert (one.is_open, two.is_open) == (False, True)
            await one.look(first)
            await two.look(second)
            assert not two.is_open
            assert told == ["one", "two"]
            await until(lambda: one.probe_due(wall_ms()))
            assert sorted(await asyncio.gather(one.claim_probe(3.0), two.claim_probe(3.0))) == [False, True]
            prober, other = (one, two) if one._claimed else (two, one)
            prober.note(GOOD, probe=True, jitter=0.5)
            prober.probe_ended()
            assert prober.is_open
            await prober.look(first if prober is one else second)
            await other.look(second if prober is one else first)
            assert other.is_open

    asyncio.run(run())


def test_a_claimed_probe_that_never_went_leaves_its_turn(tmp_path: Path) -> None:
    """A stop between the claim and the answer must not cost the next owner the wait for a probe that is not coming."""

    async def run() -> None:
        async with rig(tmp_path) as r:
            await SubscriberStore(r.store, KEYS[0], "crm").subscribe(0, 1)
            control = Control(r.store, KEYS, "crm")
            one, two = (Standing("crm", control, RULES, wall_ms=wall_ms) for _ in range(2))
            await one.join(print)
            for _ in range(RULES.trip_failures):
                one.note(BAD, probe=False, jitter=0.5)
            await until(lambda: one.probe_due(wall_ms()))
            assert await one.claim_probe(3.0)
            saved = msgspec.json.decode((await control.switches()).breaker, type=BreakerState)
            assert saved.probe_ms > wall_ms() + 3_000
            one.probe_ended()
            await one.leave(print, save=True)
            await two.join(print)
            assert two.probe_due(wall_ms())

    asyncio.run(run())


def test_what_a_lane_decides_does_not_bring_a_forgotten_subscriber_back(tmp_path: Path) -> None:
    """Neither its breaker nor its 410 makes the hash anew."""

    async def run() -> None:
        async with rig(tmp_path) as r:
            for keys in KEYS:
                await SubscriberStore(r.store, keys, "crm").subscribe(0, 1)
            standing = Standing("crm", Control(r.store, KEYS, "crm"), RULES, wall_ms=wall_ms)
            await standing.join(print)
            await forget(StoredSubscribers(r.store, KEYS), "crm")
            for _ in range(RULES.trip_failures):
                standing.note(BAD, probe=False, jitter=0.5)
            standing.gone()
            await standing.look(print)
            await standing.leave(print, save=True)
            assert await r.store.call("KEYS", "*:sub:crm*") == []

    asyncio.run(run())
