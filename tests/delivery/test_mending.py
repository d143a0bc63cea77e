"""A defect of ours in one lane: that lane begins anew, and nobody else notices."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.delivery import mending
from gateway.delivery.lane import Lane
from gateway.delivery.mending import Mender
from gateway.delivery.parcel import Slot
from gateway.store.parked import Change
from tests.support.delivering import lane_status, rig, subscriber, until
from tests.support.servers import answering, response, serving

pytestmark = pytest.mark.usefixtures("quick")

OK = response("204 No Content")


class Broken(Lane):
    """The lane of ``crm`` has a defect, a number of times."""

    defects = 1
    where = "try"

    async def _try(self, slot: Slot, *, probe: bool = False) -> None:
        self._raise("try")
        await super()._try(slot, probe=probe)

    async def _on_settled(self, changes: list[Change], of_parked: list[Change], freed: list[str]) -> None:
        self._raise("settle")
        await super()._on_settled(changes, of_parked, freed)

    def _park_long_attempts(self) -> None:
        self._raise("tick")
        super()._park_long_attempts()

    def _raise(self, where: str) -> None:
        if self.name == "crm" and self.where == where and type(self).defects:
            type(self).defects -= 1
            raise RuntimeError(f"a defect in {where}")


@pytest.mark.parametrize("place", ["try", "settle", "tick"])
def test_a_defect_in_one_lane_restarts_that_lane_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    """The neighbour's lane is the same and delivers all the while; the broken one recovers; nothing is lost."""
    monkeypatch.setattr(mending, "FIRST_PAUSE_S", 0.2)

    class Here(Broken):
        defects, where = 1, place

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(OK)) as server, serving(answering(OK)) as other:
            r.lane = Here
            async with r.delivering(subscriber(server.port), subscriber(other.port, "other")) as dispatcher:
                await until(lambda: dispatcher.holds)
                lanes = dict(dispatcher._lanes)
                epoch, tasks = dispatcher._epoch, list(lanes["other"]._tasks)
                await r.append(50)
                await until(lambda: lane_status(dispatcher)["defect"] == f"RuntimeError: a defect in {place}")
                for number in range(1, 6):  # while it waits for its turn
                    await r.append(1, first=100 * number)
                    await r.settled("other", offered=50 + number)
                assert dispatcher.holds
                await r.settled("crm", "other", offered=55)
                assert Here.defects == 0
                assert lane_status(dispatcher)["defect"] == ""
                assert dispatcher._epoch == epoch
                assert dispatcher._lanes["other"] is lanes["other"]
                assert [task.done() for task in tasks] == [False, False]
            assert {request.headers["webhook-id"] for request in server.requests} == {
                request.headers["webhook-id"] for request in other.requests
            }
            assert len(other.requests) == 55
            assert (await r.line()).delivered == 55
            assert await r.audited() == (0, [])

    asyncio.run(run())
    said = capsys.readouterr().out
    assert said.count("its lane begins anew") == 1, "told once"
    assert "Traceback" in said


def test_a_lane_that_begins_anew_while_the_log_is_read_is_given_no_hole(tmp_path: Path) -> None:
    """What was read for it further on would let it pass over what it has to do again, and call that discarded."""

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(OK)) as server:
            await r.append(10)
            async with r.delivering(subscriber(server.port)) as dispatcher:
                await r.settled("crm", offered=10)
                lane = dispatcher._lanes["crm"]
                await lane.stop(1.0)
                await r.store.call("HSET", r.keys.subscriber("crm").sub, "cursor", 5, "delivered", 5)
                further_on = await r.log.read(7, 10)
                await lane.start(dispatcher._epoch, 0, asyncio.Event())
                dispatcher._live.clear()
                dispatcher._feed(7, further_on, [lane])
                assert lane.read_seq == 5
                dispatcher._stir.set()
                await r.settled("crm", offered=10)
            line = await r.line()
            assert (line.delivered, line.discarded) == (10, 0)
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_the_pause_doubles_with_each_defect_and_a_sound_lane_is_pardoned() -> None:
    """1, 2, 4 … 60 s; after ten minutes without a defect it is 1 s again."""
    now_s = 0.0

    async def nothing(lane: Lane) -> None:
        """Never called."""

    mender = Mender(nothing, monotonic=lambda: now_s)
    pauses: Sequence[float] = [mender._pause_s("crm") for _ in range(8)]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert mender._pause_s("other") == 1
    now_s = 601.0
    assert mender._pause_s("crm") == 1
