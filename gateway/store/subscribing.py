"""Giving configured subscribers their cursors."""

from collections.abc import Mapping, Sequence

from gateway.store.connection import Store
from gateway.store.log import PartitionLog
from gateway.store.parked import SubscriberStore


async def subscribe_all(store: Store, logs: Sequence[PartitionLog], starts: Mapping[str, str], now_ms: int) -> None:
    """Give each subscriber (name → ``start``) its cursor in every partition, unless it has one. Raises
    ``StoreUnavailable``.

    A lane does the same when it begins. But lanes begin only where the lease is, and another process may hold it and
    not know the subscriber: then its ``start = "now"`` would be the moment of a takeover, and what came before it would
    never be offered.
    """
    for log in logs:
        known = await store.many([("HEXISTS", log.keys.subscriber(name).sub, "cursor") for name in starts])
        for (name, start), has_cursor in zip(starts.items(), known, strict=True):
            if not has_cursor:
                await SubscriberStore(store, log.keys, name).subscribe(await log.start_of(start), now_ms)
