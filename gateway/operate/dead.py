"""Dead letters of all subscribers: one list, the latest death first, and what an operator may do with them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Literal, NamedTuple

import structlog

from gateway import problems
from gateway.operate.attempts import attempt_item
from gateway.operate.changes import Actor, change_of, tell
from gateway.operate.cursor import read_dead_cursor, write_dead_cursor
from gateway.operate.masking import mask_text, secrets_of
from gateway.operate.refusals import Refused, none_called
from gateway.operate.sight import Sight
from gateway.operate.views import DeadItem, DeadMoved, DeadOrder, DeadPage
from gateway.store.dead_letters import DeadLetter, DeadLetters
from gateway.store.ledger import subscribers_of
from schemas.timestamps import format_ms

log = structlog.get_logger("gateway.operate")

PAGE = 100
"""They come with their last answers, up to 64 KiB each."""
ID_LENGTH = len("evt_") + 26
TOLD = 100
"""Event ids that the answer to an order names."""


class _Shelf(NamedTuple):
    """The dead letters of one subscriber in one partition."""

    subscriber: str
    partition: int
    letters: DeadLetters


class _Found(NamedTuple):
    shelf: _Shelf
    letter: DeadLetter
    answer: bytes

    @property
    def rank(self) -> tuple[int, str, int, int]:
        """Its place in the list of all: the latest death first, the rest only so that no two are equal."""
        return -self.letter.died_ms, self.shelf.subscriber, self.shelf.partition, self.letter.seq


async def list_dead(sight: Sight, subscriber: str | None, cause: str | None, after: str | None, limit: int) -> DeadPage:
    """Part of the list. Raises ``Refused``, ``StoreUnavailable``."""
    boundary = None
    if after is not None:
        died_ms, name, partition, seq = read_dead_cursor(after)
        boundary = (-died_ms, name, partition, seq)
    found: list[_Found] = []
    for shelf in await _shelves(sight, subscriber):
        here: list[_Found] = []
        async for each in _walk(shelf, -boundary[0] if boundary else None):
            # All that died in the same millisecond, whatever their number: the store has them in another order.
            if len(here) > limit and each.letter.died_ms != here[-1].letter.died_ms:
                break
            if (boundary is None or each.rank > boundary) and cause in (None, each.letter.cause):
                here.append(each)
        found += here
    found.sort(key=lambda each: each.rank)
    shown, rest = found[:limit], found[limit:]
    secrets = secrets_of(sight.config)
    following = None
    if rest:
        last = shown[-1]
        following = write_dead_cursor(last.letter.died_ms, last.shelf.subscriber, last.shelf.partition, last.letter.seq)
    return DeadPage(items=[_item(each, secrets) for each in shown], next=following)


async def move_dead(sight: Sight, word: Literal["retry", "drop"], order: DeadOrder, who: Actor) -> DeadMoved:
    """Do what an order says, or only say what it would concern. Raises ``Refused``, ``StoreUnavailable``."""
    if not (order.ids or order.cause or order.all):
        raise Refused(problems.BAD_REQUEST, 'say which: "ids": [...], "cause": "http_500", or "all": true')
    names = _Names(order.ids or ())
    by_shelf: list[tuple[_Shelf, list[int]]] = []
    ids: list[str] = []
    matched: Counter[str] = Counter()
    for shelf in await _shelves(sight, order.subscriber):
        seqs = []
        async for each in _walk(shelf, None):
            letter = each.letter
            if order.cause not in (None, letter.cause) or (order.ids and not names.fit(letter.event_id)):
                continue
            seqs.append(letter.seq)
            ids.append(letter.event_id)
        if seqs:
            by_shelf.append((shelf, seqs))
            matched[shelf.subscriber] += len(seqs)
    names.check()
    moved = 0
    if not order.dry_run:
        named = {name: value for name in ("cause", "all") if (value := getattr(order, name))}
        after = {
            **named,
            "matched": matched.total(),
            "subscribers": dict(matched),
            "ids": list(dict.fromkeys(ids))[:10],
        }
        await tell(sight, change_of(sight, who, f"dead.{word}", order.subscriber or "", after=after))
        for shelf, seqs in by_shelf:
            moved += await shelf.letters.move(word, seqs, sight.wall_ms())
        log.info("operate.dead", word=word, who=who.name, moved=moved, subscribers=dict(matched))
    return DeadMoved(
        word=word,
        dry_run=order.dry_run,
        matched=matched.total(),
        moved=moved,
        subscribers=dict(matched),
        ids=list(dict.fromkeys(ids))[:TOLD],
    )


class _Names:
    """Event ids, or beginnings of them, as an operator typed them; and what they fit."""

    def __init__(self, names: Sequence[str]) -> None:
        self._fits: dict[str, set[str]] = {name if name.startswith("evt_") else f"evt_{name}": set() for name in names}
        self._beginnings = [name for name in self._fits if len(name) < ID_LENGTH]

    def fit(self, event_id: str) -> bool:
        """Whether one of them means this event."""
        fitting = [event_id] if event_id in self._fits else []
        fitting += [name for name in self._beginnings if event_id.startswith(name)]
        for name in fitting:
            self._fits[name].add(event_id)
        return bool(fitting)

    def check(self) -> None:
        """Raise ``Refused`` unless each of them meant exactly one event."""
        for name, fitting in self._fits.items():
            if not fitting:
                raise Refused(problems.NOT_FOUND, f"no dead letter begins with {name}; nothing was changed")
            if len(fitting) > 1:
                some = ", ".join(sorted(fitting)[:5])
                raise Refused(
                    problems.CONFLICT, f"{len(fitting)} dead letters begin with {name}: {some}; nothing was changed"
                )


async def walk_dead(sight: Sight, subscriber: str | None) -> AsyncIterator[tuple[str, DeadLetter]]:
    """Every dead letter with its subscriber's name. Raises ``Refused``, ``StoreUnavailable``."""
    for shelf in await _shelves(sight, subscriber):
        async for found in _walk(shelf, None):
            yield shelf.subscriber, found.letter


