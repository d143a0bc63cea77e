"""What can go wrong, and how it is done to an act. Each returns when it is over.

Whatever may cost a settle or an answer is noted with its times (``kills_s``, ``spans_s``): only that explains a
repeated delivery.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import get_args

from tests.crashes.killer import kill_store
from tests.crashes.subscribers import Mood
from tests.support.processes import store_pids, titles
from tests.torture.act import HOUR_S, Act, Kind
from tests.torture.world import SUBSCRIBERS, children

PAUSE_S = (0.5, 2.0)
"""Between two strikes."""

WORKER = b"gateway.workers.child"
ROLL_S = 60.0
"""So long at most until the workers are others: where one was just being started, they stay."""

JUMPS_S = (365 * 24 * HOUR_S, HOUR_S, 1)
"""In turns, so that each act has the longest."""
AHEAD_S, BEHIND_S = 6.0, 2.0
"""How long the clock stays there: ahead until all ages were looked at, which is done every five seconds."""

ARMED = (
    "commit.before=kill@{n}",
    "commit.after=kill@{n}",
    "settle.before=kill@{n}",
    "settle.after=kill@{n}",
    "attempt.after=kill@{n}",
    "lease.after=kill",
    "pipeline.after=kill@{n}",
    "spool.write.after=kill",
    "spool.commit.after=kill@2",
    "spool.remove.before=kill",
    "commit.after=error@{n};settle.after=error@{n};lease.after=error@2;attempt.after=error@{n}",
    "commit.after=hang:3@{n};settle.before=hang:2@{n};command.after=hang:6@{n};spool.commit.before=error@3",
)
"""What a gateway that is started is armed with at times. ``tests/faults`` strikes every point, one by one."""


async def kill_gateway(act: Act) -> None:
    """kill -9, of the parent where there are workers; started again at once."""
    await act.end(act.gateway.kill)
    await act.start()


async def kill_starting(act: Act) -> None:
    """kill -9, and once more while it starts."""
    await act.end(act.gateway.kill)
    act.gateway.spawn()
    await asyncio.sleep(act.chance.uniform(0, 1))
    await act.end(act.gateway.kill)
    await act.start()


async def arm(act: Act) -> None:
    """kill -9, started again with a fault armed, and after a while once more without."""
    began_s = time.monotonic()
    await act.end(act.gateway.kill)
    await act.start(act.chance.choice(ARMED).format(n=act.chance.randint(2, 200)))
    await asyncio.sleep(act.chance.uniform(2, 5))
    await act.serving()
    await kill_gateway(act)
    act.spans_s.append((began_s, time.monotonic()))


async def stop_gateway(act: Act) -> None:
    """SIGTERM under load; the exit code must be 0."""
    codes: list[int] = []
    await act.end(lambda: codes.append(act.gateway.terminate()))
    if codes != [0]:
        act.failed_stops.append(codes[0])
    await act.start()


async def strike_worker(act: Act) -> None:
    """kill -9 of one worker."""
    process = act.gateway.process
    assert process is not None
    workers = children(process.pid, WORKER, titles)
    if workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(act.chance.choice(workers), signal.SIGKILL)
        act.kills_s.append(time.monotonic())


async def roll(act: Act) -> None:
    """Workers are replaced one by one."""
    process = act.gateway.process
    assert process is not None
    began_s = time.monotonic()
    first = set(children(process.pid, WORKER, titles))
    process.send_signal(signal.SIGUSR2)
    while first & set(children(process.pid, WORKER, titles)) and time.monotonic() < began_s + ROLL_S:
        await asyncio.sleep(0.1)
    act.spans_s.append((began_s, time.monotonic()))


async def strike_store(act: Act) -> None:
    """kill -9 of the store; an external one is started again after a while."""
    if act.server is not None:
        began_s = time.monotonic()
        act.server.kill()
        await asyncio.sleep(act.chance.uniform(0, 4))
        await asyncio.to_thread(act.server.start)
        act.spans_s.append((began_s, time.monotonic()))
    else:
        deadline_s = time.monotonic() + 60
        while not kill_store(act.data):
            if time.monotonic() > deadline_s:
                raise RuntimeError("there is no store to kill")
            await asyncio.sleep(0.01)
        act.kills_s.append(time.monotonic())
    await act.normal_again()


async def stop_store(act: Act) -> None:
    """SIGSTOP of the store for a while: it is there, and says nothing."""
    if act.server is not None:
        assert act.server.process is not None
        pids = [act.server.process.pid]
    else:
        pids = store_pids(act.data)
    began_s = time.monotonic()
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(act.chance.choice((0.3, 1.0, 4.0, 8.0)))
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    act.spans_s.append((began_s, time.monotonic()))
    await act.normal_again()


async def cut(act: Act) -> None:
    """Every connection to the store is cut, once."""
    assert act.proxy is not None
    act.proxy.cut()
    act.kills_s.append(time.monotonic())
    await act.normal_again()


async def away(act: Act) -> None:
    """The store cannot be reached for a while."""
    assert act.proxy is not None
    began_s = time.monotonic()
    act.proxy.refuse = True
    act.proxy.cut()
    await asyncio.sleep(act.chance.uniform(0.5, 8))
    act.proxy.refuse = False
    act.spans_s.append((began_s, time.monotonic()))
    await act.normal_again()


async def deaf(act: Act) -> None:
    """What is asked of the store arrives, and no reply comes back, for a while."""
    assert act.proxy is not None
    began_s = time.monotonic()
    act.proxy.deaf = True
    await asyncio.sleep(act.chance.uniform(0.5, 6))
    act.proxy.deaf = False
    act.proxy.cut()
    act.spans_s.append((began_s, time.monotonic()))
    await act.normal_again()


async def lose_replies(act: Act) -> None:
    """A few scripts are done, and their replies get lost."""
    assert act.proxy is not None
    act.proxy.lose_replies += act.chance.randint(1, 8)
    began_s = time.monotonic()
    await asyncio.sleep(1)
    act.spans_s.append((began_s, time.monotonic()))


async def set_clock(act: Act) -> None:
    """The clock jumps, for gateway and store, by a second, an hour or a year: ahead and back, or back and ahead."""
    by_s = JUMPS_S[(act.strikes[CLOCK] - 1) % len(JUMPS_S)]
    await act.jump(act.chance.sample([(by_s, AHEAD_S), (-by_s, BEHIND_S)], 2))
    await act.normal_again()


async def fill_disk(act: Act) -> None:
    """The disk of the store is full for a while, at times of the ballast too; one act has its spool there as well."""
    disk = act.machine.disk
    assert disk is not None
    again = act.chance.random() < 0.5
    began_s, until_s = time.monotonic(), time.monotonic() + act.chance.uniform(1, 6)
    try:
        disk.fill()
        while time.monotonic() < until_s:
            await asyncio.sleep(0.1)
            if again:
                disk.fill()
    finally:
        disk.free()
    if act.server is not None:  # it ends when it cannot write
        await asyncio.to_thread(act.server.revive)
    act.spans_s.append((began_s, time.monotonic()))
    await act.normal_again()


async def reload(act: Act) -> None:
    """A changed file is read again."""
    act.configure()
    assert act.gateway.process is not None
    act.gateway.process.send_signal(signal.SIGHUP)
    await asyncio.sleep(0.5)


async def pause(act: Act) -> None:
    """A subscriber is paused, and resumed after a while."""
    name = act.chance.choice(SUBSCRIBERS)
    await act.ask("POST", f"subscribers/{name}/pause", {"reason": "torture"})
    await asyncio.sleep(act.chance.uniform(0.5, 3))
    await act.ask("POST", f"subscribers/{name}/resume")


async def misbehave(act: Act) -> None:
    """A subscriber hangs, resets, breaks its answers off, redirects or is busy, for a while."""
    subscriber = act.subscribers[act.chance.choice(SUBSCRIBERS)]
    subscriber.mood = act.chance.choice(get_args(Mood))
    await asyncio.sleep(act.chance.uniform(0.5, 3))
    subscriber.mood = "good"


async def replay(act: Act) -> None:
    """What came in the last seconds is sent again."""
    await act.ask("POST", "replays", {"subscriber": "filtered", "since": "10s", "rate": "200/s"})


async def retry_dead(act: Act) -> None:
    """All dead letters are tried again."""
    moved = await act.ask("POST", "dead/retry", {"all": True})
    act.dead_retried += moved["moved"] if moved else 0


Strike = Callable[[Act], Awaitable[None]]
CLOCK, DISK = "clock set", "disk full"
ALWAYS: dict[str, Strike] = {
    "gateway killed": kill_gateway,
    "gateway killed while it started": kill_starting,
    "gateway stopped": stop_gateway,
    "store killed": strike_store,
    "store standing still": stop_store,
    CLOCK: set_clock,
    DISK: fill_disk,
    "reload": reload,
    "pause": pause,
    "subscriber misbehaving": misbehave,
    "replay": replay,
    "dead letters retried": retry_dead,
}
ALSO: dict[Kind, dict[str, Strike]] = {
    "embedded": {"faults armed": arm, "faults armed again": arm},
    "workers": {"worker killed": strike_worker, "another worker killed": strike_worker, "workers replaced": roll},
    "external": {"store cut": cut, "store away": away, "store deaf": deaf, "replies lost": lose_replies},
}


async def strikes(act: Act, seconds: float, only: Collection[str] | None = None) -> AsyncIterator[None]:
    """So long, and until each was done once: wait a little, then do something by chance."""
    until_s = time.monotonic() + seconds
    possible = {name: do for name, do in (ALWAYS | ALSO[act.kind]).items() if not only or name in only}
    if act.machine.clock is None:
        possible.pop(CLOCK, None)
    if act.machine.disk is None:
        possible.pop(DISK, None)
    first = act.chance.sample(sorted(possible), len(possible))
    while first or time.monotonic() < until_s:
        await asyncio.sleep(act.chance.uniform(*PAUSE_S))
        await act.serving()
        name = first.pop() if first else act.chance.choice(sorted(possible))
        act.strikes[name] += 1
        act.striking = name
        await possible[name](act)
        yield
