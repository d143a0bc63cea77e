"""A batch of the spool that was made for another number of partitions: which part of it belongs where now.

``partitions`` is fixed when a store is first used. But the spool outlives both: a gateway with a wrong number fills it
while its store is not there to refuse, and a new store begins with what waits from the one before.
"""

import msgspec

from gateway.store.layout import partition_of
from gateway.store.log import Batch, NewEvent
from gateway.store.spooled import home_of


class _Head(msgspec.Struct):
    ordering_key: str | None


_decode = msgspec.json.Decoder(_Head).decode


def parts_of(partition: int, batch: Batch, partitions: int) -> dict[int, Batch] | None:
    """The parts of a batch by partition, where it was made for ``partition``; ``None`` if it belongs there whole.

    Of no key's events the order changes. What has no partition of its own, counts and kept requests, goes to where the
    batch is in the account. That part is the last: once it is in, all are, and the batch no longer counts as spooled.
    """
    if partitions == 1 and partition == 0:
        return None
    places: dict[int, list[NewEvent]] = {}
    for event in batch.events:
        key = _decode(event.event_json).ordering_key
        places.setdefault(partition_of(event.source, key, event.id, partitions), []).append(event)
    home = home_of(partition, partitions)
    if home == partition and places.keys() <= {home}:
        return None
    last = msgspec.structs.replace(batch, events=places.pop(home, []))
    return {number: Batch(events, [], [], []) for number, events in places.items()} | {home: last}
