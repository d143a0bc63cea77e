"""Count again from the streams, hashes and lists themselves, never from a counter; used by ``gateway audit``.

Counts in pages while the gateway goes on working, and lets the store do it where the entries lie: a log of a million
events is counted without one of them leaving it.
"""

import msgspec

from gateway.store.connection import Store
from gateway.store.layout import Keys
from gateway.store.log import page_of

PAGE = 1_000


class Recount(msgspec.Struct, frozen=True, kw_only=True):
    """What one partition really holds."""

    entries: int
    """Entries of the log up to the sequence number that was asked for."""
    missing: tuple[int, ...]
    """The first sequence numbers (up to ``PAGE``) after the oldest entry that the log does not hold."""
    subscribers: dict[str, "SubscriberRecount"]


class SubscriberRecount(msgspec.Struct, frozen=True, kw_only=True):
    """What one subscriber really holds in one partition."""

    parked: int
    held: int
    dead: int
    lost_references: tuple[int, ...]
    """Parked, held or dead letters whose entry is not in the log."""
    broken: tuple[str, ...]
    """Structures that contradict each other, in words."""


async def recount(store: Store, keys: Keys, names: set[str], upto: int) -> Recount:
    """Count one partition again, up to the sequence number ``upto``. Raises ``StoreUnavailable``."""
    missing: list[int] = []
    entries, after = 0, 0
    page = await page_of(store, keys, PAGE)
    while True:
        seen, last, *holes = await store.script("scan", [keys.log], [after, upto, page, int(entries > 0)])
        missing.extend(holes)
        entries, after = entries + seen, last
        if seen < page:
            break
    if entries and after < upto:
        missing.extend(range(after + 1, min(upto + 1, after + 1 + PAGE)))
    subscribers = {name: await _recount_subscriber(store, keys, name, upto) for name in sorted(names)}
    return Recount(entries=entries, missing=tuple(missing[:PAGE]), subscribers=subscribers)


async def _recount_subscriber(store: Store, keys: Keys, name: str, upto: int) -> SubscriberRecount:
    each = keys.subscriber(name)
    parked, due, held, dead, died = await store.many(
        [
            ("HKEYS", each.parked),
            ("ZRANGE", each.due, 0, -1),
            ("HGETALL", each.held),
            ("HKEYS", each.dead),
            ("ZRANGE", each.died, 0, -1),
        ]
    )
    broken = []
    if set(parked) != set(due):
        broken.append(f"{name}: {len(set(parked) ^ set(due))} parked without a due time, or the reverse")
    if set(dead) != set(died):
        broken.append(f"{name}: {len(set(dead) ^ set(died))} dead letters without a time of death, or the reverse")
    waiting = {seq: waits.partition(b" ")[0] for seq, waits in zip(held[::2], held[1::2], strict=True)}
    queues = {key: [] for key in set(waiting.values())}  # type: dict[bytes, list[bytes]]
    lists = await store.many([("LRANGE", each.key_prefix + key.decode(), 0, -1) for key in queues])
    for key, members in zip(queues, lists, strict=True):
        queues[key] = members
        if not members or members[0] not in parked:
            broken.append(f"{name}: key {key.decode()} is held, but nothing of it is parked")
    in_lists = {seq for members in queues.values() for seq in members[1:]}
    if in_lists != set(waiting):
        broken.append(f"{name}: {len(in_lists ^ set(waiting))} held events are not in their key's list, or the reverse")
    references = sorted(seq for seq in {int(each) for each in [*parked, *waiting, *dead]} if seq <= upto)
    lost: list[int] = []
    for at in range(0, len(references), PAGE):
        lost += await store.script("absent", [keys.log], references[at : at + PAGE])
    return SubscriberRecount(
        parked=len(parked),
        held=len(in_lists),
        dead=len(dead),
        lost_references=tuple(lost[:PAGE]),
        broken=tuple(broken),
    )
