"""How a gateway is brought to pass a boundary that traffic alone does not lead to."""

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.crashes.killer import kill_store
from tests.torture.act import Act

Tour = Callable[[Act], Awaitable[None]]


async def dead(act: Act) -> None:
    """Something dies, and is tried again."""
    picky = act.subscribers["picky"]
    usual, picky.failing = picky.failing, 0.5
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(3):
            while act.runs and not ((await act.ask("GET", "dead")) or {}).get("items"):
                await asyncio.sleep(0.05)
    picky.failing = usual
    await act.ask("POST", "dead/retry", {"subscriber": "picky", "all": True})


async def replay(act: Act) -> None:
    """Events are sent again."""
    await act.ask("POST", "replays", {"subscriber": "filtered", "since": "2s", "rate": "200/s"})


async def audit(act: Act) -> None:
    """All is counted again."""
    await act.ask("GET", "audit")


async def members(act: Act) -> None:
    """A subscriber comes, is paused, resumed, and goes for good."""
    settings = {
        "name": "guest",
        "url": f"http://127.0.0.1:{act.subscribers['plain'].port}/",
        "allow_networks": ["127.0.0.0/8"],
        "types": ["channel.connected"],
    }
    await act.ask("POST", "subscribers", settings)
    await act.ask("DELETE", "subscribers/guest?forget=true")


async def pause(act: Act) -> None:
    """A subscriber is paused and resumed."""
    await act.ask("POST", "subscribers/picky/pause", {"reason": "a tour"})
    await act.ask("POST", "subscribers/picky/resume")


async def gone(act: Act) -> None:
    """A subscriber fails until its breaker opens."""
    act.subscribers["plain"].mood = "busy"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1.5):
            while act.runs:
                await asyncio.sleep(0.02)
    act.subscribers["plain"].mood = "good"


async def spool(act: Act) -> None:
    """The store is away until something is in the spool, and comes back."""
    async with away(act):
        before = act.heard["spooled"]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                while act.runs and act.heard["spooled"] < before + 3:
                    await asyncio.sleep(0.01)
    with contextlib.suppress(TimeoutError):  # the next tours need it
        async with asyncio.timeout(10):
            while act.runs and await act.ask("GET", "ledger") is None:
                await asyncio.sleep(0.05)


async def stop(act: Act) -> None:
    """The gateway is told to stop; another follows."""
    process = act.gateway.process
    if process is not None and process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(20):
                while process.poll() is None:
                    await asyncio.sleep(0.02)


TOURS: dict[str, Tour] = {
    "dead": dead,
    "replay": replay,
    "scan": audit,
    "absent": audit,
    "ledger": audit,
    "subscribers": members,
    "forget": members,
    "change": pause,
    "switch": gone,
    "spool.write": spool,
    "spool.commit": spool,
    "spool.read": spool,
    "spool.remove": spool,
}


@asynccontextmanager
async def away(act: Act) -> AsyncIterator[None]:
    """The embedded store is killed, and cannot be started as long as the block runs: we hold its lock."""
    lock = os.open(act.folder / "data" / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            kill_store(act.folder / "data")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:  # not dead yet, or the gateway was faster
                await asyncio.sleep(0.005)
        yield
    finally:
        os.close(lock)
