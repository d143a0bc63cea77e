"""Replays while they run: who runs them, how fast, what stops them and how they go on."""

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest

from gateway.store.control import Control
from tests.support.delivering import rig, subscriber, until
from tests.support.replaying import OK, Bench, abandon, ids, refusing, scene, slow
from tests.support.servers import answering, serving


def test_a_replay_whose_process_died_goes_on_elsewhere_and_leaves_nothing_out(tmp_path: Path) -> None:
    """The next holder of the lease goes on from the saved position: a few events come twice, none is missing, and each
    is counted once."""

    async def run() -> None:
        async with scene(tmp_path, slow(0.005), 600) as (_, server, crm, events, bench):
            replay = await bench.make(subscriber="crm", rate_per_s=10_000)
            await bench.take("one")
            dying = bench.replayer(crm, owner="one")
            dying.start()

            async def part() -> bool:
                return (await bench.get(replay)).matched >= 100

            await until(part)
            await abandon(dying)
            left = await bench.get(replay)
            assert left.state == "running"
            assert 0 < left.positions[0] < 600
            sent = len(server.requests)
            assert sent < 600
            await bench.take("two")
            second = bench.replayer(crm, owner="two")
            second.start()
            ended = await bench.ended(replay)
            await second.stop()
            assert (ended.state, ended.matched, ended.delivered, ended.positions) == ("done", 600, 600, [600])
            arrived = ids(server.requests)
            assert set(arrived) == set(events)
            repeated = sum(count - 1 for count in arrived.values())
            assert 0 < repeated < 600 - left.positions[0], "positive control: without the record all would come again"

    asyncio.run(run())


def test_a_process_that_lost_the_lease_writes_nothing_more(tmp_path: Path) -> None:
    """Two processes never run one replay: the one that was replaced is refused by the store and stops."""

    async def run() -> None:
        async with scene(tmp_path, slow(0.02), 2_000) as (_, _, crm, _, bench):
            replay = await bench.make(subscriber="crm", rate_per_s=10_000)
            await bench.take("one")
            first = bench.replayer(crm, owner="one")
            await first.look()

            async def runs() -> bool:
                return (await bench.get(replay)).matched > 0

            await until(runs)
            await bench.take("two")
            second = bench.replayer(crm, owner="two")
            await first.look()
            await second.look()
            epoch = (await bench.get(replay)).epoch
            await until(lambda: not first._tasks)
            assert list(second._tasks) == [replay]
            assert (await bench.get(replay)).epoch == epoch == 2
            await bench.change(replay, "cancelled")
            await until(lambda: not second._tasks)

    asyncio.run(run())


def test_only_the_holder_of_the_lease_runs_replays(tmp_path: Path) -> None:
    """A second process leaves them alone, and takes them when the lease is its own."""

    async def run() -> None:
        async with scene(tmp_path, answering(OK), 3) as (_, _, crm, _, bench):
            replay = await bench.make(subscriber="crm")
            await bench.take("one")
            other = bench.replayer(crm, owner="two")
            await other.look()
            assert (other._tasks, (await bench.get(replay)).state) == ({}, "planned")
            await bench.take("two")
            await other.look()
            assert (await bench.ended(replay)).delivered == 3

    asyncio.run(run())


def test_a_cancelled_replay_stops_soon_and_can_be_resumed(tmp_path: Path) -> None:
    """What was sent until then is counted; resumed, it goes on from there and brings the rest."""

    async def run() -> None:
        async with scene(tmp_path, answering(OK), 300) as (_, server, crm, events, bench):
            replay = await bench.make(subscriber="crm", rate_per_s=100)
            async with bench.replaying(crm) as replayer:
                await until(lambda: len(server.requests) > 20)
                await bench.change(replay, "cancelled")
                await until(lambda: not replayer._tasks)
                stopped = await bench.get(replay)
                count = len(server.requests)
                assert stopped.state == "cancelled"
                assert stopped.matched == count < 300
                await replayer.look()
                assert len(server.requests) == count
                await bench.change(replay, "planned")
                ended = await bench.ended(replay)
            assert (ended.state, ended.matched) == ("done", 300)
            assert ids(server.requests) == Counter(events)

    asyncio.run(run())


def test_a_replay_keeps_to_its_rate(tmp_path: Path) -> None:
    """A second's worth may come at once; the rest is spread."""

    async def run() -> None:
        async with scene(tmp_path, answering(OK), 90) as (_, server, crm, _, bench):
            await bench.make(subscriber="crm", rate_per_s=40)
            async with bench.replaying(crm):
                await until(lambda: len(server.requests) >= 1)
                began_s = time.monotonic()
                await until(lambda: len(server.requests) == 90)
                took_s = time.monotonic() - began_s
            assert took_s > 0.9

    asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "most", "why"), [("500 No", 60, "50 events in a row failed"), ("410 Gone", 8, "answered 410 Gone")]
)
def test_a_target_that_takes_nothing_pauses_the_replay(tmp_path: Path, status: str, most: int, why: str) -> None:
    """Fifty events in a row, or one 410, and it stops with the reason, so that it is not used up for nothing."""

    async def run() -> None:
        async with scene(tmp_path, refusing(status), 200) as (_, server, crm, _, bench):
            replay = await bench.make(subscriber="crm", rate_per_s=10_000)
            async with bench.replaying(crm):
                ended = await bench.ended(replay)
            assert ended.state == "paused"
            assert why in ended.last_error
            assert 0 < ended.failed <= most
            assert len(ids(server.requests)) <= most

    asyncio.run(run())


def test_a_replay_waits_while_its_subscriber_is_paused(tmp_path: Path) -> None:
    """Nothing is sent, the record says why, and it goes on when the subscriber does."""

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(OK)) as server:
            crm = subscriber(server.port)
            await r.append(10)
            control = Control(r.store, [r.keys], "crm")
            await control.pause("repair")
            bench = Bench(r)
            replay = await bench.make(subscriber="crm", rate_per_s=10_000)
            async with bench.replaying(crm):

                async def waits() -> bool:
                    return (await bench.get(replay)).waiting == "crm is paused: repair"

                await until(waits)
                assert server.requests == []
                await control.resume()
                ended = await bench.ended(replay)
            assert (ended.state, ended.delivered, ended.waiting) == ("done", 10, "")

    asyncio.run(run())


def test_a_replay_without_a_way_to_its_target_fails_and_says_why(tmp_path: Path) -> None:
    """A subscriber that is gone is named; nothing is counted."""

    async def run() -> None:
        async with rig(tmp_path) as r:
            await r.append(2)
            bench = Bench(r)
            replay = await bench.make(subscriber="gone")
            async with bench.replaying():
                ended = await bench.ended(replay)
            assert (ended.state, ended.matched) == ("failed", 0)
            assert "gone" in ended.last_error

    asyncio.run(run())


def test_at_most_four_replays_run_side_by_side(tmp_path: Path) -> None:
    """The others wait for their turn, and get it."""

    async def run() -> None:
        async with scene(tmp_path, slow(0.05), 20) as (_, server, crm, _, bench):
            made = [await bench.make(subscriber="crm", rate_per_s=10_000) for _ in range(6)]
            async with bench.replaying(crm) as replayer:
                await until(lambda: len(server.requests) > 10)
                assert len(replayer._tasks) == 4
                for replay in made:
                    assert (await bench.ended(replay)).delivered == 20

    asyncio.run(run())
