"""Subscribers that are paused, by an operator or by their own 410, and resumed."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from gateway.errors import StoreUnavailable
from gateway.store.control import Control, Switches
from tests.support.delivering import lane_status, rig, subscriber, until
from tests.support.servers import Connection, Received, answering, response, serving

OK = response("204 No Content")
GONE = response("410 Gone")


def ids(requests: list[Received]) -> Counter[str]:
    """How often each event was delivered."""
    return Counter(request.headers["webhook-id"] for request in requests)


def test_a_pause_holds_and_a_resume_drains(tmp_path: Path) -> None:
    """The word in the store stops a running lane, uses no attempt up, and leaves the neighbour alone."""

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(OK)) as server, serving(answering(OK)) as other:
            control = Control(r.store, [r.keys], "crm")
            async with r.delivering(subscriber(server.port), subscriber(other.port, "other")) as dispatcher:
                await r.append(10)
                await r.settled("crm", "other", offered=10)
                await control.pause("a test says so")
                await until(lambda: lane_status(dispatcher)["paused"] == "a test says so")
                await r.append(2_000, first=100)
                await r.settled("other", offered=2_010)
                assert len(server.requests) == 10
                line = await r.line()
                assert (line.pending, line.unaccounted) == (2_000, 0)
                await control.resume()
                await r.settled("crm", offered=2_010)
            assert set(ids(server.requests).values()) == {1}
            assert {request.headers["gateway-attempt"] for request in server.requests} == {"1"}
            assert await r.audited() == (0, [])

    asyncio.run(run())


@pytest.mark.usefixtures("quick")
def test_a_pause_holds_parked_events_too(tmp_path: Path) -> None:
    """What becomes due while it is paused waits, and comes after the resume."""

    async def run() -> None:
        async def script(connection: Connection) -> None:
            while True:
                first = (await connection.request()).headers["gateway-attempt"] == "1"
                await connection.write(response("500 Internal Server Error") if first else OK)

        async with rig(tmp_path) as r, serving(script) as server:
            control = Control(r.store, [r.keys], "crm")
            await r.append(5)
            async with r.delivering(subscriber(server.port, retry_s=(0.4,))) as dispatcher:
                await until(lambda: len(server.requests) == 5)
                await control.pause("a test says so")
                await until(lambda: lane_status(dispatcher)["paused"])
                await asyncio.sleep(0.8)  # they are due meanwhile
                assert len(server.requests) == 5
                await control.resume()
                await r.settled(offered=5)
            assert (await r.line()).delivered == 5
            assert await r.audited() == (0, [])

    asyncio.run(run())


@pytest.mark.usefixtures("quick")
def test_410_pauses_across_restarts_until_somebody_resumes(tmp_path: Path) -> None:
    """A subscriber that said it is gone is not asked again by the next process either."""

    async def run() -> None:
        gone = True

        async def script(connection: Connection) -> None:
            while True:
                await connection.request()
                await connection.write(GONE if gone else OK)

        async with rig(tmp_path) as r, serving(script) as server:
            control = Control(r.store, [r.keys], "crm")
            await r.append(1)
            async with r.delivering(subscriber(server.port)):
                await until(lambda: len(server.requests) == 1)
            assert "410" in await control.read(), "stopped at once, and known all the same"
            await r.append(10, first=10)
            async with r.delivering(subscriber(server.port)) as dispatcher:
                await until(lambda: dispatcher.holds)
                assert "410" in lane_status(dispatcher)["paused"]
                await asyncio.sleep(0.5)  # ten ticks in which nothing may go
                assert len(server.requests) == 1
                gone = False
                await control.resume()
                await r.settled(offered=11)
            line = await r.line()
            assert (line.dead, line.delivered) == (1, 10)
            assert await r.audited() == (0, [])

    asyncio.run(run())


@pytest.mark.usefixtures("quick")
def test_a_pause_for_410_is_written_though_the_store_was_away_just_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the write was tried and forgotten, the lane read "not paused" back and sent on to who had gone."""
    real, tried = Control.pause_known, []

    async def pause_known(self: Control, why: str) -> None:
        tried.append(why)
        if len(tried) < 4:
            raise StoreUnavailable("away for a moment")
        await real(self, why)

    monkeypatch.setattr(Control, "pause_known", pause_known)

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(GONE)) as server:
            await r.append(1)
            async with r.delivering(subscriber(server.port)):
                await until(lambda: len(tried) >= 4)
                await r.append(5, first=10)
                await asyncio.sleep(0.5)  # two looks at the store
                assert len(server.requests) == 1
            assert "410" in await Control(r.store, [r.keys], "crm").read()

    asyncio.run(run())


@pytest.mark.usefixtures("quick")
def test_a_pause_for_410_is_not_undone_by_an_answer_asked_for_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store's "not paused" may be on its way while the 410 arrives; the newer word counts."""
    real, asked, release = Control.switches, [], asyncio.Event()

    async def switches(self: Control) -> Switches:
        found = await real(self)
        asked.append(found)
        if len(asked) == 3:
            await release.wait()
        return found

    monkeypatch.setattr(Control, "switches", switches)

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(GONE)) as server:
            async with r.delivering(subscriber(server.port)) as dispatcher:
                await until(lambda: len(asked) == 3)
                await r.append(1)
                await until(lambda: lane_status(dispatcher)["paused"])
                release.set()
                await until(lambda: len(asked) > 5)
                await r.append(5, first=10)
                await asyncio.sleep(0.3)  # ticks in which nothing may go
                assert len(server.requests) == 1
            assert "410" in await Control(r.store, [r.keys], "crm").read()

    asyncio.run(run())
