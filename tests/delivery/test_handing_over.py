"""A stop while a subscriber hangs: it ends in its time, and what was on the wire goes to the next owner."""

import asyncio
import time
from pathlib import Path

import pytest

from gateway.delivery import dispatcher as dispatcher_module
from tests.support.delivering import rig, subscriber, until
from tests.support.servers import Connection, serving

pytestmark = pytest.mark.usefixtures("quick")


def test_a_stop_with_a_hung_subscriber_ends_in_time_however_often_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attempts get their part of the time; a second stop waits with the first and breaks nothing off."""
    monkeypatch.setattr(dispatcher_module, "STOP_S", 1.0)

    async def run() -> None:
        gate = asyncio.Event()

        async def script(connection: Connection) -> None:
            await connection.request()
            await gate.wait()

        async with rig(tmp_path) as r, serving(script) as server:
            await r.append(5)
            one = r.dispatcher(subscriber(server.port, timeout_s=60.0))
            one.start()
            await until(lambda: len(server.requests) == 5)
            began_s = time.monotonic()
            first = asyncio.create_task(one.stop())
            await asyncio.sleep(0.1)  # the first is under way
            await asyncio.gather(first, one.stop())
            took_s = time.monotonic() - began_s
            assert 0.75 < took_s < 2.0, "what runs has its time to end, and no more"
            assert await r.store.call("HGET", r.keys.state, "owner") in (b"", None), "the lease is given back"
            line = await r.line()
            assert (line.pending, line.delivered, line.unaccounted) == (5, 0, 0)
            gate.set()
            assert await r.audited() == (0, [])

    asyncio.run(run())
