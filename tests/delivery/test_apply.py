"""Subscribers that are added, changed and removed while events flow, and moments in which events could slip through."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.errors import StoreUnavailable
from gateway.store.lease import Held, Lease
from gateway.store.log import Entry, PartitionLog
from gateway.store.parked import SubscriberStore
from tests.support.delivering import Rig, numbers, rig, subscriber, until
from tests.support.servers import Connection, Received, answering, response, serving

OK = response("204 No Content")


def ids(requests: list[Received]) -> Counter[str]:
    """How often each event was delivered."""
    return Counter(request.headers["webhook-id"] for request in requests)


async def flow(r: Rig, stop: asyncio.Event, logged: list[str]) -> None:
    """Log a few events every few milliseconds, of several keys."""
    number = 0
    while not stop.is_set():
        logged += await r.append(5, key=str(number % 7), first=10 * number)
        number += 1
        await asyncio.sleep(0.01)


@pytest.mark.usefixtures("quick")
def test_lanes_are_added_changed_and_removed_while_events_flow(tmp_path: Path) -> None:
    """Whoever stays or is changed gets every event once, in order where asked; whoever comes back goes on."""

    async def run() -> None:
        accepted = Counter[str]()

        async def script(connection: Connection) -> None:
            while True:
                request = await connection.request()
                first = request.headers["gateway-attempt"] == "1"
                if first and msgspec.json.decode(request.body)["number"] % 50 == 3:
                    await connection.write(response("500 Internal Server Error"))
                    continue
                accepted[request.headers["webhook-id"]] += 1
                await connection.write(OK)

        async with (
            rig(tmp_path) as r,
            serving(answering(OK)) as good,
            serving(script) as changed,
            serving(answering(OK)) as guest,
        ):
            staying = subscriber(good.port, "good", order="key")

            def crm(concurrency: int) -> Any:
                return subscriber(changed.port, order="key", concurrency=concurrency)

            visitor = subscriber(guest.port, "guest")
            stop, logged = asyncio.Event(), list[str]()
            async with r.delivering(staying, crm(8)) as dispatcher:
                lane = dispatcher._lanes["good"]
                flowing = asyncio.create_task(flow(r, stop, logged))
                for turn in range(6):
                    await asyncio.sleep(0.15)  # let some events pass
                    await dispatcher.apply([staying, crm(turn + 1), *([visitor] if turn % 2 == 0 else [])])
                assert dispatcher.lane_status("guest") is None
                stop.set()
                await flowing
                await dispatcher.apply([staying, crm(8), visitor])
                assert dispatcher._lanes["good"] is lane, "who did not change was left alone"
                await r.settled("good", "crm", "guest", offered=len(logged))
            assert len(logged) > 100
            for server in (good, guest):
                assert ids(server.requests) == Counter(logged)
            assert accepted == Counter(logged)
            for name in ("good", "crm", "guest"):
                line = await r.line(name)
                assert (line.delivered, line.unaccounted) == (len(logged), 0)
            for key in range(7):
                arrived = [each for each in good.requests if msgspec.json.decode(each.body)["ordering_key"] == str(key)]
                assert numbers([each.body for each in arrived]) == sorted(numbers([each.body for each in arrived]))
            assert await r.audited() == (0, [])

    asyncio.run(run())


@pytest.mark.usefixtures("quick")
def test_a_changed_subscriber_goes_on_at_its_cursor_with_what_it_had_parked(tmp_path: Path) -> None:
    """A new URL gets what the old one failed at, and what was never read; nothing begins anew.

    Once the new lane's first settle had the number of the old one's last: it was taken for a repetition and did
    nothing, and everything in hand was delivered again.
    """

    async def run() -> None:
        async with (
            rig(tmp_path) as r,
            serving(answering(response("500 Internal Server Error"))) as old,
            serving(answering(OK)) as new,
        ):
            await r.append(20)
            async with r.delivering(subscriber(old.port, retry_s=(0.8, 0.8))) as dispatcher:
                await until(lambda: len(old.requests) == 20)
                await dispatcher.apply([subscriber(new.port, retry_s=(0.8, 0.8))])
                await r.append(5, first=100)
                await r.settled(offered=25)
            attempts = Counter(request.headers["gateway-attempt"] for request in new.requests)
            assert attempts == {"2": 20, "1": 5}
            assert len(old.requests) == 20
            assert await r.audited() == (0, [])

    asyncio.run(run())


@pytest.mark.usefixtures("quick")
def test_a_lane_that_cannot_start_while_the_store_is_away_starts_with_the_next_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it was missing until the next change, while its events waited and nothing said so."""
    real, refused = SubscriberStore.subscribe, list[bool]()

    async def subscribe(self: SubscriberStore, start: str | int, now_ms: int) -> Any:
        if self.name == "new" and not refused:
            refused.append(True)
            raise StoreUnavailable("away for a moment")
        return await real(self, start, now_ms)

    monkeypatch.setattr(SubscriberStore, "subscribe", subscribe)

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(OK)) as server, serving(answering(OK)) as other:
            await r.append(10)
            async with r.delivering(subscriber(other.port, "other")) as dispatcher:
                await r.settled("other", offered=10)
                await dispatcher.apply([subscriber(other.port, "other"), subscriber(server.port, "new")])
                assert refused
                await r.settled("other", "new", offered=10)
            assert await r.audited() == (0, [])

    asyncio.run(run())


