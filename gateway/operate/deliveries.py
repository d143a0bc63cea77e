"""Deliveries that are not settled, and those that died: one list, read a page at a time.

In the order of subscriber, partition and state; within a state as the store has them: dead letters by death, parked
ones by due time, held and unread ones by their place in the log. What moves on while one pages may be seen twice or
not at all; what stays is seen once.
"""

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from gateway import problems
from gateway.operate.attempts import attempt_item
from gateway.operate.cursor import read_deliveries_cursor, write_deliveries_cursor
from gateway.operate.refusals import Refused, none_called
from gateway.operate.sight import Sight
from gateway.operate.trace_views import DeliveryFilter, DeliveryItem, DeliveryPage
from gateway.operate.views import DeliveryStateName
from gateway.store.dead_letters import split
from gateway.store.layout import SubscriberKeys
from gateway.store.ledger import subscribers_of
from gateway.store.parked import Parked
from schemas.timestamps import format_ms

STATES: tuple[DeliveryFilter, ...] = ("dead", "parked", "held", "pending")
PAGE = 100
SCAN = 1_000

_decode_parked = msgspec.json.Decoder(Parked).decode


class _Head(msgspec.Struct, frozen=True):
    id: str
    type: str
    received_at: str


_decode_head = msgspec.json.Decoder(_Head).decode


class _Drawer(NamedTuple):
    """One state of one subscriber in one partition."""

    subscriber: str
    partition: int
    state: DeliveryFilter


class _Place(NamedTuple):
    """Where a delivery lies in its drawer: a score (0 where only the number counts) and its sequence number."""

    score: int
    seq: int


async def list_deliveries(
    sight: Sight, subscriber: str | None, state: DeliveryFilter | None, after: str | None, limit: int
) -> DeliveryPage:
    """Part of the list. Raises ``Refused``, ``StoreUnavailable``."""
    known = await subscribers_of(sight.store, sight.keys)
    names = {*sight.config.subscribers, *(name for each in known for name in each)}
    if subscriber is not None and subscriber not in names:
        raise none_called("subscriber", subscriber, names)
    drawers = [
        _Drawer(name, number, each)
        for name in sorted(names)
        for number in range(len(sight.keys))
        for each in STATES
        if subscriber in (None, name) and state in (None, each) and name in known[number]
    ]
    place: _Place | None = None
    if after is not None:
        name, partition, position, score, seq = read_deliveries_cursor(after)
        if position >= len(STATES):
            raise Refused(problems.BAD_REQUEST, "this is no cursor of this list; take it from the `next` of an answer")
        rank = (name, partition, position)
        drawers = [each for each in drawers if _rank(each) >= rank]
        place = _Place(score, seq) if drawers and _rank(drawers[0]) == rank else None
    items: list[DeliveryItem] = []
    last: tuple[_Drawer, _Place] | None = None
    for drawer in drawers:
        places = await _places(sight, drawer, place, limit + 1 - len(items))
        place = None
        if len(items) + len(places) > limit:
            places, more = places[: limit - len(items)], True
        else:
            more = False
        items += await _items(sight, drawer, places)
        if places:
            last = (drawer, places[-1])
        if more and last is not None:
            where, at = last
            return DeliveryPage(items=items, next=write_deliveries_cursor(*_rank(where), at.score, at.seq))
    return DeliveryPage(items=items, next=None)


def _rank(drawer: _Drawer) -> tuple[str, int, int]:
    return drawer.subscriber, drawer.partition, STATES.index(drawer.state)


async def _places(sight: Sight, drawer: _Drawer, after: _Place | None, limit: int) -> list[_Place]:
    keys = sight.keys[drawer.partition].subscriber(drawer.subscriber)
    if drawer.state == "dead":
        return await _by_score(sight, keys.died, after, limit)
    if drawer.state == "parked":
        return await _by_score(sight, keys.due, after, limit)
    if drawer.state == "held":
        return await _held(sight, keys, after.seq if after else 0, limit)
    cursor = int(await sight.store.call("HGET", keys.sub, "cursor") or 0)
    entries = await sight.logs[drawer.partition].read(max(cursor, after.seq if after else 0), limit)
    return [_Place(0, entry.seq) for entry in entries]


