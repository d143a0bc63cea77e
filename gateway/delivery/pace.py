"""A rate, kept: attempts begin no closer together than it allows."""

import asyncio
from collections.abc import Callable

BURST_S = 1.0
"""After a pause this much of the rate may go at once."""


class Pace:
    """A token bucket for one lane; without a rate it never waits."""

    def __init__(self, rate_per_s: float | None, *, monotonic: Callable[[], float]) -> None:
        self._step_s = 1 / rate_per_s if rate_per_s else 0.0
        self._monotonic = monotonic
        self._next_s = 0.0

    @property
    def is_limited(self) -> bool:
        """Whether there is a rate."""
        return self._step_s > 0

    async def turn(self, stopped: asyncio.Event) -> bool:
        """Wait for the next turn. False if it was stopped while waiting."""
        now_s = self._monotonic()
        # Up to a second's worth may have been saved up, but at least one: slow rates have no bursts.
        self._next_s = max(self._next_s, now_s - max(0.0, BURST_S - self._step_s)) + self._step_s
        wait_s = self._next_s - self._step_s - now_s
        if wait_s <= 0:
            return True
        try:
            async with asyncio.timeout(wait_s):
                await stopped.wait()
        except TimeoutError:
            return True
        return False
