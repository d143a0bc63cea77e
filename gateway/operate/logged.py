"""When an event was logged: no entry of the log says so, but the mark of its id knows.

The mark is made in the same step as the entry (``lua/commit.lua``), and how long it is kept is in the settings
(``Config.remembered_s``): so the time is reckoned back from when it expires. The settings may have been others then,
and the store's clock is not ours; what contradicts all else that is known of the event is not told.
"""

from collections.abc import Iterable

from gateway.errors import StoreRefuses
from gateway.operate.search import Found
from gateway.operate.sight import Sight
from gateway.store import firsts
from gateway.store.ledger import subscribers_of
from gateway.store.parked import Attempt

CLOCKS_MS = 1_000
"""By so much the clocks of store and gateway may differ; beyond it nothing is said."""
SPOOLED_MS = 5_000
"""What was logged later than this after it was received was in the spool: no batch waits so long for the store
(``intake/committer.py``)."""


async def logged_ms(sight: Sight, found: Found, received_ms: int, attempts: Iterable[Attempt]) -> int | None:
    """When it was, if that can be told. ``attempts``: those of it that are known. Raises ``StoreUnavailable``."""
    if found.head.source not in sight.config.sources:
        return None
    keys = sight.keys[found.partition]
    try:
        expires_ms = await sight.store.call("PEXPIRETIME", keys.seen_prefix + found.head.id)
    except StoreRefuses:  # a right that no other question needs
        return None
    names = (await subscribers_of(sight.store, [keys]))[0]
    lookups = [each for name in sorted(names) for each in firsts.lookups(keys.subscriber(name), found.entry.seq)]
    began = [each.at_ms - each.duration_ms for each in attempts]
    # What stands behind it in the log was logged later still, and sent after that.
    began += [each.at_ms - each.duration_ms for each in firsts.behind(found.entry.seq, await sight.store.many(lookups))]
    latest_ms = min([sight.wall_ms(), *began])
    return reckoned_ms(expires_ms - sight.config.remembered_s(found.head.source) * 1000, received_ms, latest_ms)


def reckoned_ms(logged_at_ms: int, received_ms: int, latest_ms: int) -> int | None:
    """A time by the store's clock, if it can have been between two of ours; without a mark it cannot. Pure."""
    if not received_ms - CLOCKS_MS <= logged_at_ms <= latest_ms + CLOCKS_MS:
        return None
    return max(received_ms, min(logged_at_ms, latest_ms))
