"""A stateful model of accept / fail / retry / crash / takeover / pause / replay on a real store, for ``test_model.py``.

The steps do to one partition or two what providers, subscribers, operators, clocks and accidents do. The subscribers
follow a script (``scripted.py``), everything else is the gateway's own; it reaches the store through a proxy, which can
be cut. At the end all troubles end, time passes, and then: every event is delivered, a dead letter, was dropped by an
operator, or was older than ``max_lag`` when that was looked at; nothing else arrived; nothing arrived twice unless a
process died or lost the partition; ``order = "key"`` was kept, retried dead letters included; every replay has sent
what it was asked to, apart from the account; the account and its recount agree.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, ClassVar, Literal

import msgspec
from hypothesis import currently_in_test_context, note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from gateway.config import StoreSettings, SubscriberSettings
from gateway.delivery.breaker import Rules
from gateway.delivery.dispatcher import Dispatcher
from gateway.delivery.lane import LONG_ATTEMPT_S
from gateway.store.connection import Store
from gateway.store.control import Control
from gateway.store.dead_letters import DeadLetters
from gateway.store.layout import Keys, partition_of, tags
from gateway.store.ledger import Subscriber
from gateway.store.log import Entry, PartitionLog
from gateway.store.replays import Replay, Replays, ReplaySpec
from schemas.timestamps import parse_iso_ms
from tests.support.clock import Clock
from tests.support.delivering import Rig, subscriber
from tests.support.pipeline_order import Moment, out_of_order
from tests.support.pipeline_replays import ScriptedReplayer, scripted_replayer
from tests.support.proxy import proxied
from tests.support.replaying import abandon
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
MAX_LAG_S = 1e9
LAGS_S = (30.0, 90.0, 500.0)
NOTICE_S = 0.5
"""How long a lane may take to notice that dead letters were retried; it is real time, and far more than it needs."""


class PipelineModel(RuleBasedStateMachine):
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

    # What happens to the gateway

    @initialize(events=arrivals, partitions=st.sampled_from([1, 1, 2]))
    def begin(self, events: list[tuple[str | None, list[Word], list[Word]]], partitions: int) -> None:
        """A run without events would show nothing."""
        self._count(f"with {partitions} partitions")
        self.runner.run(self._begin(partitions))
        self.accept(events)

    @rule(events=arrivals)
    def accept(self, events: list[tuple[str | None, list[Word], list[Word]]]) -> None:
        """Events arrive; how each attempt of each subscriber will end is in the script."""

        async def run() -> None:
            for key, ordered, plain in events:
                event = f"evt_message.received-{key}-{len(self.logged)}"
                self.world.script["ordered", event] = ordered
                self.world.script["plain", event] = plain
                desk = self.desks[partition_of("src", key, event, len(self.desks))]
                assert await desk.append(1, key=key, first=len(self.logged)) == [event]
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
        self._expect_repeats()

        async def run() -> None:
            for dispatcher in self.dispatchers:
                await _kill(dispatcher)
            for replayer in self.replayers:
                await abandon(replayer)
            self.dispatchers.clear()
            self.replayers.clear()
            self._start()
            await asyncio.sleep(BREATH_S)

        self.runner.run(run())

    @rule()
    def take_over(self) -> None:
        """The lease runs out under a process that lives on and does not know."""
        self._count("takeovers")
        self._expect_repeats()
        self.world.moments.append(Moment("takeover"))

        async def run() -> None:
            for each in self.desks:
                await self.store.call("HSET", each.keys.state, "lease_until_ms", 1)
            self._start()
            await asyncio.sleep(BREATH_S)

        self.runner.run(run())

    @rule()
    def restart(self) -> None:
        """The process ends as it should, and another begins."""
        self._count("restarts")
        self._expect_repeated_replays()

        async def run() -> None:
            self.world.advance(LONG_ATTEMPT_S)  # the grace of a stop is longer than that
            await self._stop()
            self._start()
            await asyncio.sleep(BREATH_S)

        self.runner.run(run())

    @rule(seconds=st.sampled_from(MOMENTS_S[:3]), lost=st.integers(0, 1))
    def lose_store(self, seconds: float, lost: int) -> None:
        """The store is away for a while, or a reply of it is; then it is back."""
        self._count("outages")
        self._expect_repeats()

        async def run() -> None:
            self.proxy.lose_replies = lost
            await self._pass(seconds)
            self.proxy.refuse = True
            self.proxy.cut()
            await self._pass(seconds)
            self.proxy.refuse, self.proxy.lose_replies = False, 0
            await self._pass(seconds)

        self.runner.run(run())

    @rule(max_lag_s=st.sampled_from(LAGS_S))
    def bound_lag(self, max_lag_s: float) -> None:
        """``max_lag`` is short for a moment: what is older is discarded, unless it is delivered before."""
        self._count("max_lag looked at")

        async def run() -> None:
            await self._set_lag(max_lag_s)
            for dispatcher in self.dispatchers:
                if dispatcher.holds:
                    await dispatcher._give_up(with_parked=True)
            now_ms = max(self.clock.wall_ms(), self.clock.elapsed_ms())
            for number, (event, _) in enumerate(self.logged):
                if received_ms(number) < now_ms - max_lag_s * 1000:
                    self.old.add(event)
            await asyncio.sleep(BREATH_S)
            await self._set_lag(MAX_LAG_S)

        self.runner.run(run())

    @rule(name=names, data=st.data())
    def replay(self, name: str, data: st.DataObject) -> None:
        """An operator has some events sent to a subscriber again, by their ids or by when they came."""
        self._count("replays")
        by_time = data.draw(st.booleans(), label="by time")
        seconds = data.draw(st.integers(0, 59), label="since") if by_time else 0
        numbers = range(len(self.logged))
        if by_time:
            chosen = {number for number in numbers if number % 60 >= seconds}
        else:
            chosen = set(data.draw(st.lists(st.sampled_from(numbers), min_size=1, max_size=6), label="events"))
        outcome = data.draw(outcomes, label="outcomes")
        self.runner.run(self._replay(name, chosen, seconds if by_time else None, outcome))

    @rule(concurrency=st.integers(1, 6))
    def change(self, concurrency: int) -> None:
        """The configuration is loaded again, with a change to every subscriber."""
        self._count("changes")
        self.concurrency = concurrency

        async def run() -> None:
            self.world.advance(LONG_ATTEMPT_S)  # the grace of a stop is longer than that
            await self._apply()

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
            lines = [await self._line(name) for name in NAMES]
            replays = [stored.replay.id for stored in await self.replays.all() if stored.replay.is_open]
            if not replays and all(line.pending == 0 and line.offered == len(self.logged) for line in lines):
                return
            await self._pass(step_s)
            step_s = min(step_s * 1.1, 1_000.0)
        what = [f"{name}: {await self._line(name)} {self._lanes(name)}" for name in NAMES]
        raise AssertionError(f"it never drains: {what}; replays {replays}")

    def _lanes(self, name: str) -> list[dict[str, Any] | None]:
        return [dispatcher.lane_status(name) for dispatcher in self.dispatchers]

    async def _check(self) -> None:
        every = {event for event, _ in self.logged}
        for desk in self.desks:
            recount = await desk.audited()
            assert recount == (0, []), f"the account is off: {recount}"
        for name in NAMES:
            line, taken = await self._line(name), self.world.delivered.get(name, [])
            dead = {event for letters in await self._letters(name) for event in letters.values()}
            settled = dead | self.dropped[name]
            if currently_in_test_context():
                note(f"{name}: {line}; taken {taken}, dead {dead}, dropped {self.dropped[name]}")
            lost = every - set(taken) - settled
            assert lost <= self.old, f"{name}: lost {lost - self.old}"
            given_up = line.discarded - len(self.dropped[name])
            assert len(lost) <= given_up <= len(self.old - settled), f"{name}: {given_up} given up, {lost} lost"
            assert self.repeats_allowed or given_up == len(lost), f"{name}: {given_up} given up, only {lost} lost"
            assert set(taken) <= every, f"{name}: never logged {set(taken) - every}"
            assert line.unaccounted == 0
            assert line.delivered == len(every) - len(dead) - line.discarded
            twice = {event: times for event, times in Counter(taken).items() if times > 1}
            assert self.repeats_allowed or not twice, f"{name}: more than once {twice}"
            self._count("delivered", len(taken))
            self._count("repeats", sum(twice.values()) - len(twice))
            self._count("dead", len(dead))
            self._count("given up", given_up)
        wrong = out_of_order(self.world.moments, "ordered", self.logged)
        assert not wrong, f"out of order: {wrong}"
        await self._check_replays()

    async def _check_replays(self) -> None:
        for replay_id, (chosen, repeats_allowed) in self.chosen.items():
            stored = await self.replays.get(replay_id)
            assert stored is not None
            replay, taken = stored.replay, self.world.delivered.get(replay_id, [])
            where = f"replay {replay}: taken {taken}, chosen {chosen}"
            assert replay.state == "done", where
            assert replay.matched == len(chosen) == replay.delivered + replay.failed, where
            assert set(taken) <= chosen, where
            assert repeats_allowed or len(taken) == len(set(taken)) == replay.delivered, where
            assert len(set(taken)) >= replay.delivered, where
            self._count("replayed", len(taken))

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


async def _kill(dispatcher: Dispatcher) -> None:
    """Let a dispatcher do nothing more, whatever it has in hand: what it sent to the store may have come there."""
    for lane in dispatcher._lanes.values():
        for task in [*lane._tasks, *lane._workers, *([lane._probe] if lane._probe else [])]:
            task.cancel()
        lane._settler.changes.clear()
        lane._standing.forget()
    await dispatcher.stop()
