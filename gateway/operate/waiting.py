"""How long the pending events of one subscriber have waited, and for what."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from gateway.operate.sight import Sight
from gateway.store.ledger import Account
from gateway.store.log import received_ms
from gateway.store.parked import CLOCK_JUMP_MS, SubscriberStore

LOOKED_AT = 200
"""Parked events a partition that are looked at, the next due first."""


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one subscriber's pending events."""

    oldest_ms: int | None
    """When the oldest was received. Where more than ``LOOKED_AT`` are parked in a partition: the oldest of those."""
    next_due_ms: int | None
    """When the next attempt is due: now at the earliest. What has an attempt under way may get no other."""
    causes: dict[str, int]
    """Why attempts failed: cause → number, among the parked ones that were looked at."""
    failed: int = 0
    """Parked because an attempt failed; those that were not looked at count as such."""
    in_flight: int = 0
    """Parked because their attempt takes long: it is under way."""
    in_flight_since_ms: int | None = None
    """When the oldest of those attempts began."""

    @property
    def commonest_cause(self) -> str | None:
        """The cause most of them share."""
        return max(self.causes, key=lambda cause: self.causes[cause]) if self.causes else None


async def look_at_waiting(sight: Sight, name: str, accounts: Sequence[Account]) -> Waiting:
    """Look at what one subscriber has not settled, in all partitions. Raises ``StoreUnavailable``."""
    oldest: list[int] = []
    due: list[int] = []
    failed, started = 0, list[int]()
    causes: Counter[str] = Counter()
    now_ms = sight.wall_ms()
    for keys, log, account in zip(sight.keys, sight.logs, accounts, strict=True):
        numbers = account.subscribers.get(name)
        if numbers is None:
            continue
        if numbers.cursor < account.seq:
            oldest += [received_ms(entry.event_json) for entry in await log.read(numbers.cursor, 1)]
        if not numbers.parked:
            continue
        subscriber = SubscriberStore(sight.store, keys, name)
        parked = await subscriber.parked(0, LOOKED_AT)
        causes.update(each.parked.cause for each in parked if each.parked.cause)
        if parked:
            first = min(each.seq for each in parked)  # sequence numbers grow with time: what is held came later
            oldest += [received_ms(entry.event_json) for entry in (await log.pick([first])).values()]
        # One whose time has come was cut off with its process: it waits for another attempt like any that failed.
        flying = [each for each in parked if each.parked.in_flight and now_ms < each.due_ms < now_ms + CLOCK_JUMP_MS]
        started += [each.parked.started_ms or now_ms for each in flying]
        others = [each for each in parked if each not in flying]
        due += [now_ms if each.due_ms > now_ms + CLOCK_JUMP_MS else max(now_ms, each.due_ms) for each in others]
        free = sum(not each.parked.in_flight and not each.parked.attempt and not each.parked.cause for each in others)
        failed += max(0, numbers.parked - len(flying) - free)
    return Waiting(
        oldest_ms=min(oldest, default=None),
        next_due_ms=min(due, default=None),
        causes=dict(causes.most_common()),
        failed=failed,
        in_flight=len(started),
        in_flight_since_ms=min(started, default=None),
    )
