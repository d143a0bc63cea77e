"""Replays, from a real log to real sockets: what arrives again, of which events, and what is counted."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from gateway.delivery.guard import Guard
from gateway.store.dead_letters import DeadLetters
from gateway.store.replays import ReplayTarget
from schemas.event import CREDENTIAL_TYPE
from tests.support.delivering import numbers, rig, subscriber, until
from tests.support.replaying import EVEN, OK, Bench, ids, refusing, scene
from tests.support.servers import answering, serving


def test_a_replay_arrives_marked_and_with_the_same_id_and_the_equation_does_not_move(tmp_path: Path) -> None:
    """Every event comes once more, with its webhook-id and the replay's id; the ledger is what it was."""

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(OK)) as server:
            crm = subscriber(server.port)
            events = await r.append(40)
            async with r.delivering(crm):
                await r.settled(offered=40)
            before = msgspec.to_builtins((await r.ledger()).subscribers)
            first, server.requests[:] = list(server.requests), []
            bench = Bench(r)
            replay = await bench.make(subscriber="crm", rate_per_s=10_000)
            async with bench.replaying(crm):
                ended = await bench.ended(replay)
            assert (ended.state, ended.matched, ended.delivered, ended.failed, ended.attempts) == (
                "done",
                40,
                40,
                0,
                40,
            )
            assert ids(server.requests) == Counter(events)
            assert {request.headers["gateway-replay"] for request in server.requests} == {replay}
            assert not any("gateway-replay" in request.headers for request in first)
            assert msgspec.to_builtins((await r.ledger()).subscribers) == before
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_a_replay_is_narrowed_by_every_filter(tmp_path: Path) -> None:
    """By type, family, source, time, id and condition; each lets through what it names and nothing else."""

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(OK)) as server:
            crm = subscriber(server.port, types=("message.*",))
            messages = await r.append(10)
            bookings = await r.append(4, event_type="booking.created")
            bench = Bench(r)
            cases: list[tuple[dict[str, Any], list[str]]] = [
                ({"types": ("booking.*",)}, bookings),
                ({"types": ("booking.created",), "where": EVEN}, bookings[::2]),
                ({"source": "elsewhere"}, []),
                ({"ids": (messages[3], bookings[1])}, [messages[3], bookings[1]]),
                ({"since_ms": 1_770_120_005_000, "until_ms": 1_770_120_008_000}, messages[5:8]),
                ({"wanted_only": True}, messages),
            ]
            async with bench.replaying(crm):
                for wanted, expected in cases:
                    server.requests.clear()
                    ended = await bench.ended(await bench.make(subscriber="crm", rate_per_s=10_000, **wanted))
                    assert (ended.state, ended.matched) == ("done", len(expected)), wanted
                    assert ids(server.requests) == Counter(expected), wanted

    asyncio.run(run())


def test_states_are_told_apart(tmp_path: Path) -> None:
    """Delivered, pending and dead are disjoint; what the subscriber never wanted is not delivered."""

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(OK)) as other:
            events = await r.append(6)
            async with serving(refusing("500 No", events[0], events[4])) as server:
                crm = subscriber(server.port, types=("message.*",), retry_s=(0.01,))
                async with r.delivering(crm):
                    await r.append(2, event_type="booking.created")
                    await r.settled(offered=8)
            late = await r.append(3, first=100)
            bench = Bench(r)
            to = ReplayTarget(url=f"http://127.0.0.1:{other.port}", secret="env:S")
            async with bench.replaying(crm):
                for state, expected in (
                    ("dead", [events[0], events[4]]),
                    ("delivered", [events[1], events[2], events[3], events[5]]),
                    ("pending", late),
                ):
                    other.requests.clear()
                    await bench.ended(await bench.make(subscriber="crm", to=to, state=state, rate_per_s=10_000))
                    assert ids(other.requests) == Counter(expected), state

    asyncio.run(run())


def test_dead_letters_go_back_to_their_own_subscriber_as_a_retry(tmp_path: Path) -> None:
    """They are parked with a fresh schedule and delivered by the lane: dead goes down, delivered up."""

    async def run() -> None:
        async with rig(tmp_path) as r:
            events = await r.append(6)
            async with serving(refusing("500 No", *events[:4], times=2)) as server:
                crm = subscriber(server.port, retry_s=(0.01,))
                async with r.delivering(crm) as dispatcher:
                    await r.settled(offered=6)
                    assert (await r.line()).dead == 4
                    bench = Bench(r)
                    replay = await bench.make(subscriber="crm", state="dead", where=EVEN, rate_per_s=10_000)
                    owner = dispatcher._lease.owner
                    replayer = bench.replayer(crm, owner=owner)
                    replayer.start()
                    ended = await bench.ended(replay)
                    assert (ended.state, ended.matched, ended.requeued, ended.delivered) == ("done", 2, 2, 0)

                    async def again() -> bool:
                        return (await r.line()).delivered == 4

                    await until(again)
                    await replayer.stop()
                line = await r.line()
                assert (line.dead, line.delivered, line.pending, line.unaccounted) == (2, 4, 0, 0)
                assert not any("gateway-replay" in request.headers for request in server.requests)
                assert len(await DeadLetters(r.store, r.keys, "crm").list(0, 10)) == 2
                assert await r.audited() == (0, [])

    asyncio.run(run())