async def _shelves(sight: Sight, subscriber: str | None) -> list[_Shelf]:
    names = await subscribers_of(sight.store, sight.keys)
    everybody = {*sight.config.subscribers, *(name for known in names for name in known)}
    if subscriber is not None and subscriber not in everybody:
        raise none_called("subscriber", subscriber, everybody)
    return [
        _Shelf(name, number, DeadLetters(sight.store, keys, name))
        for number, (keys, known) in enumerate(zip(sight.keys, names, strict=True))
        for name in sorted(known)
        if subscriber in (None, name)
    ]


async def _walk(shelf: _Shelf, from_ms: int | None) -> AsyncIterator[_Found]:
    """All dead letters of a shelf, the latest death first; from those that died at ``from_ms`` on, if given."""
    skip = 0 if from_ms is None else await shelf.letters.younger_than(from_ms)
    while True:
        page = await shelf.letters.list(skip, PAGE)
        for letter, answer in page:
            yield _Found(shelf, letter, answer)
        if len(page) < PAGE:
            return
        skip += PAGE
        await asyncio.sleep(0)


def _item(found: _Found, secrets: Sequence[str]) -> DeadItem:
    letter = found.letter
    return DeadItem(
        event_id=letter.event_id,
        event_type=letter.event_type,
        subscriber=letter.subscriber,
        cause=letter.cause,
        status=letter.status,
        detail=letter.detail,
        attempts=letter.attempts,
        first_failed_at=format_ms(letter.first_failed_ms),
        died_at=format_ms(letter.died_ms),
        answer=mask_text(found.answer, secrets),
        history=[attempt_item(each) for each in letter.history],
    )
