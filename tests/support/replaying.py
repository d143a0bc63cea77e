"""A replayer on the rig of ``delivering.py``, and short words for making replays and looking at them."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from gateway.config import SubscriberSettings
from gateway.delivery.guard import Guard
from gateway.delivery.replay import Replayer
from gateway.errors import StoreUnavailable
from gateway.store.lease import Lease
from gateway.store.replays import Replay, Replays, ReplaySpec, ReplayTarget
from tests.support.delivering import HOPELESS_S, Rig, rig, subscriber, until, wall_ms
from tests.support.servers import Connection, Received, Script, Server, response, serving

SOON_S = (0.01, 0.01)
EVEN = "event.id.matches('[02468]$')"
"""A condition for the rig's events, whose ids end with their numbers."""
OK = response("204 No Content")


def ids(requests: list[Received]) -> Counter[str]:
    """How often each event came."""
    return Counter(request.headers["webhook-id"] for request in requests)


def refusing(status: str, *events: str, times: int = 1_000) -> Script:
    """Answer these events (none named: all) with a refusal, so many times each; the rest is taken."""
    seen: Counter[str] = Counter()

    async def script(connection: Connection) -> None:
        while True:
            event = (await connection.request()).headers["webhook-id"]
            seen[event] += 1
            concerned = (not events or event in events) and seen[event] <= times
            await connection.write(response(status) if concerned else OK)

    return script


def slow(seconds: float) -> Script:
    """Take everything, each after a while."""

    async def script(connection: Connection) -> None:
        while True:
            await connection.request()
            await asyncio.sleep(seconds)
            await connection.write(OK)

    return script


class Bench:
    """One store's replays."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.replays = Replays(rig.store, rig.keys)
        self.forgotten: list[str] = []
        """References to secrets that are no longer needed."""
        self._made = 0

    async def make(self, **wanted: Any) -> str:
        """Ask for a replay of what is in the log now. Returns its id."""
        self._made += 1
        replay = Replay(
            id=f"rpl_{self._made}",
            spec=ReplaySpec(**wanted),
            created_ms=wall_ms(),
            created_by="test",
            starts=[0],
            ends=[await self.rig.log.last()],
            positions=[0],
        )
        assert await self.replays.save(replay, 0)
        return replay.id

    async def get(self, replay_id: str) -> Replay:
        """Its record."""
        stored = await self.replays.get(replay_id)
        assert stored is not None
        return stored.replay

    async def change(self, replay_id: str, state: Any) -> None:
        """As an operator does."""
        while True:
            stored = await self.replays.get(replay_id)
            assert stored is not None
            stored.replay.state = state
            if await self.replays.save(stored.replay, stored.version):
                return

    async def ended(self, replay_id: str, within_s: float = HOPELESS_S) -> Replay:
        """Wait until it runs no more."""

        async def over() -> bool:
            return not (await self.get(replay_id)).is_open

        await until(over, within_s=within_s)
        return await self.get(replay_id)

    def replayer(self, *subscribers: SubscriberSettings, owner: str, **settings: Any) -> Replayer:
        """As ``app.py`` wires it."""

        def read_target(target: ReplayTarget) -> SubscriberSettings:
            port = int(target.url.rpartition(":")[2])
            return subscriber(port, "to-url")

        known = {each.name: each for each in subscribers}
        wired: dict[str, Any] = {
            "guard": Guard(own=()),
            "read_target": read_target,
            "forget_secret": self.forgotten.append,
            "retry_s": SOON_S,
            "look_s": 0.02,
            **settings,
        }
        return Replayer(
            store=self.rig.store,
            keys=[self.rig.keys],
            logs=[self.rig.log],
            owner=owner,
            subscribers=lambda: known,
            wall_ms=wall_ms,
            monotonic=time.monotonic,
            **wired,
        )

    async def take(self, owner: str) -> None:
        """Give the lease of the partition to ``owner``, whoever has it."""
        while not (await Lease(self.rig.store, self.rig.keys, owner).take()).ours:
            await self.rig.store.call("HDEL", self.rig.keys.state, "owner", "lease_until_ms")

    @asynccontextmanager
    async def replaying(self, *subscribers: SubscriberSettings, **settings: Any) -> AsyncIterator[Replayer]:
        """Run replays while the block does, in a process that holds the lease."""
        await self.take("one")
        replayer = self.replayer(*subscribers, owner="one", **settings)
        replayer.start()
        try:
            yield replayer
        finally:
            await replayer.stop()


@asynccontextmanager
async def scene(
    directory: Path, script: Script, count: int
) -> AsyncIterator[tuple[Rig, Server, SubscriberSettings, list[str], Bench]]:
    """A log of so many events that nobody delivered, and one subscriber that behaves like ``script``."""
    async with rig(directory) as r, serving(script) as server:
        yield r, server, subscriber(server.port), await r.append(count), Bench(r)


async def abandon(replayer: Replayer) -> None:
    """End it as a crash does: from now on it writes nothing, and then it is gone."""

    async def away(*_: Any, **__: Any) -> int:
        raise StoreUnavailable("this process is dead")

    with patch.object(replayer._replays, "save", away):
        await replayer.stop()