async def _by_score(sight: Sight, key: str, after: _Place | None, limit: int) -> list[_Place]:
    """The members of a sorted set behind a place. Members of one score are in the order of their text."""
    found: list[_Place] = []
    start, skip = ("-inf" if after is None else str(after.score)), 0
    while len(found) < limit:
        page = await sight.store.call(*("ZRANGE", key, start, "+inf", "BYSCORE", "LIMIT", skip, SCAN, "WITHSCORES"))
        for member, score in zip(page[::2], page[1::2], strict=True):
            place = _Place(int(float(score)), int(member))
            if after is None or (place.score, str(place.seq)) > (after.score, str(after.seq)):
                found.append(place)
        if len(page) < 2 * SCAN:
            break
        skip += SCAN
    return found[:limit]


async def _held(sight: Sight, keys: SubscriberKeys, after: int, limit: int) -> list[_Place]:
    """In small steps, since a hash has no order and there may be very many: the store serves others in between."""
    found: set[int] = set()
    cursor = b"0"
    while True:
        cursor, pairs = await sight.store.call("HSCAN", keys.held, cursor, "COUNT", SCAN)
        seqs = [int(seq) for seq in pairs[::2]]
        found = set(heapq.nsmallest(limit, found.union(seq for seq in seqs if seq > after)))
        if cursor == b"0":
            return [_Place(0, seq) for seq in sorted(found)]


async def _items(sight: Sight, drawer: _Drawer, places: Sequence[_Place]) -> list[DeliveryItem]:
    found = []
    for start in range(0, len(places), PAGE):
        page = places[start : start + PAGE]
        seqs = [place.seq for place in page]
        entries = await sight.logs[drawer.partition].pick(seqs)
        heads = {seq: _decode_head(entry.event_json) for seq, entry in entries.items()}
        keys = sight.keys[drawer.partition].subscriber(drawer.subscriber)
        infos: Sequence[bytes | None] = [None] * len(seqs)
        if drawer.state in ("dead", "parked"):
            infos = await sight.store.call("HMGET", keys.dead if drawer.state == "dead" else keys.parked, *seqs)
            page = [place for place, info in zip(page, infos, strict=True) if info is not None]
            infos = [info for info in infos if info is not None]  # what is gone since has moved on
        found += [_item(drawer, place, heads.get(place.seq), info) for place, info in zip(page, infos, strict=True)]
    return found


def _item(drawer: _Drawer, place: _Place, head: _Head | None, info: bytes | None) -> DeliveryItem:
    state: DeliveryStateName = "dead_letter" if drawer.state == "dead" else drawer.state
    letter = split(info)[0] if info is not None and drawer.state == "dead" else None
    parked = _decode_parked(info) if info is not None and drawer.state == "parked" else None
    if parked is not None and parked.in_flight:
        state = "in_flight"
    failed = letter or parked
    return DeliveryItem(
        subscriber=drawer.subscriber,
        event_id=head.id if head else letter.event_id if letter else None,
        event_type=head.type if head else letter.event_type if letter else None,
        partition=drawer.partition,
        sequence=place.seq,
        state=state,
        received_at=head.received_at if head else None,
        attempts=letter.attempts if letter else parked.attempt if parked else 0,
        cause=(failed.cause or None) if failed else None,
        status=failed.status if failed else None,
        detail=(failed.detail or None) if failed else None,
        due_at=format_ms(place.score) if parked else None,
        died_at=format_ms(letter.died_ms) if letter else None,
        history=[attempt_item(each) for each in failed.history] if failed else [],
    )
