"""Lanes that met a defect of ours begin anew, each by itself: the others of the partition notice nothing."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from gateway.delivery.lane import Lane
from gateway.errors import StoreError

log = structlog.get_logger("gateway.delivery")

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
SOUND_S = 600.0
"""A lane that went on for so long without a defect is pardoned the earlier ones."""


class Mender:
    """Begins broken lanes of one partition anew, after a pause that doubles with each defect."""

    def __init__(self, begin_anew: Callable[[Lane], Awaitable[None]], *, monotonic: Callable[[], float]) -> None:
        """``begin_anew`` stops a lane and starts it from its cursor in the store."""
        self._begin_anew = begin_anew
        self._monotonic = monotonic
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._defects: dict[str, tuple[int, float]] = {}

    def mend(self, lane: Lane) -> None:
        """See to it that this lane begins anew, unless that is under way."""
        task = self._tasks.get(lane.name)
        if task is None or task.done():
            self._tasks[lane.name] = asyncio.create_task(self._mend(lane), name=f"mend {lane.name}")

    async def stop(self) -> None:
        """Begin nothing anew any more."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()

    def _pause_s(self, name: str) -> float:
        now_s = self._monotonic()
        count, last_s = self._defects.get(name, (0, now_s))
        count = 0 if now_s - last_s > SOUND_S else count
        self._defects[name] = (count + 1, now_s)
        return float(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(count, 10)))

    async def _mend(self, lane: Lane) -> None:
        while lane.defect is not None and lane.lost is None:
            await asyncio.sleep(self._pause_s(lane.name))
            try:
                await self._begin_anew(lane)
            except StoreError as error:
                log.warning("delivery.waiting", subscriber=lane.name, why=str(error))
            except Exception as error:
                lane.break_down(error)
