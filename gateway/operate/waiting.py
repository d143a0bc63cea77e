"""How long the pending events of one subscriber have waited, and for what."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from gateway.operate.sight import Sight
from gateway.store.ledger import Account
from gateway.store.log import received_ms
from gateway.store.parked import SubscriberStore

LOOKED_AT = 200
"""Parked events a partition that are looked at, the next due first."""


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one subscriber's pending events."""

    oldest_ms: int | None
    """When the oldest was received. Where more than ``LOOKED_AT`` are parked in a partition: the oldest of those."""
    next_due_ms: int | None
    """When the next attempt is due: now at the earliest."""
    causes: dict[str, int]
    """Why attempts failed: cause → number, among the parked ones that were looked at."""

    @property
    def commonest_cause(self) -> str | None:
        """The cause most of them share."""
        return max(self.causes, key=lambda cause: self.causes[cause]) if self.causes else None


async def look_at_waiting(sight: Sight, name: str, accounts: Sequence[Account]) -> Waiting:
    """Look at what one subscriber has not settled, in all partitions. Raises ``StoreUnavailable``."""
    oldest: list[int] = []
    due: list[int] = []
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
        ripe, next_ms = await subscriber.due(now_ms, 1, set())
        if ripe:
            due.append(now_ms)
        elif next_ms is not None:
            due.append(next_ms)
    return Waiting(
        oldest_ms=min(oldest, default=None), next_due_ms=min(due, default=None), causes=dict(causes.most_common())
    )
