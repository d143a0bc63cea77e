"""Deliveries from a real log to real sockets: what arrives, what is parked, what the account says."""

import asyncio
from collections import Counter
from pathlib import Path

import msgspec

from tests.support.delivering import Rig, lane_status, numbers, rig, subscriber, until, wall_ms
from tests.support.servers import Connection, Received, answering, response, serving

OK = response("204 No Content")


def failing_first(times: int, status: str = "500 Internal Server Error"):  # type: ignore[no-untyped-def]
    """A script that answers each event's first ``times`` attempts with an error."""
    seen: Counter[str] = Counter()

    async def script(connection: Connection) -> None:
        while True:
            event = (await connection.request()).headers["webhook-id"]
            seen[event] += 1
            await connection.write(response(status, b"no") if seen[event] <= times else OK)

    return script


def ids(requests: list[Received]) -> Counter[str]:
    """How often each event was delivered."""
    return Counter(request.headers["webhook-id"] for request in requests)


def test_every_wanted_event_arrives_once_and_the_rest_is_filtered(tmp_path: Path) -> None:
    """A subscriber gets what its types name, once each; what it does not want is counted as filtered."""

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(OK)) as server:
            wanted = await r.append(300)
            await r.append(200, event_type="booking.created")
            async with r.delivering(subscriber(server.port, types=("message.*",))):
                await r.settled(offered=500)
                wanted += await r.append(50, first=1000)
                await r.settled(offered=550)
            line = await r.line()
            assert (line.delivered, line.filtered, line.unaccounted) == (350, 200, 0)
            assert ids(server.requests) == Counter(wanted)
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_a_failed_attempt_is_parked_and_tried_again(tmp_path: Path) -> None:
    """An event whose first attempts fail is delivered later, with the attempt's number in its header."""

    async def run() -> None:
        async with rig(tmp_path) as r, serving(failing_first(2)) as server:
            await r.append(40)
            async with r.delivering(subscriber(server.port)):
                await r.settled(offered=40)
            line = await r.line()
            assert (line.delivered, line.dead) == (40, 0)
            attempts = Counter(request.headers["gateway-attempt"] for request in server.requests)
            assert attempts == {"1": 40, "2": 40, "3": 40}
            assert {request.headers["gateway-attempts-left"] for request in server.requests} == {"3", "2", "1"}
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_after_the_last_attempt_it_is_a_dead_letter_that_can_be_retried_or_dropped(tmp_path: Path) -> None:
    """Nothing is lost when all attempts fail: the dead letter keeps cause and answer, and an operator decides."""

    async def run() -> None:
        from gateway.store.dead_letters import DeadLetters

        broken = True

        async def script(connection: Connection) -> None:
            while True:
                await connection.request()
                await connection.write(response("503 Service Unavailable", b"down for repair") if broken else OK)

        async with rig(tmp_path) as r, serving(script) as server:
            await r.append(3)
            async with r.delivering(subscriber(server.port, retry_s=(0.05,))):
                await r.settled(offered=3)
                letters = DeadLetters(r.store, r.keys, "crm")
                found = await letters.list(0, 10)
                assert {letter.cause for letter, _ in found} == {"http_503"}
                assert {(letter.attempts, letter.status, answer) for letter, answer in found} == {
                    (2, 503, b"down for repair")
                }
                assert (await r.line()).dead == 3
                assert await r.audited() == (0, [])
                broken = False
                seqs = [letter.seq for letter, _ in found]
                assert await letters.move("retry", seqs[:2], 0) == 2
                assert await letters.move("retry", seqs[:2], 0) == 0
                assert await letters.move("drop", seqs[2:], 0) == 1

                async def both() -> bool:
                    return (await r.line()).delivered == 2

                await until(both)
            line = await r.line()
            assert (line.delivered, line.dead, line.discarded, line.pending) == (2, 0, 1, 0)
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_events_of_one_key_keep_their_order_through_failures_and_hold_up_no_other_key(tmp_path: Path) -> None:
    """With ``order = "key"`` a failing event holds its key's followers, which then follow in log order."""

    async def run() -> None:
        stuck = "evt_message.received-a-0"
        failures = Counter[str]()
        delivered: list[tuple[str, int]] = []

        async def script(connection: Connection) -> None:
            while True:
                request = await connection.request()
                body = msgspec.json.decode(request.body)
                failures[body["id"]] += 1
                if (body["id"] == stuck and failures[stuck] <= 3) or (
                    body["number"] % 7 == 3 and failures[body["id"]] == 1
                ):
                    await connection.write(response("500 Internal Server Error"))
                    continue
                delivered.append((body["ordering_key"], body["number"]))
                await connection.write(OK)

        async with rig(tmp_path) as r, serving(script) as server:
            for number in range(30):
                for key in ("a", "b", "c"):
                    await r.append(1, key=key, first=number)
            async with r.delivering(subscriber(server.port, order="key", retry_s=(0.3, 0.05, 0.05, 0.05))):
                await until(lambda: sum(key != "a" for key, _ in delivered) == 60)
                await r.append(5, key="a", first=30)
                await r.settled(offered=95)
            for key, count in (("a", 35), ("b", 30), ("c", 30)):
                assert [number for at, number in delivered if at == key] == list(range(count)), key
            first_a = next(at for at, (key, _) in enumerate(delivered) if key == "a")
            assert first_a > 10, "the other keys went on while the first event of key a failed"
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_after_a_dead_letter_the_followers_of_its_key_get_one_attempt_each(tmp_path: Path) -> None:
    """Followers of a dead letter inherit its age: they are tried once, in order, not for days each."""

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(response("500 Internal Server Error"))) as server:
            await r.append(4, key="a")
            async with r.delivering(subscriber(server.port, order="key", retry_s=(0.05, 0.05))):
                await r.settled(offered=4)
            assert (await r.line()).dead == 4
            assert numbers([request.body for request in server.requests]) == [0, 0, 0, 1, 2, 3]
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_a_long_attempt_is_parked_in_flight_and_counted_once(tmp_path: Path) -> None:
    """An attempt of over a second lets the cursor move on; its end settles it, and it is not sent twice."""

    async def run() -> None:
        async def script(connection: Connection) -> None:
            while True:
                request = await connection.request()
                if msgspec.json.decode(request.body)["number"] == 0:
                    await asyncio.sleep(2)
                await connection.write(OK)

        async with rig(tmp_path) as r, serving(script) as server:
            await r.append(20)
            async with r.delivering(subscriber(server.port)):

                async def moved_on() -> bool:
                    line = await r.line()
                    return line.delivered == 19 and line.pending == 1

                await until(moved_on, within_s=1.9)
                await r.settled(offered=20)
            assert sum(ids(server.requests).values()) == 20
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_a_subscriber_that_hangs_stops_its_own_cursor_and_nobody_elses(tmp_path: Path) -> None:
    """A full window takes no more, so a hanging subscriber leaves its events in the log; its neighbour gets all."""

    async def run() -> None:
        async def hang(connection: Connection) -> None:
            await connection.request()
            await connection.gone()

        async with rig(tmp_path) as r, serving(hang) as deaf, serving(answering(OK)) as server:
            await r.append(3000)
            bad = subscriber(deaf.port, "deaf", concurrency=4, timeout_s=3, retry_s=(60.0,))
            lanes = (bad, subscriber(server.port))
            async with r.delivering(*lanes):
                await r.settled("crm", offered=3000)
                await r.append(500, first=5000)
                await r.settled("crm", offered=3500)
                line = await r.line("deaf")
                assert line.pending == 3500
                assert await r.store.call("HLEN", r.keys.subscriber("deaf").parked) <= 8
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_what_was_in_hand_when_the_process_died_is_delivered_again(tmp_path: Path) -> None:
    """After a crash the next owner goes on at the cursor: nothing is missing, and the account is exact."""

    async def run() -> None:
        async with rig(tmp_path) as r, serving(failing_first(1)) as server:
            await r.append(2000)
            dispatcher = r.dispatcher(subscriber(server.port), owner="one")
            dispatcher.start()
            await until(lambda: len(server.requests) > 700)
            # What a killed process leaves behind: nothing is settled any more, and its lease stands.
            task = dispatcher._task
            assert task is not None
            for each in asyncio.all_tasks():
                if each is not asyncio.current_task() and each.get_name().split()[0] in ("settle", "lease"):
                    each.cancel()
            await r.store.call("HSET", r.keys.state, "lease_until_ms", 1)
            async with r.delivering(subscriber(server.port)):
                await r.settled(offered=2000)
            await dispatcher.stop()
            assert set(ids(server.requests)) == {f"evt_message.received-None-{number}" for number in range(2000)}
            line = await r.line()
            assert (line.delivered, line.unaccounted) == (2000, 0)
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_a_stale_owner_can_settle_nothing(tmp_path: Path) -> None:
    """Once another process has the lease, the old one's settle is refused and it lets go by itself."""

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(OK)) as server:
            async with r.delivering(subscriber(server.port)) as old:
                await until(lambda: old.holds)
                await r.store.call("HINCRBY", r.keys.state, "epoch", 1)
                await r.store.call("HSET", r.keys.state, "owner", "other", "lease_until_ms", wall_ms() + 9_000)
                before = await r.line()
                await r.append(10)
                await until(lambda: not old.holds)
                assert (await r.line()).delivered == before.delivered
            assert (await r.line()).pending == 10

    asyncio.run(run())


