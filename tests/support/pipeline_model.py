"""A stateful model of accept / fail / retry / crash / takeover / pause on a real store, for ``test_model.py``.

The steps do to a partition what providers, subscribers, operators, clocks and accidents do. The subscribers follow a
script (``scripted.py``), everything else is the gateway's own. At the end all troubles end, time passes, and then:
every event is delivered, a dead letter, or was dropped by an operator; nothing else arrived; nothing arrived twice
unless a process died or lost the partition; ``order = "key"`` was kept; the account and its recount agree.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from gateway.config import StoreSettings, SubscriberSettings
from gateway.delivery.breaker import Rules
from gateway.delivery.dispatcher import Dispatcher
from gateway.delivery.lane import LONG_ATTEMPT_S
from gateway.store.connection import Store
from gateway.store.control import Control
from gateway.store.dead_letters import DeadLetters
from tests.support.clock import Clock
from tests.support.delivering import Rig, subscriber
from tests.support.scripted import ScriptedLane, Word, World, scripted_lane
from tests.support.stores import StoreServer

RETRY_S = (5.0, 30.0, 60.0)
TIMEOUT_S = 8.0
BREATH_S = 0.02
"""What a step gives the gateway to act: real time, a few of its ticks."""

NAMES = ("ordered", "plain")
WORDS: tuple[Word, ...] = ("ok", "slow", "500", "422", "hang", "reset")
MOMENTS_S = (0.2, 1.5, 6.0, 40.0, 400.0)
JUMPS_S = (-31_536_000.0, -3_600.0, -1.0, 1.0, 3_600.0, 31_536_000.0)

outcomes = st.lists(st.sampled_from(WORDS), max_size=5) | st.lists(st.sampled_from(WORDS[2:]), min_size=4, max_size=4)
arrivals = st.lists(st.tuples(st.sampled_from([None, "a", "a", "b"]), outcomes, outcomes), min_size=2, max_size=8)
names = st.sampled_from(NAMES)


class PipelineModel(RuleBasedStateMachine):
    """One partition with two subscribers, one of them with ``order = "key"``."""

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
        self.once_dead: dict[str, set[str]] = {name: set() for name in NAMES}
        self.dropped: dict[str, set[str]] = {name: set() for name in NAMES}
        self.repeats_allowed = False
        self.owners = 0
        self.concurrency = 3
        self.dispatchers: list[Dispatcher] = []
        self.runner.run(self._begin())
        self._count("examples")

    def _count(self, what: str, times: int = 1) -> None:
        type(self).runs[what] += times

    async def _begin(self) -> None:
        self.store = Store(StoreSettings(url=self.server.url), self.server.url)
        self.world = World(self.clock)
        self.rig = Rig(self.store)
        self.rig.wall_ms, self.rig.monotonic = self.clock.wall_ms, self.clock.monotonic
        self.rig.lane = scripted_lane(self.world, self.lane)
        self.rig.breaker_rules = Rules(trip_failures=4, rate_over=50, first_wait_s=5.0, longest_wait_s=20.0)
        self._start()
        await asyncio.sleep(BREATH_S)

    def _settings(self) -> list[SubscriberSettings]:
        common: dict[str, Any] = {"retry_s": RETRY_S, "timeout_s": TIMEOUT_S, "concurrency": self.concurrency}
        return [subscriber(9, "ordered", order="key", **common), subscriber(9, "plain", **common)]

    def _start(self) -> None:
        self.owners += 1
        dispatcher = self.rig.dispatcher(*self._settings(), owner=f"owner-{self.owners}")
        dispatcher.start()
        self.dispatchers.append(dispatcher)

    # What happens to the gateway

    @initialize(events=arrivals)
    def begin(self, events: list[tuple[str | None, list[Word], list[Word]]]) -> None:
        """A run without events would show nothing."""
        self.accept(events)

    @rule(events=arrivals)
    def accept(self, events: list[tuple[str | None, list[Word], list[Word]]]) -> None:
        """Events arrive; how each attempt of each subscriber will end is in the script."""

        async def run() -> None:
            for key, ordered, plain in events:
                (event,) = await self.rig.append(1, key=key, first=len(self.logged))
                self.world.script["ordered", event] = ordered
                self.world.script["plain", event] = plain
                self.logged.append((event, key))
            await asyncio.sleep(BREATH_S)

        self._count("events", len(events))
        self.runner.run(run())

    @rule(seconds=st.sampled_from(MOMENTS_S))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.runner.run(self._pass(seconds))

    @rule(steps=st.integers(2, 6))
    def let_it_work(self, steps: int) -> None:
        """Time passes, and nothing else happens for a while."""
        for _ in range(steps):
            self.runner.run(self._pass(5.0))

    @rule(seconds=st.sampled_from(JUMPS_S))
    def set_clock(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self._count("clocks set")
        self.clock.jump(seconds)
        self.runner.run(asyncio.sleep(BREATH_S))

    @rule()
    def crash(self) -> None:
        """The process dies with whatever it has in hand, and another takes over."""
        self._count("crashes")
        self.repeats_allowed = True

        async def run() -> None:
            for dispatcher in self.dispatchers:
                await _kill(dispatcher)
            self.dispatchers.clear()
            self._start()
            await asyncio.sleep(BREATH_S)

        self.runner.run(run())

    @rule()
    def take_over(self) -> None:
        """The lease runs out under a process that lives on and does not know."""
        self._count("takeovers")
        self.repeats_allowed = True

        async def run() -> None:
            await self.store.call("HSET", self.rig.keys.state, "lease_until_ms", 1)
            self._start()
            await asyncio.sleep(BREATH_S)

        self.runner.run(run())

    @rule()
    def restart(self) -> None:
        """The process ends as it should, and another begins."""
        self._count("restarts")

        async def run() -> None:
            self.world.advance(LONG_ATTEMPT_S)  # the grace of a stop is longer than that
            await self._stop()
            self._start()
            await asyncio.sleep(BREATH_S)

        self.runner.run(run())

    @rule(concurrency=st.integers(1, 6))
    def change(self, concurrency: int) -> None:
        """The configuration is loaded again, with a change to every subscriber."""
        self._count("changes")
        self.concurrency = concurrency

        async def run() -> None:
            self.world.advance(LONG_ATTEMPT_S)  # the grace of a stop is longer than that
            for dispatcher in self.dispatchers:
                await dispatcher.apply(self._settings())
            await asyncio.sleep(BREATH_S)

        self.runner.run(run())

    @rule(name=names)
    def pause(self, name: str) -> None:
        """An operator pauses a subscriber."""
        self._count("pauses")
        self.runner.run(self._control(name).pause("the model says so"))

    @rule(name=names)
    def resume(self, name: str) -> None:
        """An operator resumes it, paused or not."""
        self.runner.run(self._control(name).resume())

    @rule(name=names)
    def retry_dead(self, name: str) -> None:
        """An operator has all dead letters tried again."""

        self.runner.run(self._decide(name, lambda _: "retry"))

    @rule(name=names)
    def drop_dead(self, name: str) -> None:
        """An operator gives all dead letters up."""

        self.runner.run(self._decide(name, lambda _: "drop"))

    # How it ends

    def teardown(self) -> None:
        """All troubles end, everything drains, dead letters are seen to, and the account is checked."""
        try:
            self.runner.run(self._drain())
            for name in NAMES:
                self.runner.run(self._decide(name, lambda seq: ("retry", "drop", "leave")[seq % 3]))
            self.runner.run(self._drain())
            self.runner.run(self._check())
        finally:
            self.runner.run(self._end())
            self.runner.close()

    async def _drain(self) -> None:
        for name in NAMES:
            await self._control(name).resume()
        step_s = 10.0
        for _ in range(200):
            lines = [await self.rig.line(name) for name in NAMES]
            if all(line.pending == 0 and line.offered == len(self.logged) for line in lines):
                return
            await self._pass(step_s)
            step_s = min(step_s * 1.1, 1_000.0)
        what = [f"{name}: {await self.rig.line(name)} {self._lanes(name)}" for name in NAMES]
        raise AssertionError(f"it never drains: {what}")

    def _lanes(self, name: str) -> list[dict[str, Any] | None]:
        return [dispatcher.lane_status(name) for dispatcher in self.dispatchers]

    async def _check(self) -> None:
        every = {event for event, _ in self.logged}
        recount = await self.rig.audited()
        assert recount == (0, []), f"the account is off: {recount}"
        for name in NAMES:
            line, taken = await self.rig.line(name), self.world.delivered.get(name, [])
            dead = set((await self._letters(name)).values())
            note(f"{name}: {line}; taken {taken}, dead {dead}, dropped {self.dropped[name]}")
            lost = every - set(taken) - dead - self.dropped[name]
            assert not lost, f"{name}: lost {lost}"
            assert set(taken) <= every, f"{name}: never logged {set(taken) - every}"
            assert line.unaccounted == 0
            assert line.discarded == len(self.dropped[name])
            assert line.delivered == len(every) - len(dead) - len(self.dropped[name])
            twice = {event: times for event, times in Counter(taken).items() if times > 1}
            assert self.repeats_allowed or not twice, f"{name}: more than once {twice}"
            self._count("delivered", len(taken))
            self._count("repeats", sum(twice.values()) - len(twice))
            self._count("dead", len(dead))
        self._check_order()

    def _check_order(self) -> None:
        """Per key, first deliveries are in log order; a dead letter that was retried comes when an operator wants."""
        taken = list(dict.fromkeys(self.world.delivered.get("ordered", [])))
        place = {event: number for number, (event, _) in enumerate(self.logged)}
        for key in {key for _, key in self.logged} - {None}:
            of_key = {event for event, its in self.logged if its == key} - self.once_dead["ordered"]
            numbers = [place[event] for event in taken if event in of_key]
            assert numbers == sorted(numbers), f"key {key} out of order: {numbers}"

    # Parts of steps

    async def _pass(self, seconds: float) -> None:
        self.world.advance(seconds)
        await asyncio.sleep(BREATH_S)

    def _control(self, name: str) -> Control:
        return Control(self.store, [self.rig.keys], name)

    async def _decide(self, name: str, decision: Callable[[int], str]) -> None:
        letters = await self._letters(name)
        store = DeadLetters(self.store, self.rig.keys, name)
        words: tuple[Literal["retry", "drop"], ...] = ("retry", "drop")
        for word in words:
            chosen = {seq: event for seq, event in letters.items() if decision(seq) == word}
            self._count(f"dead letters: {word}", len(chosen))
            if chosen:
                assert await store.move(word, list(chosen), self.clock.wall_ms()) == len(chosen)
            if word == "drop":
                self.dropped[name] |= set(chosen.values())

    async def _letters(self, name: str) -> dict[int, str]:
        """The dead letters now, by sequence number; none died before its attempts were over."""
        found = [letter for letter, _ in await DeadLetters(self.store, self.rig.keys, name).list(0, 10_000)]
        allowed = {len(RETRY_S) + 1} if name == "plain" else {1, len(RETRY_S) + 1}  # 1: the last chance of a follower
        assert {letter.attempts for letter in found} <= allowed
        self.once_dead[name] |= {letter.event_id for letter in found}
        return {letter.seq: letter.event_id for letter in found}

    async def _stop(self) -> None:
        await asyncio.gather(*[dispatcher.stop() for dispatcher in self.dispatchers])
        self.dispatchers.clear()

    async def _end(self) -> None:
        await self._stop()
        await self.store.close()


async def _kill(dispatcher: Dispatcher) -> None:
    """Let a dispatcher do nothing more, whatever it has in hand: what it sent to the store may have come there."""
    for lane in dispatcher._lanes.values():
        for task in [*lane._tasks, *lane._workers, *([lane._probe] if lane._probe else [])]:
            task.cancel()
        lane._settler.changes.clear()
        lane._standing.forget()
    await dispatcher.stop()
