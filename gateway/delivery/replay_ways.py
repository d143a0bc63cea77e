"""How a replay hands one event on: to a subscriber, to a URL, or back to the lane as a dead letter that is retried."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from gateway.config import SubscriberSettings
from gateway.delivery.attempt import Sender, encode
from gateway.delivery.guard import Guard
from gateway.delivery.outcome import Outcome
from gateway.delivery.selecting import Match
from gateway.errors import StoreUnavailable
from gateway.store.dead_letters import DeadLetters


class Way(Protocol):
    """One of them."""

    async def attempt(self, match: Match, partition: int, number: int, left: int) -> Outcome:
        """Make attempt ``number`` (from 1), which ``left`` others could follow. Raises nothing."""
        ...

    async def close(self) -> None:
        """End what is on the wire as ``closed``."""
        ...


class Look(msgspec.Struct, frozen=True):
    """How things stand with the target."""

    waiting: str = ""
    """Why nothing may be sent at the moment."""
    changed: bool = False
    """Its settings are not those the run began with: it begins anew with the new ones."""


class Sending:
    """By HTTP, with the target's settings, and marked as a replay. Raises ``ConfigError`` as ``Sender`` does."""

    def __init__(
        self,
        replay_id: str,
        settings: SubscriberSettings,
        guard: Guard,
        *,
        wall_ms: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._replay_id = replay_id
        self._raw = settings.raw
        self._sender = Sender(settings, guard, wall_ms=wall_ms, monotonic=monotonic)

    async def attempt(self, match: Match, partition: int, number: int, left: int) -> Outcome:
        """POST it; ``webhook-id`` is the event's, as at the first delivery."""
        entry = match.entry
        body = encode(entry.event_json, entry.raw_json if self._raw else None)
        return await self._sender.send(match.head.id, body, attempt=number, attempts_left=left, replay=self._replay_id)

    async def close(self) -> None:
        """End all connections."""
        await self._sender.close()


class Requeueing:
    """As ``gateway dead retry``: parked again with a fresh schedule, so that the equation moves with it."""

    def __init__(self, letters: list[DeadLetters], *, wall_ms: Callable[[], int]) -> None:
        """``letters``: the subscriber's, one a partition."""
        self._letters = letters
        self._wall_ms = wall_ms

    async def attempt(self, match: Match, partition: int, number: int, left: int) -> Outcome:
        """Put it back; the lane delivers it."""
        try:
            moved = await self._letters[partition].move("retry", [match.entry.seq], self._wall_ms())
        except StoreUnavailable as error:
            return Outcome(False, "store", None, None, b"", 0.0, str(error))
        if moved:
            return Outcome(True, "", None, None, b"", 0.0, "")
        return Outcome(False, "moved", None, None, b"", 0.0, "somebody else has retried or dropped it meanwhile")

    async def close(self) -> None:
        """There is nothing to end."""
