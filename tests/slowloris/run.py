"""One run: honest senders alone, then beside each attack."""

import asyncio
import contextlib
import json
import os
import shutil
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path

import msgspec

from tests.slowloris.attack import KINDS, Kept
from tests.slowloris.honest import Honest, honest
from tests.support.gateways import GatewayProcess

MOST_TIMES = 2.0
FREED_S = 15.0
GROWTH_BYTES = 8 * 1024 * 1024
GROWTH_EACH_BYTES = 12 * 1024
"""How much memory an attack may cost, and each of its connections."""

OWN_FILES = 8
"""That a gateway may open for itself meanwhile."""

OWN = "our own client"
FLOOR = "our own client, at another process"
NOISE_S = 0.002
"""Below this a p99 is the machine's, not ours: twice of nearly nothing says nothing."""

CONFIG = """
[gateway]
log_level = "warning"
{limits}
[store]
url = "embedded:./data"
[sources.honest]
adapter = "enviaai"
secrets = ["env:SECRET"]
"""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do."""

    connections: int
    """At once: of our own client, a quarter of each kind."""
    alone_s: float = 5.0
    patience_s: float = 40.0
    """How long our own attackers go on, if nobody ends them."""
    limits: str = ""
    """More lines under ``[gateway]``."""
    is_quiet: bool = False
    """Nothing else runs here: attackers, who have machines of their own, get only what the others leave them. With
    ``nice`` alone the scheduler may let an attacker go on for 3 ms while the gateway waits."""
    floor: bool = False
    """Also our own client against another process (``sink``)."""
    tools: bool = False
    """Also slowhttptest, where it is installed."""


class Phase(msgspec.Struct, kw_only=True):
    """What one attack did."""

    name: str
    p99_s: float
    alone_p99_s: float = 0.0
    """Before or after it, whichever was slower."""
    requests: int
    refused: int
    most_connections: int
    grown_bytes: int
    freed_s: float
    """How long the connection that was kept longest was kept; for another's tool, until all were gone after its end."""
    kept: dict[str, Kept] = {}
    wrong: list[str] = []
    slow: str = ""
    """What took longer than its bound, though nothing went wrong: a busy machine shows that, too."""


class Done(msgspec.Struct, kw_only=True):
    """What came of a run."""

    alone_requests: int
    phases: list[Phase]
    log: str


async def run(
    folder: Path,
    plan: Plan,
    say: Callable[[str], None],
) -> Done:
    """Every attack, each between two measurements of the honest alone. Raises nothing: what is wrong is in it."""
    (folder / "gateway.toml").write_text(CONFIG.format(limits=plan.limits), "utf-8")
    gateway = GatewayProcess(folder, {"SECRET": "whs_test"})
    try:
        await asyncio.to_thread(gateway.start)
        phases = []
        async with honest(gateway.port) as senders:
            alone = [await senders.beside(asyncio.sleep(plan.alone_s))]
            for name, argv in _attacks(gateway, plan).items():
                say(f"beside {name}")
                phases.append(await _phase(gateway, senders, name, argv))
                alone.append(await senders.beside(asyncio.sleep(plan.alone_s)))
            if plan.floor:
                say(f"beside {FLOOR}")
                async with _sink() as port:
                    phases.append(await _phase(gateway, senders, FLOOR, _own(port, plan)))
                alone.append(await senders.beside(asyncio.sleep(plan.alone_s)))
        # A machine that others use is not the same at the end as it was at the beginning: neighbours are compared.
        for phase, (before, after) in zip(phases, pairwise(alone), strict=True):
            phase.alone_p99_s = max(before.p99_s, after.p99_s)
            _judge(phase, plan)
        return Done(phases=phases, alone_requests=sum(len(each.took_s) for each in alone), log=gateway.words())
    finally:
        await asyncio.to_thread(gateway.close)


def _behind(plan: Plan) -> list[str]:
    return ["chrt", "--idle", "0"] if plan.is_quiet and shutil.which("chrt") else ["nice"]


def _own(port: int, plan: Plan) -> list[str]:
    attack = ["-m", "tests.slowloris.attack", f"{port}", f"{plan.connections // len(KINDS)}", f"{plan.patience_s}"]
    return [*_behind(plan), sys.executable, *attack]


@contextlib.asynccontextmanager
async def _sink() -> AsyncIterator[int]:
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.slowloris.sink", stdout=PIPE)
    try:
        assert child.stdout is not None
        yield int(await child.stdout.readline())
    finally:
        child.kill()
        await child.wait()


def _attacks(gateway: GatewayProcess, plan: Plan) -> dict[str, list[str]]:
    attacks = {OWN: _own(gateway.port, plan)}
    if plan.tools and (tool := shutil.which("slowhttptest")):
        number = f"{plan.connections}"
        slow = [*_behind(plan), tool, "-c", number, "-r", number, "-i", "1", "-l", "14", "-p", "2"]
        target = ["-u", f"{gateway.url}/in/honest"]
        attacks["slowhttptest: heads"] = [*slow, "-H", *target]
        attacks["slowhttptest: bodies"] = [*slow, "-B", "-s", "100000", *target]
        attacks["slowhttptest: slow reading"] = [*slow, "-X", "-k", "5", "-w", "1", "-y", "2", *target]
    return attacks


async def _phase(gateway: GatewayProcess, senders: Honest, name: str, argv: list[str]) -> Phase:
    assert gateway.process is not None
    pid = gateway.process.pid
    files, resident_bytes = _files(pid), _resident_bytes(pid)
    most = [files, resident_bytes]

    async def watch() -> None:
        while True:
            most[0], most[1] = max(most[0], _files(pid)), max(most[1], _resident_bytes(pid))
            await asyncio.sleep(0.2)

    async def attack() -> bytes:
        watching = asyncio.create_task(watch())
        child = await asyncio.create_subprocess_exec(*argv, stdout=PIPE, stderr=asyncio.subprocess.DEVNULL)
        try:
            output, _ = await child.communicate()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
            watching.cancel()
        return output

    output = b""

    async def attacked() -> None:
        nonlocal output
        output = await attack()

    served = await senders.beside(attacked())
    ended_s = time.monotonic()
    while _files(pid) > files + OWN_FILES and time.monotonic() < ended_s + 2 * FREED_S:
        await asyncio.sleep(0.1)
    freed_s = time.monotonic() - ended_s
    kept: dict[str, Kept] = {}
    if name in (OWN, FLOOR):
        kept = msgspec.convert(json.loads(output), dict[str, Kept])
        freed_s = max(freed_s, *[each.longest_s for each in kept.values()])
    return Phase(
        name=name,
        p99_s=served.p99_s,
        requests=len(served.took_s),
        refused=served.refused,
        most_connections=most[0] - files,
        grown_bytes=most[1] - resident_bytes,
        freed_s=freed_s,
        kept=kept,
    )


def _judge(phase: Phase, plan: Plan) -> None:
    if phase.refused:
        phase.wrong.append("honest requests refused")
    if phase.p99_s > MOST_TIMES * max(phase.alone_p99_s, NOISE_S):
        phase.slow = "slower than the bound"
    if phase.freed_s > FREED_S:
        phase.wrong.append("connections kept")
    if phase.grown_bytes > GROWTH_BYTES + GROWTH_EACH_BYTES * plan.connections:
        phase.wrong.append("memory")
    if any(each.ended < each.opened for each in phase.kept.values()):
        phase.wrong.append("connections never ended")


def _files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208  # of thousands; a Path for each takes four times as long


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE")
