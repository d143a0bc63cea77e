"""How far behind a subscriber may be: the sequence number up to which it is given up."""

import structlog

from gateway.config import SubscriberSettings
from gateway.store.log import Extent, PartitionLog, received_ms

log = structlog.get_logger("gateway.delivery")

WARN_PART = 0.8
"""Of ``max_lag``: from here on the log says so, long before anything is discarded."""


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
