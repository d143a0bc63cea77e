"""Dead letters by cause: so that one look says what is the matter, and one order mends the group."""

from collections import Counter

import msgspec

from gateway.operate.dead import walk_dead
from gateway.operate.sight import Sight
from gateway.operate.trace_views import CauseItem, CausePage
from gateway.operate.troubles import does
from gateway.store.dead_letters import DeadLetter
from schemas.timestamps import format_ms


class _Group(msgspec.Struct):
    example: DeadLetter
    first_ms: int
    subscribers: Counter[str]


async def list_causes(sight: Sight, subscriber: str | None) -> CausePage:
    """All of them, or one subscriber's; the commonest first. Raises ``Refused``, ``StoreUnavailable``."""
    groups: dict[str, _Group] = {}
    async for name, letter in walk_dead(sight, subscriber):
        group = groups.get(letter.cause)
        if group is None:
            group = groups[letter.cause] = _Group(letter, letter.died_ms, Counter())
        group.subscribers[name] += 1
        group.first_ms = min(group.first_ms, letter.died_ms)
        if letter.died_ms > group.example.died_ms:
            group.example = letter
    items = [
        CauseItem(
            cause=cause,
            words=does(cause),
            count=group.subscribers.total(),
            subscribers=dict(group.subscribers),
            example=group.example.event_id,
            detail=group.example.detail,
            first_died_at=format_ms(group.first_ms),
            last_died_at=format_ms(group.example.died_ms),
        )
        for cause, group in groups.items()
    ]
    return CausePage(items=sorted(items, key=lambda item: (-item.count, item.cause)))