@pytest.mark.usefixtures("quick")
def test_a_defect_in_a_lane_ends_it_visibly_and_it_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the lane's timer died alone, and parked events never came back."""
    real, asked = SubscriberStore.due, []

    async def due(self: SubscriberStore, *args: Any) -> Any:
        asked.append(True)
        if len(asked) == 2:
            raise RuntimeError("a defect")
        return await real(self, *args)

    monkeypatch.setattr(SubscriberStore, "due", due)

    async def run() -> None:
        async def script(connection: Connection) -> None:
            while True:
                first = (await connection.request()).headers["gateway-attempt"] == "1"
                await connection.write(response("500 Internal Server Error") if first else OK)

        async with rig(tmp_path) as r, serving(script) as server:
            await r.append(5)
            async with r.delivering(subscriber(server.port, retry_s=(0.3,))):
                await r.settled(offered=5)
            assert len(asked) > 2
            assert (await r.line()).delivered == 5

    asyncio.run(run())


# Two moments in which events could slip through


class _HeldLog(PartitionLog):
    """A log whose next page is kept back after it was read, while a test lets the world go on."""

    def __init__(self, log: PartitionLog) -> None:
        super().__init__(log._store, log.keys)
        self.keep_back: int | None = None
        """The limit of the page to keep back; other reads pass."""
        self.read_meanwhile = asyncio.Event()
        self.go_on = asyncio.Event()

    async def read(self, after: int, limit: int, *, block_ms: int | None = None) -> list[Entry]:
        """Read as ever, but hand over late."""
        found = await super().read(after, limit, block_ms=block_ms)
        if block_ms is None and limit == self.keep_back:
            self.keep_back = None
            self.read_meanwhile.set()
            await self.go_on.wait()
        return found


def test_an_event_logged_while_a_subscriber_begins_at_the_beginning_is_not_passed_over(tmp_path: Path) -> None:
    """The log was empty when asked, and was not a moment later: the cursor stands before what came in between."""

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(OK)) as server:
            held = _HeldLog(r.log)
            r.log, held.keep_back = held, 1
            async with r.delivering(subscriber(server.port, start="beginning")):
                await held.read_meanwhile.wait()
                events = await r.append(3)
                held.go_on.set()
                await r.settled(offered=3)
            assert ids(server.requests) == Counter(events)

    asyncio.run(run())


def test_a_lane_that_joins_as_the_last_live_one_leaves_is_read_from_its_own_place(tmp_path: Path) -> None:
    """The live reader waits at a place that nobody stands at any more; what the newcomer needs lies before it."""

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(OK)) as server, serving(answering(OK)) as other:
            held = _HeldLog(r.log)
            r.log = held
            events = await r.append(10)
            leaving, coming = subscriber(other.port, "leaving"), subscriber(server.port)
            async with r.delivering(leaving) as dispatcher:
                await r.settled("leaving", offered=10)
                held.keep_back = 256
                await dispatcher.apply([leaving, coming])
                await held.read_meanwhile.wait()  # the newcomer's page, up to event 10
                events += await r.append(10, first=100)
                await r.settled("leaving", offered=20)  # the live reader waits after event 20
                await asyncio.sleep(0.05)
                await dispatcher.apply([coming])
                held.go_on.set()
                events += await r.append(10, first=200)
                await r.settled(offered=30)
            assert ids(server.requests) == Counter(events)
            assert (await r.line()).discarded == 0

    asyncio.run(run())


def test_a_stop_while_the_lease_is_asked_for_leaves_it_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store had said yes, and nobody delivered until the lease ran out: the model found it by stopping at once."""
    real, taken = Lease.take, asyncio.Event()

    async def take(self: Lease) -> Held:
        held = await real(self)
        if self.owner == "first":
            taken.set()
            await asyncio.Event().wait()  # the answer is on its way
        return held

    monkeypatch.setattr(Lease, "take", take)

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(OK)) as server:
            await r.append(5)
            first = r.dispatcher(subscriber(server.port), owner="first")
            first.start()
            await taken.wait()
            await first.stop()
            async with r.delivering(subscriber(server.port)):
                await r.settled(offered=5, within_s=3)

    asyncio.run(run())
