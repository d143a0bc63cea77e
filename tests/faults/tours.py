"""How a gateway is brought to pass a boundary that traffic alone does not lead to.

A tour leads there again and again and never ends: whoever began it cancels it once what it leads to has happened. What
it needs on its way it waits for, as long as that takes; so how fast the machine is decides only when it gets there.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from tests.crashes.killer import kill_store
from tests.crashes.subscribers import Mood
from tests.torture.act import Act

Tour = Callable[[Act], Coroutine[Any, Any, None]]

STEP_S = 0.02
"""Between two looks, and between two rounds of a tour."""


async def dead(act: Act) -> None:
    """Events die, all is counted again while some are dead, and they are tried again.

    A subscriber that refuses each for its own sake: its breaker, behind which nothing dies, stays closed."""
    async with mood(act, "picky", "refusing"):
        while True:
            if ((await act.ask("GET", "dead")) or {}).get("items"):
                await act.ask("GET", "audit")
                await act.ask("POST", "dead/retry", {"subscriber": "picky", "all": True})
            await asyncio.sleep(STEP_S)


async def replay(act: Act) -> None:
    """Events are sent again."""
    while True:
        await act.ask("POST", "replays", {"subscriber": "filtered", "since": "2s", "rate": "200/s"})
        await asyncio.sleep(STEP_S)


async def members(act: Act) -> None:
    """A subscriber comes, and goes for good."""
    settings = {
        "name": "guest",
        "url": f"http://127.0.0.1:{act.subscribers['plain'].port}/",
        "allow_networks": ["127.0.0.0/8"],
        "types": ["channel.connected"],
    }
    while True:
        await act.ask("POST", "subscribers", settings)
        await act.ask("DELETE", "subscribers/guest?forget=true")
        await asyncio.sleep(STEP_S)


async def pause(act: Act) -> None:
    """A subscriber is paused and resumed; none that another tour needs, for a kill in between leaves it paused."""
    while True:
        await act.ask("POST", "subscribers/filtered/pause", {"reason": "a tour"})
        await act.ask("POST", "subscribers/filtered/resume")
        await asyncio.sleep(STEP_S)


async def gone(act: Act) -> None:
    """A subscriber fails: its breaker opens, or, where it is open from before, its probe is in vain."""
    async with mood(act, "plain", "busy"):
        await asyncio.Event().wait()


async def spool(act: Act) -> None:
    """The store is away until something is in the spool, and comes back until the spool is empty."""
    while True:
        async with away(act):
            before = act.heard["spooled"]
            while act.heard["spooled"] < before + 3:
                await asyncio.sleep(STEP_S)
        while ((await act.ask("GET", "ledger")) or {}).get("events", {}).get("spooled") != 0:
            await asyncio.sleep(STEP_S)


TOURS: dict[str, Tour] = {
    "dead": dead,
    "replay": replay,
    "scan": dead,
    "absent": dead,
    "ledger": dead,
    "subscribers": members,
    "forget": members,
    "change": pause,
    "switch": gone,
    "launch": spool,
    "spool.create": spool,
    "spool.write": spool,
    "spool.commit": spool,
    "spool.read": spool,
    "spool.remove": spool,
}


@asynccontextmanager
async def mood(act: Act, name: str, how: Mood) -> AsyncIterator[None]:
    """A subscriber is of this mood as long as the block runs."""
    act.subscribers[name].mood = how
    try:
        yield
    finally:
        act.subscribers[name].mood = "good"


@asynccontextmanager
async def away(act: Act) -> AsyncIterator[None]:
    """The embedded store is killed, and cannot be started as long as the block runs: we hold its lock."""
    lock = os.open(act.data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            kill_store(act.data)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:  # not dead yet, or the gateway was faster
                await asyncio.sleep(0.005)
        yield
    finally:
        os.close(lock)
