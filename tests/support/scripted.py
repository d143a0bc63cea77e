"""A subscriber that is not there: what each of its attempts comes to stands in a script, on a clock that tests move."""

import asyncio
from collections import Counter
from typing import Any, ClassVar, Literal

from gateway.config import SubscriberSettings
from gateway.delivery.attempt import Sender
from gateway.delivery.lane import Lane
from gateway.delivery.outcome import Outcome
from gateway.store.parked import SubscriberStore
from tests.support.clock import Clock
from tests.support.pipeline_order import Moment

Word = Literal["ok", "slow", "500", "422", "hang", "reset"]
"""What an attempt comes to. ``slow`` is delivered after ``SLOW_S``, ``hang`` ends with the subscriber's timeout."""

SLOW_S = 4.0

_STATUS: dict[Word, int] = {"500": 500, "422": 422}


class World:
    """What subscribers do and what they have seen."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.script: dict[tuple[str, str], list[Word]] = {}
        """Subscriber and event id → what the first, second … attempt come to; beyond the list all are ``ok``."""
        self.attempts: Counter[tuple[str, str]] = Counter()
        self.delivered: dict[str, list[str]] = {}
        """Subscriber → ids of events in the order in which it took them."""
        self.moments: list[Moment] = []
        """All that happened, in order."""
        self._moved = asyncio.Event()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        self._moved.set()
        self._moved = asyncio.Event()

    async def passed(self, seconds: float) -> None:
        """Wait until so much time has passed."""
        until_s = self.clock.monotonic() + seconds
        while self.clock.monotonic() < until_s:
            await self._moved.wait()

    async def attempt(self, settings: SubscriberSettings, event_id: str) -> Outcome:
        """One attempt."""
        name = settings.name
        at, began_s = self.attempts[name, event_id], self.clock.monotonic()
        self.attempts[name, event_id] += 1
        moment = len(self.moments)
        self.moments.append(Moment("attempt", name, event_id))
        words = self.script.get((name, event_id), [])
        word: Word = words[at] if at < len(words) else "ok"
        await asyncio.sleep(0)
        if word == "slow":
            await self.passed(SLOW_S)
        elif word == "hang":
            await self.passed(settings.timeout_s)
            return Outcome(False, "timeout", None, None, b"", settings.timeout_s, "no answer")
        elif word == "reset":
            return Outcome(False, "reset", None, None, b"", 0.0, "the connection ended")
        elif word != "ok":
            return Outcome(False, f"http_{word}", _STATUS[word], None, b"no", 0.0, "it failed")
        self.delivered.setdefault(name, []).append(event_id)
        self.moments.append(Moment("delivered", name, event_id, moment))
        await asyncio.sleep(0)  # a crash may come between what the subscriber did and what we know of it
        return Outcome(True, "", 200, None, b"", self.clock.monotonic() - began_s, "")


class ScriptedSender(Sender):
    """Asks the world instead of a socket."""

    def __init__(self, world: World, settings: SubscriberSettings) -> None:
        """No client is made, no address looked up."""
        self._world = world
        self._of = settings

    async def send(
        self, event_id: str, body: bytes, *, attempt: int, attempts_left: int, replay: str | None = None
    ) -> Outcome:
        """As the script says."""
        return await self._world.attempt(self._of, event_id)

    async def close(self) -> None:
        """Nothing is open."""


class ScriptedLane(Lane):
    """A lane as it is, but for its sender. Bound to a world by ``scripted_lane``."""

    world: World
    store: ClassVar[type[SubscriberStore]] = SubscriberStore
    """Another kind of store makes a lane with a defect."""

    def __init__(self, settings: SubscriberSettings, store: SubscriberStore, *args: Any, **more: Any) -> None:
        super().__init__(settings, self.store(store._store, store._partition, store.name), *args, **more)

    async def start(self, epoch: int, start_seq: str | int, stir: asyncio.Event) -> None:
        """As every lane."""
        if self._sender is None:
            self._sender = ScriptedSender(self.world, self.settings)
        await super().start(epoch, start_seq, stir)


def scripted_lane(world: World, base: type[ScriptedLane] = ScriptedLane) -> type[ScriptedLane]:
    """The kind of lane whose subscribers live in ``world``."""
    return type(base.__name__, (base,), {"world": world})