def test_failures_are_counted_and_named_and_the_replay_goes_on(tmp_path: Path) -> None:
    """Each failed event had three attempts; the replay ends done, and says which failed and why."""

    async def run() -> None:
        async with rig(tmp_path) as r:
            events = await r.append(20)
            async with serving(refusing("503 No", events[2], events[7])) as server:
                crm = subscriber(server.port)
                bench = Bench(r)
                replay = await bench.make(subscriber="crm", rate_per_s=10_000)
                async with bench.replaying(crm):
                    ended = await bench.ended(replay)
                assert (ended.state, ended.matched, ended.delivered, ended.failed) == ("done", 20, 18, 2)
                assert {(each.event_id, each.cause) for each in ended.failures} == {
                    (events[2], "http_503"),
                    (events[7], "http_503"),
                }
                assert "http_503" in ended.last_error
                attempts = [
                    (request.headers["gateway-attempt"], request.headers["gateway-attempts-left"])
                    for request in server.requests
                    if request.headers["webhook-id"] == events[2]
                ]
                assert attempts == [("1", "2"), ("2", "1"), ("3", "0")]

    asyncio.run(run())


def test_events_of_one_key_are_replayed_in_order(tmp_path: Path) -> None:
    """With order = "key" an event that needs a second attempt does not let its followers pass; without, it does."""

    async def run() -> None:
        async with rig(tmp_path) as r:
            events = await r.append(30, key="chat")
            for order in ("key", "none"):
                async with serving(refusing("500 No", *events[::3], times=1)) as server:
                    crm = subscriber(server.port, order=order)
                    bench = Bench(r)
                    replay = await bench.make(subscriber="crm", rate_per_s=10_000)
                    async with bench.replaying(crm):
                        ended = await bench.ended(replay)
                    assert (ended.delivered, ended.failed) == (30, 0)
                    came = list(dict.fromkeys(reversed(numbers([each.body for each in server.requests]))))
                    assert (came[::-1] == sorted(came)) == (order == "key")
                await r.store.call("DEL", r.keys.replays)

    asyncio.run(run())


def test_what_retention_removed_meanwhile_is_counted_as_expired(tmp_path: Path) -> None:
    """A replay does not stop at a hole in the log and does not pass over it in silence."""

    async def run() -> None:
        async with scene(tmp_path, answering(OK), 600) as (r, _, crm, _, bench):
            replay = await bench.make(subscriber="crm", rate_per_s=10_000)
            for seq in (1, 2, 300, 600):
                await r.store.call("XDEL", r.keys.log, f"{seq}-0")
            async with bench.replaying(crm):
                ended = await bench.ended(replay)
            assert (ended.state, ended.matched, ended.expired, ended.positions) == ("done", 596, 4, [600])

    asyncio.run(run())


def test_what_comes_after_a_replay_was_made_is_no_part_of_it(tmp_path: Path) -> None:
    """A replay ends, however fast the log grows."""

    async def run() -> None:
        async with scene(tmp_path, answering(OK), 5) as (r, server, crm, before, bench):
            replay = await bench.make(subscriber="crm", rate_per_s=10_000)
            await r.append(5, first=100)
            async with bench.replaying(crm):
                assert (await bench.ended(replay)).matched == 5
            assert ids(server.requests) == Counter(before)

    asyncio.run(run())


def test_a_login_credential_goes_only_to_who_names_its_type(tmp_path: Path) -> None:
    """A glob does not cover it: neither a subscriber's nor, for a URL, the replay's own."""

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(OK)) as server:
            await r.append(2, event_type=CREDENTIAL_TYPE)
            to = ReplayTarget(url=f"http://127.0.0.1:{server.port}", secret="env:S")
            glob = subscriber(server.port, "glob")
            named = subscriber(server.port, "named", types=("*", CREDENTIAL_TYPE))
            bench = Bench(r)
            async with bench.replaying(glob, named):
                cases: list[tuple[int, dict[str, Any]]] = [
                    (0, {"subscriber": "glob"}),
                    (0, {"subscriber": "glob", "types": (CREDENTIAL_TYPE,)}),
                    (2, {"subscriber": "named"}),
                    (0, {"to": to, "types": ("channel.*",)}),
                    (0, {"to": to, "subscriber": "named"}),
                    (2, {"to": to, "types": (CREDENTIAL_TYPE,)}),
                ]
                for expected, wanted in cases:
                    server.requests.clear()
                    ended = await bench.ended(await bench.make(rate_per_s=10_000, **wanted))
                    assert (ended.matched, len(server.requests)) == (expected, expected), wanted

    asyncio.run(run())


def test_a_target_that_the_guard_refuses_gets_nothing(tmp_path: Path) -> None:
    """The guard is asked at every connection, whatever was checked when the replay was made."""

    async def run() -> None:
        async with rig(tmp_path) as r:
            await r.append(2)
            metadata = msgspec.structs.replace(subscriber(1), url="https://169.254.169.254/latest", allow_networks=())
            bench = Bench(r)
            replay = await bench.make(subscriber="crm", rate_per_s=10_000)
            async with bench.replaying(metadata, guard=Guard(own=())):
                ended = await bench.ended(replay)
            assert (ended.failed, {each.cause for each in ended.failures}) == (2, {"refused_target"})

    asyncio.run(run())
