"""How far behind a subscriber may be: the sequence number up to which it is given up.

An age is a difference of two readings of the wall clock, so a clock that jumps ahead makes everything old at once, and
what waits would be thrown away. ``AgeClock`` does not jump along.
"""

from collections.abc import Callable

import structlog

from gateway.config import SubscriberSettings
from gateway.store.log import Extent, PartitionLog, received_ms

log = structlog.get_logger("gateway.delivery")

WARN_PART = 0.8
"""Of ``max_lag``: from here on the log says so, long before anything is discarded."""

JUMP_MS = 60_000
"""A wall clock that goes this much faster than time passes has been set, not adjusted."""


class AgeClock:
    """The wall clock less every jump ahead since it was made: by it nothing is older than the time that has passed.

    After a jump back events look younger than they are. Both err on the side that keeps; ``max_lag`` in bytes holds
    whatever the clock says.
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
            log.warning("delivery.clock_jump", ahead_s=ahead_ms // 1000, why="max_lag does not count it")
        return wall_ms - self._jumped_ms


async def given_up_seq(
    partition_log: PartitionLog,
    extent: Extent,
    settings: SubscriberSettings,
    cursor: int,
    now_ms: int,
    most_bytes: int,
) -> int:
    """The last sequence number that this subscriber's ``max_lag`` no longer covers; at most ``cursor`` if none.

    By age, and by bytes: what it has not read may take up ``most_bytes`` of the log, so that one subscriber cannot hold
    the whole store. Bytes are reckoned by the log's average.
    """
    waiting = await partition_log.read(cursor, 1) if cursor < extent.seq else []
    if not waiting:
        return cursor
    cut = cursor
    age_s = (now_ms - received_ms(waiting[0].event_json)) / 1000
    if age_s > settings.max_lag_s:
        cut = await partition_log.last_before(now_ms - round(settings.max_lag_s * 1000))
    average = extent.log_bytes / max(1, extent.entries)
    behind_bytes = (extent.seq - cursor) * average
    if behind_bytes > most_bytes:
        cut = max(cut, extent.seq - int(most_bytes / average))
    if cut > cursor:
        log.error("delivery.given_up", subscriber=settings.name, upto=cut, events=cut - cursor, why="beyond max_lag")
    elif age_s > WARN_PART * settings.max_lag_s or behind_bytes > WARN_PART * most_bytes:
        log.warning(
            "delivery.lag",
            subscriber=settings.name,
            behind=extent.seq - cursor,
            oldest_s=round(age_s),
            why="soon beyond max_lag: then the oldest are discarded",
        )
    return cut
