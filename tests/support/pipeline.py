"""The gateway's parts as the stateful model (``pipeline_model.py``) runs them, and what its rules are made of."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, ClassVar, Literal

import msgspec
from hypothesis.stateful import RuleBasedStateMachine

from gateway.config import StoreSettings, SubscriberSettings
from gateway.delivery.breaker import Rules
from gateway.delivery.dispatcher import Dispatcher
from gateway.delivery.lane import LONG_ATTEMPT_S
from gateway.store.connection import Store
from gateway.store.control import Control
from gateway.store.dead_letters import DeadLetters
from gateway.store.layout import Keys, tags
from gateway.store.ledger import Subscriber
from gateway.store.log import Entry, PartitionLog
from gateway.store.replays import Replay, Replays, ReplaySpec
from schemas.timestamps import parse_iso_ms
from tests.support.clock import Clock
from tests.support.delivering import Rig, subscriber
from tests.support.pipeline_order import Moment
from tests.support.pipeline_replays import ScriptedReplayer, scripted_replayer
from tests.support.proxy import proxied
from tests.support.scripted import ScriptedLane, Word, World, scripted_lane
from tests.support.stores import StoreServer

RETRY_S = (5.0, 30.0, 60.0)
TIMEOUT_S = 8.0
BREATH_S = 0.02
"""What a step gives the gateway to act: real time, a few of its ticks."""

NAMES = ("ordered", "plain")

MAX_LAG_S = 1e9
NOTICE_S = 0.5
"""How long a lane may take to notice that dead letters were retried; it is real time, and far more than it needs."""


class Pipeline(RuleBasedStateMachine):
    """One partition or two with two subscribers, one of them with ``order = "key"``."""

    server: ClassVar[StoreServer]
    lane: ClassVar[type[ScriptedLane]] = ScriptedLane
    runs: ClassVar[Counter[str]] = Counter()
    """How often what was done, over all examples: a model that does nothing proves nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.server.ask("FLUSHALL")
        self.runner = asyncio.Runner()
        self.clock = Clock()
        self.logged: list[tuple[str, str | None]] = []
        self.old: set[str] = set()
        """Events that were older than ``max_lag`` at a look."""
        self.max_lag_s = MAX_LAG_S
        self.chosen: dict[str, tuple[set[str], bool]] = {}
        """Replay → its events, and whether a process died or stopped or the store was away since it was made."""
        self.dropped: dict[str, set[str]] = {name: set() for name in NAMES}
        self.repeats_allowed = False
        self.owners = 0
        self.concurrency = 3
        self.dispatchers: list[Dispatcher] = []
        self.replayers: list[ScriptedReplayer] = []
        self.desks: list[Rig] = []
        """One a partition, for what the model itself does to the store: never cut."""
        self.rigs: list[Rig] = []
        """The same, as the gateway's parts have it."""
        self.stack = AsyncExitStack()
        self._count("examples")

    def _count(self, what: str, times: int = 1) -> None:
        type(self).runs[what] += times

    async def _begin(self, partitions: int) -> None:
        self.proxy = await self.stack.enter_async_context(proxied(self.server.socket))
        self.store = Store(StoreSettings(url=self.server.url), self.server.url)
        self.proxied_store = Store(StoreSettings(url=self.proxy.url), self.proxy.url)
        self.world = World(self.clock)
        self.replays = Replays(self.store, Keys("0"))
        for tag in tags(partitions):
            self.desks.append(rig_of(self.store, tag))
            each = rig_of(self.proxied_store, tag)
            each.wall_ms, each.monotonic = self.clock.wall_ms, self.clock.monotonic
            each.lane = scripted_lane(self.world, self.lane)
            each.breaker_rules = Rules(trip_failures=4, rate_over=50, first_wait_s=5.0, longest_wait_s=20.0)
            self.rigs.append(each)
        self._start()
        await asyncio.sleep(BREATH_S)

    def _settings(self) -> list[SubscriberSettings]:
        common: dict[str, Any] = {
            "retry_s": RETRY_S,
            "timeout_s": TIMEOUT_S,
            "concurrency": self.concurrency,
            "max_lag_s": self.max_lag_s,
        }
        return [subscriber(9, "ordered", order="key", **common), subscriber(9, "plain", **common)]

    def _start(self) -> None:
        self.owners += 1
        owner = f"owner-{self.owners}"
        for each in self.rigs:
            dispatcher = each.dispatcher(*self._settings(), owner=owner)
            dispatcher.start()
            self.dispatchers.append(dispatcher)
        replayer = scripted_replayer(
            self.world,
            self.proxied_store,
            [each.keys for each in self.rigs],
            owner,
            self.clock,
            lambda: {each.name: each for each in self._settings()},
        )
        replayer.start()
        self.replayers.append(replayer)

    # Parts of steps

    async def _pass(self, seconds: float) -> None:
        self.world.advance(seconds)
        await asyncio.sleep(BREATH_S)

    def _expect_repeats(self) -> None:
        self.repeats_allowed = True
        self._expect_repeated_replays()

    def _expect_repeated_replays(self) -> None:
        """What went out behind an attempt that a stop cut off is not counted, so it goes out again."""
        self.chosen = {replay_id: (events, True) for replay_id, (events, _) in self.chosen.items()}

    async def _apply(self) -> None:
        self._expect_repeated_replays()  # they begin anew with the new settings
        for dispatcher in self.dispatchers:
            await dispatcher.apply(self._settings())
        await asyncio.sleep(BREATH_S)

    async def _set_lag(self, max_lag_s: float) -> None:
        self.max_lag_s = max_lag_s
        self.world.advance(LONG_ATTEMPT_S)
        await self._apply()

    async def _replay(self, name: str, chosen: set[int], since: int | None, outcome: list[Word]) -> None:
        replay_id = f"rpl_{len(self.chosen)}"
        events = {self.logged[number][0] for number in chosen}
        for event in sorted(events)[:1]:  # of the others every attempt is taken
            self.world.script[replay_id, event] = outcome
        ends = [await each.log.last() for each in self.desks]
        picked = None
        spec = ReplaySpec(subscriber=name, rate_per_s=100_000)
        if since is None:
            spec = msgspec.structs.replace(spec, ids=tuple(sorted(events)))
            picked = [[entry.seq for entry in await self._entries(each) if _id(entry) in events] for each in self.desks]
        else:
            spec = msgspec.structs.replace(spec, since_ms=received_ms(since))
        replay = Replay(
            id=replay_id,
            spec=spec,
            created_ms=self.clock.wall_ms(),
            created_by="model",
            starts=[0] * len(ends),
            ends=ends,
            positions=[0] * len(ends),
            picked=picked,
        )
        self.chosen[replay_id] = (events, False)
        assert await self.replays.save(replay, 0)
        await asyncio.sleep(BREATH_S)

    def _control(self, name: str) -> Control:
        return Control(self.store, [each.keys for each in self.desks], name)

    async def _line(self, name: str) -> Subscriber:
        lines = [msgspec.structs.asdict(await each.line(name)) for each in self.desks]
        return Subscriber(**{part: sum(line[part] for line in lines) for part in lines[0]})

    async def _decide(self, name: str, decision: Callable[[int], str]) -> None:
        words: tuple[Literal["retry", "drop"], ...] = ("retry", "drop")
        for desk, letters in zip(self.desks, await self._letters(name), strict=True):
            store = DeadLetters(self.store, desk.keys, name)
            for word in words:
                chosen = {seq: event for seq, event in letters.items() if decision(seq) == word}
                self._count(f"dead letters: {word}", len(chosen))
                if word == "retry":
                    self.world.moments += [Moment("retry", name, event) for event in chosen.values()]
                if chosen:
                    assert await store.move(word, list(chosen), self.clock.wall_ms()) == len(chosen)
                if word == "drop":
                    self.dropped[name] |= set(chosen.values())
                elif chosen:
                    await self._noticed(name)
                    self.world.moments += [Moment("retried", name, event) for event in chosen.values()]

    async def _noticed(self, name: str) -> None:
        """Wait until the lanes of a subscriber with order know that dead letters were retried, if they come to it."""
        if name != "ordered":
            return
        keys = [each.keys.subscriber(name).sub for each in self.desks]
        retries = sum([int(await self.store.call("HGET", key, "retries") or 0) for key in keys])
        deadline_s = time.monotonic() + NOTICE_S
        while time.monotonic() < deadline_s:
            lanes = [each._lanes[name] for each in self.dispatchers if each.holds and name in each._lanes]
            if len(lanes) >= len(keys) and sum(lane._retries for lane in lanes[-len(keys) :]) >= retries:
                return
            await asyncio.sleep(BREATH_S / 4)

    async def _letters(self, name: str) -> list[dict[int, str]]:
        """The dead letters now, by sequence number, a partition each; none died before its attempts were over."""
        found = []
        for desk in self.desks:
            letters = [letter for letter, _ in await DeadLetters(self.store, desk.keys, name).list(0, 10_000)]
            allowed = {len(RETRY_S) + 1} if name == "plain" else range(1, len(RETRY_S) + 2)  # a follower's last chance
            assert all(letter.attempts in allowed for letter in letters)
            assert all(letter.attempts <= len(letter.history) + letter.forgotten for letter in letters)
            found.append({letter.seq: letter.event_id for letter in letters})
        return found

    async def _stop(self) -> None:
        await asyncio.gather(*[each.stop() for each in self.dispatchers], *[each.stop() for each in self.replayers])
        self.dispatchers.clear()
        self.replayers.clear()

    async def _end(self) -> None:
        if not self.desks:
            return
        await self._stop()
        await self.store.close()
        await self.proxied_store.close()
        await self.stack.aclose()

    async def _entries(self, desk: Rig) -> list[Entry]:
        return await desk.log.read(0, 10_000)


def rig_of(store: Store, tag: str) -> Rig:
    """One partition."""
    rig = Rig(store)
    rig.keys = Keys(tag)
    rig.log = PartitionLog(store, rig.keys)
    return rig


def received_ms(number: int) -> int:
    """How the rig dates its events."""
    found = parse_iso_ms(f"2026-02-03T12:00:{number % 60:02d}.000Z")
    assert found is not None
    return found


def _id(entry: Entry) -> str:
    found: str = msgspec.json.decode(entry.event_json)["id"]
    return found


async def kill(dispatcher: Dispatcher) -> None:
    """Let a dispatcher do nothing more, whatever it has in hand: what it sent to the store may have come there."""
    for lane in dispatcher._lanes.values():
        for task in [*lane._tasks, *lane._workers, *([lane._probe] if lane._probe else [])]:
            task.cancel()
        lane._settler.changes.clear()
        lane._standing.forget()
    await dispatcher.stop()
