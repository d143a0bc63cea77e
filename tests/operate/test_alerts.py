"""Alerts as they are sent: a gateway with a real store and a subscriber in trouble, and a receiver on a real socket."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from standardwebhooks.webhooks import Webhook
from structlog.testing import capture_logs

from gateway.errors import LeaseLost, StoreError, StoreMismatch
from gateway.intake.spool_folder import FolderView
from gateway.operate import alerting
from gateway.operate import alerts as alerts_module
from gateway.store.alerts import AlertBook, Standing, Watch
from gateway.store.control import GONE, Control
from gateway.store.lease import Lease, owner_name
from tests.operate.staff import WHSEC, Staff, settings, staff
from tests.support.bad_subscribers import hang
from tests.support.delivering import until
from tests.support.servers import OK, Connection, Script, Server, answering, refusing, response, serving

TABLES = """[alerts]
url = "http://127.0.0.1:{port}/secret-path"
allow_networks = ["127.0.0.0/8"]
secrets = ["env:W"]
dead_letters = 1000
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks, and everything that waits, a hundred times as often."""
    monkeypatch.setattr(alerts_module, "LOOK_S", 0.05)
    monkeypatch.setattr(alerts_module, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(alerts_module, "LONGEST_WAIT_S", 0.1)
    monkeypatch.setattr(alerts_module, "TIMEOUT_S", 0.3)
    monkeypatch.setattr(alerts_module, "AWAY_MS", 100)
    monkeypatch.setattr(alerting, "CALM_MS", 200)


def bodies(server: Server) -> list[dict[str, Any]]:
    """The alerts that came."""
    return [json.loads(request.body) for request in server.requests]


async def said(server: Server, *wanted: tuple[str, str]) -> list[dict[str, Any]]:
    """Wait until these came, as type and kind."""
    try:
        await until(lambda: len(server.requests) >= len(wanted), within_s=10)
    finally:
        found = [(each["type"].removeprefix("alert."), each["kind"]) for each in bodies(server)]
        assert sorted(found) == sorted(wanted)
    return bodies(server)


async def alerts_of(at: Staff) -> dict[str, Any]:
    """What status says of alerts."""
    found: dict[str, Any] = (await at.reader.get("/api/status")).json()
    return found


def gone_then_well() -> tuple[Script, asyncio.Event]:
    """A subscriber that answers 410 until the event is set."""
    well = asyncio.Event()

    async def script(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.write(OK if well.is_set() else response("410 Gone"))

    return script, well


def test_one_alert_when_a_subscriber_is_gone_and_one_when_it_is_back(tmp_path: Path) -> None:
    """Signed, readable, without a secret; a restart in between repeats nothing and still tells the end."""

    async def run() -> None:
        script, well = gone_then_well()
        async with serving(script) as crm, serving(answering(OK)) as server:
            given, tables = {"crm": settings(crm.port)}, TABLES.format(port=server.port)
            async with staff(tmp_path, given, tables=tables) as at:
                await at.log()
                (raised,) = await said(server, ("raised", "disabled"))
                assert raised["text"].startswith("[bad] crm is disabled")
                assert raised["text"].endswith("Do: gateway resume crm")
                assert raised["id"] == server.requests[0].headers["webhook-id"]
                Webhook(WHSEC).verify(server.requests[0].body, server.requests[0].headers)
                assert "secret" not in json.dumps(raised)
                await until(lambda: not any(each.owed for each in at.gateway.alerts._standing.values()))
                status = await alerts_of(at)
                assert (status["alerts"]["standing"], status["alerts"]["unsent"]) == (1, 0)
            async with staff(tmp_path, given, tables=tables) as at:
                looked = (await AlertBook(at.gateway.store, at.gateway.keys[0]).read()).watch.looked_ms

                async def looked_again() -> bool:
                    book = await AlertBook(at.gateway.store, at.gateway.keys[0]).read()
                    return book.watch.looked_ms > looked + 100

                await until(looked_again)
                assert len(server.requests) == 1
                well.set()
                assert (await at.operator.post("/api/subscribers/crm/resume", json={})).status_code == 200
                found = await said(server, ("raised", "disabled"), ("resolved", "disabled"))
                assert found[1]["resolved_at"] > found[1]["since"]

    asyncio.run(run())


def test_a_receiver_that_fails_hears_the_latest_word_when_it_is_back(tmp_path: Path) -> None:
    """What cannot be sent shows in status, metrics and log, and arrives later, once; nothing else is held up."""

    async def run() -> None:
        well = asyncio.Event()

        async def receiver(connection: Connection) -> None:
            while True:
                await connection.request()
                await connection.write(OK if well.is_set() else response("500 No", b"secret-answer"))

        async with serving(answering(response("410 Gone"))) as crm, serving(receiver) as server:
            with capture_logs() as lines:
                async with staff(tmp_path, {"crm": settings(crm.port)}, tables=TABLES.format(port=server.port)) as at:
                    await at.log()
                    await until(lambda: len(server.requests) >= 3)
                    status = await alerts_of(at)
                    assert status["alerts"]["why"] == "answers 500"
                    assert status["alerts"]["unsent"] == 1
                    assert "alerts" in [each["kind"] for each in status["problems"]]
                    families = text_string_to_metric_families((await at.reader.get("/metrics")).text)
                    samples = {each.name: each.value for family in families for each in family.samples}
                    assert (samples["gateway_alerts_failing"], samples["gateway_alerts_unsent"]) == (1, 1)
                    well.set()

                    async def sent() -> bool:
                        alerts = (await alerts_of(at))["alerts"]
                        return alerts["unsent"] == 0 and alerts["failing_since"] is None

                    await until(sent)
                    assert len({request.headers["webhook-id"] for request in server.requests}) == 1
                    count = len(server.requests)
                    await asyncio.sleep(0.3)  # six looks at which nothing is to be said
                    assert len(server.requests) == count
            events = [each["event"] for each in lines]
            assert (events.count("alert.unsent"), events.count("alert.sending_again")) == (1, 1)
            assert "secret-path" not in str(lines)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (hang, "does not answer in time"),
        (answering(response("302 Found", location="http://169.254.169.254/")), "answers with a redirect"),
        (answering(response("404 Not Found", b"no_service")), "answers 404"),
    ],
)
def test_a_test_alert_says_what_came_back(tmp_path: Path, script: Script, why: str) -> None:
    """A receiver that hangs, redirects or refuses is named as such, within the time-out."""

    async def run() -> None:
        async with (
            serving(script) as server,
            staff(tmp_path, {}, tables=TABLES.format(port=server.port)) as at,
        ):
            answer = (await at.operator.post("/api/alerts/test")).json()
            assert not answer["sent"]
            assert why in answer["why"]
            assert answer["duration_ms"] < 2_000
            assert len(server.requests) == 1
            assert (await at.reader.post("/api/alerts/test")).status_code == 403

    asyncio.run(run())


def test_a_test_alert_that_arrives_and_one_without_a_url(tmp_path: Path) -> None:
    """Sent with a name of its own each time; without ``url`` it is refused with what to write."""

    async def run() -> None:
        async with serving(answering(OK)) as server:
            async with staff(tmp_path, {}, tables=TABLES.format(port=server.port)) as at:
                for _ in range(2):
                    answer = (await at.operator.post("/api/alerts/test")).json()
                    assert (answer["sent"], answer["status"], answer["why"]) == (True, 200, None)
            assert [each["type"] for each in bodies(server)] == ["alert.test"] * 2
            assert len({each["id"] for each in bodies(server)}) == 2
        async with staff(tmp_path, {}) as at:
            answered = await at.operator.post("/api/alerts/test")
            assert answered.status_code == 400
            assert "[alerts] has no url" in answered.json()["detail"]

    asyncio.run(run())


def test_a_private_address_is_not_posted_to_unless_it_was_named(tmp_path: Path) -> None:
    """A name that leads to the machine itself is refused when it is looked up; nothing connects."""

    async def run() -> None:
        async with serving(answering(OK)) as server:
            tables = f'[alerts]\nurl = "https://localhost:{server.port}/"\n'
            async with staff(tmp_path, {}, tables=tables) as at:
                answer = (await at.operator.post("/api/alerts/test")).json()
                assert "is at an address deliveries may not go to" in answer["why"]
            assert server.requests == []

    asyncio.run(run())


def test_only_who_holds_the_first_partition_tells(tmp_path: Path) -> None:
    """What another process knows is left alone: its write is refused, and it says nothing."""

    async def run() -> None:
        async with refusing() as port, staff(tmp_path, {"crm": settings(port)}) as at:
            gateway = at.gateway
            book = AlertBook(gateway.store, gateway.keys[0])

            async def looked() -> bool:
                return (await book.read()).watch.looked_ms > 0

            await until(looked)
            await gateway.dispatchers[0].stop()
            other = await Lease(gateway.store, gateway.keys[0], "another/process").take()
            assert other.ours
            await asyncio.sleep(0.2)  # four looks, at which it notices that it is no longer its part
            before = await book.read()
            await Control(gateway.store, gateway.keys, "crm").pause(f"{GONE}; a test says so")
            await asyncio.sleep(0.3)  # six more, which must change nothing
            assert await book.read() == before
            await book.save(other.epoch, Watch(looked_ms=1), {})
            assert (await book.read()).watch == Watch(looked_ms=1)

    asyncio.run(run())


def test_a_store_that_is_away_is_an_alert_and_its_return_the_end_of_it(tmp_path: Path) -> None:
    """Told from memory while nothing can be written, and remembered as over afterwards."""

    async def run() -> None:
        async with (
            serving(answering(OK)) as server,
            staff(tmp_path, {}, tables=TABLES.format(port=server.port)) as at,
        ):
            alerts = at.gateway.alerts
            await until(lambda: alerts._saved_watch.looked_ms > 0)
            read, save = alerts._book.read, alerts._book.save
            away = True

            async def unreachable() -> Any:
                if away:
                    raise StoreError("the store did not answer")
                return await read()

            async def unwritable(epoch: int, watch: Watch | None, changed: Mapping[str, Standing | None]) -> None:
                if away:
                    raise StoreError("the store did not answer")
                await save(epoch, watch, changed)

            alerts._book.read = unreachable  # type: ignore[method-assign]  # away for this part alone
            alerts._book.save = unwritable  # type: ignore[method-assign]  # the same
            await said(server, ("raised", "store_away"))
            await at.gateway.dispatchers[0].stop()  # its lease ends with the store, and the next has another epoch
            assert (await Lease(at.gateway.store, at.gateway.keys[0], alerts._owner).take()).ours
            away = False
            await said(server, ("raised", "store_away"), ("resolved", "store_away"))

    asyncio.run(run())


@pytest.mark.parametrize("outage", [1, 2])
@pytest.mark.parametrize("taken_over", [False, True])
def test_a_store_that_goes_before_it_was_looked_at_is_an_alert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken_over: bool, outage: int
) -> None:
    """Nobody knows yet whose part it is: the first worker tells, and of its end too, whoever delivers by then.

    Nor does it matter that the store still remembers the end of another outage."""

    async def run() -> None:
        read, away = AlertBook.read, True

        async def unreachable(self: AlertBook) -> Any:
            if away:
                raise StoreError("the store did not answer")
            return await read(self)

        monkeypatch.setattr(AlertBook, "read", unreachable)
        async with (
            serving(answering(OK)) as server,
            staff(tmp_path, {}, tables=TABLES.format(port=server.port)) as at,
        ):
            await said(server, ("raised", "store_away"))
            if outage == 2:
                book = AlertBook(at.gateway.store, at.gateway.keys[0])
                now_ms = at.gateway.alerts._sight.wall_ms()
                ended = alerting.of_store(alerting.STORE_AWAY, "the store is away", now_ms)
                ended = msgspec.structs.replace(ended, raised=False, gone_ms=now_ms, told_ms=now_ms)
                await book.save((await read(book)).epoch, Watch(looked_ms=now_ms), {"store_away:": ended})
            if taken_over:
                await at.gateway.dispatchers[0].stop()
                assert (await Lease(at.gateway.store, at.gateway.keys[0], "another/process").take()).ours
            away = False
            await said(server, ("raised", "store_away"), ("resolved", "store_away"))

    asyncio.run(run())


@pytest.mark.parametrize("teller", ["", "another/process"])
def test_a_store_that_is_away_is_told_by_one(tmp_path: Path, teller: str) -> None:
    """Not by a worker that is not the first, nor where another was seen to deliver."""

    async def run() -> None:
        async with staff(tmp_path, {}) as at:
            alerts = at.gateway.alerts
            await alerts.stop()
            alerts._resign({}, teller=teller)
            alerts._is_first = bool(teller)
            alerts._away_ms = 1  # for long enough
            alerts._look_without_store(StoreError("the store did not answer"))
            assert not alerts._standing
            alerts._is_first, alerts._teller = True, ""
            alerts._look_without_store(StoreError("the store did not answer"))
            assert list(alerts._standing) == ["store_away:"]
            mismatch = StoreMismatch("the store was first used with partitions = 3")
            alerts._look_without_store(mismatch)
            assert f"the store is away: {mismatch}; webhooks go into" in alerts._standing["store_away:"].what
            alerts._look_without_store(mismatch, "kill -9 4711")
            assert f"the store is away: {mismatch}; kill -9 4711; webhooks go" in alerts._standing["store_away:"].what

    asyncio.run(run())


def test_who_was_killed_is_not_waited_for_to_tell(tmp_path: Path) -> None:
    """Its name stays with the lease: one whose lease ran out, or whose process is gone, tells nobody anything."""

    async def run() -> None:
        async with staff(tmp_path, {}) as at:
            alerts, store, keys = at.gateway.alerts, at.gateway.store, at.gateway.keys[0]
            await at.gateway.sharing.stop()
            await alerts.stop()
            await asyncio.gather(*(each.stop() for each in at.gateway.dispatchers))

            async def tells(owner: str) -> bool:
                """Whether this process tells, where that one was seen last and then the store went."""
                assert (await Lease(store, keys, owner).take()).ours
                await alerts.look()
                alerts._away_ms = 1  # for long enough
                alerts._look_without_store(StoreError("the store did not answer"))
                told = bool(alerts._standing)
                await store.call("HSET", keys.state, "lease_until_ms", 1)
                alerts._standing = {}
                return told

            assert not await tells("another/process")
            await alerts.look()  # now its lease has run out
            alerts._away_ms = 1
            alerts._look_without_store(StoreError("the store did not answer"))
            assert list(alerts._standing) == ["store_away:"]
            alerts._standing = {}
            host, boot, space, pid, _, chance = owner_name().split("/")
            assert await tells("/".join((host, boot, space, pid, "1", chance)))  # its pid is another process's by now

    asyncio.run(run())


def test_a_look_reads_the_spool_once(tmp_path: Path) -> None:
    """Both the account and what status says of it come from one reading, which a full spool makes a long one."""

    async def run() -> None:
        async with staff(tmp_path, {}) as at:
            alerts, sight, readings = at.gateway.alerts, at.gateway.desk.sight, 0
            await alerts.stop()
            read = sight.spooled

            async def spooled(**named: bool) -> FolderView:
                nonlocal readings
                readings += 1
                return await read(**named)

            sight.spooled = spooled
            await alerts.look()
            assert alerts._watch.looked_ms
            assert readings == 1

    asyncio.run(run())


def test_the_book_keeps_what_is_written_and_forgets_what_is_to_be_forgotten(tmp_path: Path) -> None:
    """Round and round through the store."""

    async def run() -> None:
        async with staff(tmp_path, {}) as at:
            await at.gateway.alerts.stop()
            book = AlertBook(at.gateway.store, at.gateway.keys[0])
            epoch = (await book.read()).epoch
            one = Standing(
                kind="lag",
                severity="warn",
                what="ü",
                count=2,
                command=None,
                subscriber="crm",
                source=None,
                since_ms=5,
                owed="raised",
            )
            await book.save(epoch, None, {"lag:crm": one, "lag:two": one})
            await book.save(epoch, None, {"lag:two": None})
            assert (await book.read()).standing == {"lag:crm": one}
            with pytest.raises(LeaseLost):
                await book.save(epoch - 1, None, {"lag:crm": None})
            assert (await book.read()).standing == {"lag:crm": one}

    asyncio.run(run())
