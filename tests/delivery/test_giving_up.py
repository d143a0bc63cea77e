"""What is beyond ``max_lag`` is discarded or delivered, never both."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.delivery import settling
from gateway.store.log import Entry, PartitionLog
from tests.support.clock import Clock
from tests.support.delivering import rig, subscriber, until
from tests.support.servers import Connection, response, serving

pytestmark = pytest.mark.usefixtures("quick")

OK, DOWN = response("204 No Content"), response("500 Internal Server Error")


def test_an_event_that_is_just_being_taken_back_is_not_given_up_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between "it is due" and "it is in hand" the event was dropped, and yet delivered: counted as discarded."""
    real, taking, gate = PartitionLog.pick, asyncio.Event(), asyncio.Event()

    async def pick(self: PartitionLog, seqs: Sequence[int]) -> dict[int, Entry]:
        taking.set()
        await gate.wait()
        return await real(self, seqs)

    monkeypatch.setattr(PartitionLog, "pick", pick)

    async def run() -> None:
        async def script(connection: Connection) -> None:
            while True:
                first = (await connection.request()).headers["gateway-attempt"] == "1"
                await connection.write(DOWN if first else OK)

        async with rig(tmp_path) as r, serving(script) as server:
            clock = Clock()
            r.wall_ms, r.monotonic = clock.wall_ms, clock.monotonic
            await r.append(3)
            async with r.delivering(subscriber(server.port, retry_s=(600.0,))) as dispatcher:
                keys = r.keys.subscriber("crm")

                async def parked() -> bool:
                    return bool(await r.store.call("HLEN", keys.parked) == 3)

                await until(parked)
                clock.advance(900)
                await taking.wait()
                lane = dispatcher._lanes["crm"]
                giving_up = asyncio.create_task(lane.give_up_before(3))
                await asyncio.sleep(0.2)  # it has found the three, and waits for what is being taken back
                gate.set()
                await giving_up
                await until(lambda: not (lane._returns.in_hand or lane._returns._looking.locked()))
                await r.settled(offered=3)
            delivered = sum(request.headers["gateway-attempt"] == "2" for request in server.requests)
            line = await r.line()
            assert (line.delivered, line.discarded) == (delivered, 3 - delivered)
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_all_held_events_of_a_key_are_given_up_in_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One a pass would be one a minute; and those that are young enough go on in order."""
    monkeypatch.setattr(settling, "SETTLE_CHANGES", 7)  # several settles

    async def run() -> None:
        down = True
        taken: list[str] = []

        async def script(connection: Connection) -> None:
            while True:
                request = await connection.request()
                if not down:
                    taken.append(request.headers["webhook-id"])
                await connection.write(DOWN if down else OK)

        async with rig(tmp_path) as r, serving(script) as server:
            clock = Clock()
            r.wall_ms, r.monotonic = clock.wall_ms, clock.monotonic
            events = await r.append(50, key="a")
            async with r.delivering(subscriber(server.port, order="key", retry_s=(3_600.0,))) as dispatcher:
                keys = r.keys.subscriber("crm")

                async def held() -> bool:
                    return bool(await r.store.call("HLEN", keys.held) == 49)

                await until(held)
                down = False
                await dispatcher._lanes["crm"].give_up_before(40)
                await r.settled(offered=50)
            line = await r.line()
            assert (line.discarded, line.delivered) == (40, 10)
            assert taken == events[40:]
            assert await r.audited() == (0, [])

    asyncio.run(run())
