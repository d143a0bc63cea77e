"""How old things are, by a clock that may be set.

An age is a difference of two readings of the wall clock, so a clock that jumps ahead makes everything old at once: what
waits would be thrown away (``max_lag``), and what is kept would go (``retention``). ``AgeClock`` does not jump along.
"""

from collections.abc import Callable

import structlog

log = structlog.get_logger("gateway")

JUMP_MS = 60_000
"""A wall clock that goes this much faster than time passes has been set, not adjusted."""


class AgeClock:
    """The wall clock less every jump ahead since it was made: by it nothing is older than the time that has passed.

    A jump back takes earlier jumps ahead away, so a clock that is mended is believed again; any other makes things look
    younger than they are. Both err on the side that keeps; the bounds in bytes hold whatever the clock says.
    """

    def __init__(self, *, wall_ms: Callable[[], int], monotonic: Callable[[], float]) -> None:
        self._wall_ms = wall_ms
        self._monotonic = monotonic
        self._last_wall_ms, self._last_s = wall_ms(), monotonic()
        self._jumped_ms = 0

    def now_ms(self) -> int:
        """Milliseconds since the epoch. A jump is noticed at the first call after it."""
        wall_ms, now_s = self._wall_ms(), self._monotonic()
        ahead_ms = wall_ms - self._last_wall_ms - round((now_s - self._last_s) * 1000)
        self._last_wall_ms, self._last_s = wall_ms, now_s
        if ahead_ms > JUMP_MS:
            self._jumped_ms += ahead_ms
            log.warning("clock.jump", ahead_s=ahead_ms // 1000, why="no age counts it: nothing is given up for it")
        elif ahead_ms < -JUMP_MS:
            self._jumped_ms = max(0, self._jumped_ms + ahead_ms)
        return wall_ms - self._jumped_ms