def test_410_ends_the_attempts_and_disables_the_subscriber(tmp_path: Path) -> None:
    """A subscriber that answers 410 gets nothing more; that one event is a dead letter, the rest stays pending."""

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(response("410 Gone"))) as server:
            await r.append(1)
            async with r.delivering(subscriber(server.port)) as dispatcher:

                async def dead() -> bool:
                    return (await r.line()).dead == 1

                await until(dead)
                await r.append(5, first=100)
                assert "410" in lane_status(dispatcher)["disabled"]
            assert len(server.requests) == 1
            line = await r.line()
            assert (line.dead, line.pending, line.unaccounted) == (1, 5, 0)

    asyncio.run(run())


def test_a_subscriber_may_start_now_at_the_beginning_or_at_a_time(tmp_path: Path) -> None:
    """``start`` decides which logged events a new subscriber is offered; trimmed ones among them are discarded."""

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(OK)) as server:
            await r.append(50)
            await r.store.script("trim", [r.keys.state, r.keys.log, r.keys.subs], [0, 1, 2, 30])
            lanes = (
                subscriber(server.port, "now", start="now"),
                subscriber(server.port, "all", start="beginning"),
                subscriber(server.port, "late", start="2026-02-03T12:00:40.000Z"),
            )
            async with r.delivering(*lanes) as dispatcher:
                await until(lambda: dispatcher.holds)
                await r.settled("now", offered=0)
                await r.settled("all", offered=48)
                await r.settled("late", offered=10)
            every = await r.line("all")
            assert (every.delivered, every.discarded) == (47, 1)
            assert (await r.line("late")).delivered == 10
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_stopping_settles_what_is_on_the_wire(tmp_path: Path) -> None:
    """A graceful stop waits for running attempts, so nothing delivered is delivered again after a restart."""

    async def run() -> None:
        async def slow(connection: Connection) -> None:
            while True:
                await connection.request()
                await asyncio.sleep(0.1)
                await connection.write(OK)

        async with rig(tmp_path) as r, serving(slow) as server:
            await r.append(400)
            for _ in range(3):
                async with r.delivering(subscriber(server.port)) as dispatcher:
                    seen = len(server.requests)
                    await until(lambda before=seen: len(server.requests) > before + 40)  # type: ignore[misc]
                assert not dispatcher.holds
            async with r.delivering(subscriber(server.port)):
                await r.settled(offered=400)
            assert set(ids(server.requests).values()) == {1}
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_stopping_delivers_nothing_twice_where_order_goes_by_key(tmp_path: Path) -> None:
    """Events of many keys are delivered out of turn; a graceful stop records them all the same."""

    async def run() -> None:
        async def slow(connection: Connection) -> None:
            while True:
                request = await connection.request()
                await asyncio.sleep(0.1 if msgspec.json.decode(request.body)["ordering_key"] == "a" else 0.005)
                await connection.write(OK)

        async with rig(tmp_path) as r, serving(slow) as server:
            for number in range(60):
                await r.append(1, key="a" if number % 3 == 0 else f"k{number % 7}", first=number)
            for _ in range(3):
                async with r.delivering(subscriber(server.port, order="key", concurrency=8)):
                    seen = len(server.requests)
                    await until(lambda before=seen: len(server.requests) > before + 5)  # type: ignore[misc]
            async with r.delivering(subscriber(server.port, order="key", concurrency=8)):
                await r.settled(offered=60)
            assert set(ids(server.requests).values()) == {1}
            bodies = [msgspec.json.decode(request.body) for request in server.requests]
            for key in {body["ordering_key"] for body in bodies}:
                numbers_of_key = [body["number"] for body in bodies if body["ordering_key"] == key]
                assert numbers_of_key == sorted(numbers_of_key), key
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_late_retries_do_not_starve_first_attempts(tmp_path: Path) -> None:
    """With hundreds of parked events due, a fresh event still goes out at once."""

    async def run() -> None:
        async def script(connection: Connection) -> None:
            while True:
                request = await connection.request()
                await asyncio.sleep(0.02)
                old = msgspec.json.decode(request.body)["number"] < 400
                await connection.write(response("500 Internal Server Error") if old else OK)

        async with rig(tmp_path) as r, serving(script) as server:
            await r.append(400)
            settings = subscriber(server.port, concurrency=4, retry_s=(0.01,) * 50)
            async with r.delivering(settings):
                await until(lambda: len(server.requests) > 500)
                before = len(server.requests)
                fresh = set(await r.append(10, first=1000))
                await until(lambda: fresh <= {each.headers["webhook-id"] for each in server.requests})
                # 400 retries are due all the time; a part of them goes before the fresh ones, never all
                assert len(server.requests) - before < 300
            line = await r.line()
            assert line.unaccounted == 0

    asyncio.run(run())


def test_a_hundred_subscribers_share_one_read(tmp_path: Path) -> None:
    """The log is read once for all subscribers that keep up, not once for each."""

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(OK)) as server:
            lanes = [subscriber(server.port, f"s{number}", types=("booking.created",)) for number in range(99)]
            async with r.delivering(*lanes, subscriber(server.port)) as dispatcher:
                await until(lambda: dispatcher.holds)
                await r.settled("crm", "s0", "s98", offered=0)
                before = await reads(r)
                await r.append(1000)
                await r.settled("crm", "s0", "s98", offered=1000)
                assert await reads(r) - before < 60
            assert (await r.line("s7")).filtered == 1000
            assert await r.audited() == (0, [])

    async def reads(r: Rig) -> int:
        stats = await r.store.info("commandstats")
        calls = [
            stats.get(f"cmdstat_{name}", "calls=0").split(",")[0].partition("=")[2] for name in ("xread", "xrange")
        ]
        return sum(int(each) for each in calls)

    asyncio.run(run())
