"""How far behind a subscriber may be: the sequence number up to which it is given up."""

import msgspec
import structlog

from gateway.config import SubscriberSettings
from gateway.store.log import Extent, PartitionLog, received_ms

log = structlog.get_logger("gateway.delivery")

WARN_PART = 0.5
"""Of ``max_lag``: from here on the log, status and an alert say so, long before anything is discarded."""

CALM_PART = 0.4
"""Below it that is over. Less than ``WARN_PART``, so that who stands at the border is not told of again and again."""


class Lag(msgspec.Struct, frozen=True):
    """How far one subscriber is behind in one partition."""

    cut: int
    """The last sequence number that ``max_lag`` no longer covers; the cursor or less if there is none."""
    used: float
    """The part of ``max_lag`` that is used, by age or by bytes, whichever is more. Beyond 1 events are discarded."""
    behind: int = 0
    """Events not read."""
    oldest_s: float = 0.0


async def measure_lag(
    partition_log: PartitionLog,
    extent: Extent,
    settings: SubscriberSettings,
    cursor: int,
    now_ms: int,
    most_bytes: int,
) -> Lag:
    """Look at what this subscriber has not read. Raises ``StoreUnavailable``.

    By age, and by bytes: what it has not read may take up ``most_bytes`` of the log, so that one subscriber cannot hold
    the whole store. Bytes are reckoned by the log's average.
    """
    waiting = await partition_log.read(cursor, 1) if cursor < extent.seq else []
    if not waiting:
        return Lag(cursor, 0.0)
    cut = cursor
    age_s = (now_ms - received_ms(waiting[0].event_json)) / 1000
    if age_s > settings.max_lag_s:
        cut = await partition_log.last_before(now_ms - round(settings.max_lag_s * 1000))
    average = extent.log_bytes / max(1, extent.entries)
    behind_bytes = (extent.seq - cursor) * average
    if behind_bytes > most_bytes:
        cut = max(cut, extent.seq - int(most_bytes / average))
    return Lag(cut, max(age_s / settings.max_lag_s, behind_bytes / most_bytes), extent.seq - cursor, age_s)


class LagLines:
    """What the log says of lag: a line when it begins, one when it ends, and one for each time events are discarded."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def note(self, name: str, lag: Lag, cursor: int) -> None:
        """A subscriber was looked at."""
        if lag.cut > cursor:
            log.error("delivery.given_up", subscriber=name, upto=lag.cut, events=lag.cut - cursor, why="beyond max_lag")
        if lag.used >= WARN_PART and name not in self._told:
            self._told.add(name)
            log.warning(
                "delivery.lag",
                subscriber=name,
                behind=lag.behind,
                oldest_s=round(lag.oldest_s),
                used=round(lag.used, 2),
                why="half of max_lag is used; beyond it the oldest are discarded",
            )
        elif lag.used < CALM_PART and name in self._told:
            self._told.discard(name)
            log.info("delivery.lag_over", subscriber=name, behind=lag.behind, used=round(lag.used, 2))

    def forget(self, name: str) -> None:
        """There is no such subscriber any more."""
        self._told.discard(name)
