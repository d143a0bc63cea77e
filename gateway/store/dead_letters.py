"""Dead letters of one subscriber: list them, try them again, give them up."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from gateway.store.connection import Store
from gateway.store.layout import Keys
from gateway.store.parked import Attempt, Parked

MOVE = 100
"""Dead letters that are moved in one step of the store; they are read before, with answers of up to 64 KiB."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that no further attempt will be made of by itself."""

    seq: int
    event_id: str
    event_type: str
    subscriber: str
    cause: str
    """Normalised: ``http_500``, ``timeout``, ``dns`` …"""
    status: int | None
    detail: str
    attempts: int
    first_failed_ms: int
    died_ms: int
    key: str = ""
    """Hash of the ordering key it held, or would have: a retry puts it back in order. Empty without order, and for
    letters from before it was kept."""
    history: tuple[Attempt, ...] = ()
    forgotten: int = 0
    """Attempts before those of ``history``."""
    answer_bytes: int | None = None
    """Of the last answer, which follows it in the store if there is room: ``torn.py`` compares."""


class DeadLetters:
    """The dead letters of one subscriber in one partition."""

    def __init__(self, store: Store, keys: Keys, name: str) -> None:
        self._store = store
        self._keys = keys.subscriber(name)

    async def count(self) -> int:
        """How many there are."""
        return int(await self._store.call("HLEN", self._keys.dead))

    async def list(self, skip: int, limit: int) -> list[tuple[DeadLetter, bytes]]:
        """Each with the last answer's body, the latest death first."""
        members = await self._store.call("ZRANGE", self._keys.died, skip, skip + limit - 1, "REV")
        if not members:
            return []
        values = await self._store.call("HMGET", self._keys.dead, *members)
        return [split(value) for value in values if value is not None]

    async def younger_than(self, died_ms: int) -> int:
        """How many died after a time: those come first in the list."""
        return int(await self._store.call("ZCOUNT", self._keys.died, f"({died_ms}", "+inf"))

    async def get(self, seq: int) -> tuple[DeadLetter, bytes] | None:
        """The dead letter of a sequence number, with the last answer's body."""
        value = await self._store.call("HGET", self._keys.dead, seq)
        return None if value is None else split(value)

    async def move(self, word: Literal["retry", "drop"], seqs: Sequence[int], now_ms: int) -> int:
        """Try them again with a fresh schedule, or discard them. Returns how many were dead letters.

        Those of one ordering key go in log order, and before what still waits of that key: the first is parked, the
        rest is held behind it. The attempts that failed before are kept, marked as such.
        """
        moved, ordered = 0, sorted(set(seqs))
        for at in range(0, len(ordered), MOVE):
            moved += await self._move(word, ordered[at : at + MOVE], now_ms)
        return moved

    async def _move(self, word: Literal["retry", "drop"], seqs: Sequence[int], now_ms: int) -> int:
        keys = self._keys
        args: list[Any] = [word, now_ms, keys.key_prefix]
        if word == "drop":
            for seq in seqs:
                args += (seq, "", "")
        else:  # one that is retried and dies again before the script runs keeps its place, and forgets one attempt
            values = await self._store.call("HMGET", keys.dead, *seqs)
            for letter in [split(value)[0] for value in values if value is not None]:
                args += (letter.seq, letter.key, msgspec.json.encode(retried(letter)))
        return int(
            await self._store.script("dead", [keys.sub, keys.parked, keys.due, keys.dead, keys.died, keys.held], args)
        )


def retried(letter: DeadLetter) -> Parked:
    """What a dead letter is parked as: no attempt made yet, and those before remembered."""
    return Parked(
        attempt=0,
        key=letter.key,
        retried=True,
        event_id=letter.event_id,
        event_type=letter.event_type,
        history=tuple(msgspec.structs.replace(each, before_retry=True) for each in letter.history),
        forgotten=letter.forgotten,
    )


_decode = msgspec.json.Decoder(DeadLetter).decode


def split(value: bytes) -> tuple[DeadLetter, bytes]:
    """Take a stored dead letter apart: what is known, and the last answer's body."""
    info, _, answer = value.partition(b"\n")
    return _decode(info), answer
