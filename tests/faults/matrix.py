"""The matrix: points × what happens there, each with a real gateway on the same store, one life after the other."""

import asyncio
import contextlib
import re
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.faults.tours import STEP_S, TOURS, Tour, spool
from tests.torture.act import Act, Done

HOPELESS_S = 180.0
"""A gateway that has not passed its points by then never will. It takes a second or two, all points together ten; a
machine that is slow takes longer, and that is no fault."""

HANGS_S = {"launch": 1, "attempt": 3}
"""How long a point hangs, where it is not the ``HANG_S`` that is longer than a reply of the store may take."""
HANG_S = 6

ELSEWHERE = ("migrate",)
"""Boundaries that no running gateway passes: there is no earlier format yet. ``test_migrating.py`` has them."""
LATER = ("trim",)
"""Boundaries that are passed only where the log is bounded: in an act of their own."""

SECOND = ("launch",)
"""Boundaries whose failure at the start is the end of the start, as it should be: struck when it is passed again."""


class Case(NamedTuple):
    """What happens where."""

    point: str
    action: str

    @property
    def boundary(self) -> str:
        """Without its side."""
        return self.point.rpartition(".")[0]

    @property
    def order(self) -> str:
        """For the environment."""
        return f"{self.point}={self.action}" + ("@2" if self.boundary in SECOND and self.action != "kill" else "")


def cases(points: Sequence[str], kinds: Sequence[str]) -> list[Case]:
    """All of them, for these points."""
    found = []
    for kind in kinds:
        for point in points:
            boundary = point.rpartition(".")[0]
            found.append(Case(point, f"hang:{HANGS_S.get(boundary, HANG_S)}" if kind == "hang" else kind))
    return found


class Matrix:
    """A run of cases on one act."""

    def __init__(self, wanted: Sequence[Case], say: Callable[[str], None]) -> None:
        self._wanted = wanted
        self._say = say
        self.struck: set[Case] = set()
        """Those that really happened: the gateway said so."""

    async def strikes(self, act: Act) -> AsyncIterator[None]:
        """Kills one by one, each its own life; what else happens to one side of the points in one life for each."""
        act.is_kept = False
        await act.end(act.gateway.kill)
        for case in [case for case in self._wanted if case.action == "kill"]:
            await self._life(act, [case])
        for action in ("error", "hang"):
            for side in ("before", "after"):
                together = [c for c in self._wanted if c.action.startswith(action) and c.point.endswith(side)]
                if together:
                    await self._life(act, together)
        await act.start()
        act.is_kept = True
        await act.ask("DELETE", "subscribers/guest?forget=true")  # a life may have ended before it had gone
        yield

    async def _life(self, act: Act, armed: Sequence[Case]) -> None:
        began = len(act.gateway.words()) if act.gateway.log.exists() else 0
        began_s = time.monotonic()
        await act.start(";".join(case.order for case in armed))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HOPELESS_S):
                await self._until(act, armed, began)
        struck = said(act, began)
        self.struck |= {case for case in armed if case.point in struck}
        missed = [case.point for case in armed if case.point not in struck]
        self._say(f"{len(self.struck)} of {len(self._wanted)}; {armed[0].action} {armed[0].point}, missed: {missed}")
        await act.end(act.gateway.kill)
        act.spans_s.append((began_s, time.monotonic()))

    async def _until(self, act: Act, armed: Sequence[Case], began: int) -> None:
        """Go on tours until all that is armed has happened, and a kill has killed."""
        led: dict[Tour, set[str]] = {}
        for case in armed:
            if case.boundary in TOURS:
                led.setdefault(TOURS[case.boundary], set()).add(case.point)
        last = led.pop(spool, set())  # it takes the store away, which the others need
        await _travel(act, led, began)
        await _travel(act, {spool: last} if last else {}, began)
        while act.runs and (armed[0].action == "kill" or not {case.point for case in armed} <= said(act, began)):
            await asyncio.sleep(STEP_S)
        await asyncio.sleep(0.2)  # what happened last has its consequences


async def _travel(act: Act, led: Mapping[Tour, set[str]], began: int) -> None:
    """Each of these tours until its points have struck, or the gateway has ended."""
    async with asyncio.TaskGroup() as group:
        going = {group.create_task(tour(act)): points for tour, points in led.items()}
        while going:
            struck = said(act, began)
            for task, points in list(going.items()):
                if points <= struck or not act.runs:
                    task.cancel()
                    del going[task]
            await asyncio.sleep(STEP_S)


def said(act: Act, began: int) -> set[str]:
    """The points at which something happened, as the gateway told since then."""
    return set(re.findall(r"^fault (\S+) ", act.gateway.words()[began:], re.MULTILINE))


def run(wanted: Sequence[Case], *, seed: int, rate: float, say: Callable[[str], None]) -> tuple[Done, set[Case]]:
    """Strike all of these, on one store, drain, and look."""
    matrix = Matrix(wanted, say)
    with tempfile.TemporaryDirectory(prefix="gateway-faults-") as folder:

        async def play() -> Done:
            act = Act("embedded", Path(folder), seed=seed, rate=rate, say=say)
            if any(case.boundary in LATER for case in wanted):
                act.retention = "1MiB"
            return await act.play(matrix.strikes)

        return asyncio.run(play()), matrix.struck
