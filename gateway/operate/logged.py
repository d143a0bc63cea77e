"""When an event was logged: no entry of the log says so, but the mark of its id knows.

The mark is made in the same step as the entry (``lua/commit.lua``), and since which number the marks of a source have
lived for how long is written down there too. So the time is reckoned back from when the mark expires, and not told of
an event before that number. It is the time of the store's clock; one that contradicts all else that is known of the
event by the gateway's clock is not told either. An id that was forgotten and came again is in the log twice, and its
mark tells of the later entry alone.
"""

from collections.abc import Iterable

from gateway.errors import StoreRefuses
from gateway.operate.search import Found
from gateway.operate.sight import Sight
from gateway.store import firsts
from gateway.store.ledger import subscribers_of
from gateway.store.parked import Attempt

CLOCKS_MS = 1_000
"""By so much the clocks of store and gateway may differ; where they are seen to differ by more, nothing is said."""
WAITED_MS = 5_000
"""A wait between the request and the log that is worth a line; to fetch a public key takes less (``intake/keys.py``).
Where it was waited, nobody wrote down: requests also wait long in the queue before a store that is only slow."""
WAITED_MOST_MS = 30 * 86_400_000
"""A longer wait is not believed: rather the gateway's clock was wrong when the request came, as after a boot."""


async def logged_ms(sight: Sight, found: Found, received_ms: int, attempts: Iterable[Attempt]) -> int | None:
    """When it was, if that can be told. ``attempts``: those of it that are known. Raises ``StoreUnavailable``."""
    keys = sight.keys[found.partition]
    mark = keys.seen_prefix + found.head.id
    try:
        expires_ms = await sight.store.call("PEXPIRETIME", mark)
    except StoreRefuses:  # a right that no other question needs
        return None
    # Asked second: a number is in one mark only, so the time was that one's too.
    if await sight.store.call("GET", mark) != str(found.entry.seq).encode():
        return None
    since = await sight.store.call("HGET", keys.state, f"t:{found.head.source}")
    lived_s, _, first = (since or b"").partition(b" ")
    if not first or found.entry.seq < int(first):
        return None
    names = (await subscribers_of(sight.store, [keys]))[0]
    lookups = [each for name in sorted(names) for each in firsts.lookups(keys.subscriber(name), found.entry.seq)]
    began = [each.at_ms - each.duration_ms for each in attempts]
    # What stands behind it in the log was logged later still, and sent after that.
    began += [each.at_ms - each.duration_ms for each in firsts.behind(found.entry.seq, await sight.store.many(lookups))]
    latest_ms = min([sight.wall_ms(), *began])
    return reckoned_ms(expires_ms - int(lived_s) * 1000, received_ms, latest_ms)


def reckoned_ms(logged_at_ms: int, received_ms: int, latest_ms: int) -> int | None:
    """A time by the store's clock, if it can have been between two of ours; without a mark it cannot. Pure."""
    if not received_ms - CLOCKS_MS <= logged_at_ms <= latest_ms + CLOCKS_MS:
        return None
    return max(received_ms, min(logged_at_ms, latest_ms))


def is_wait(received_ms: int, logged_at_ms: int) -> bool:
    """Whether between the two lies a wait that is worth a line, and that can be believed. Pure."""
    return WAITED_MS < logged_at_ms - received_ms <= WAITED_MOST_MS
