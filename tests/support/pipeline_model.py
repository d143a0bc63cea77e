"""A stateful model of accept / fail / retry / crash / takeover / pause / replay on a real store, for ``test_model.py``.

The steps do to one partition or two what providers, subscribers, operators, clocks and accidents do. The subscribers
follow a script (``scripted.py``), everything else is the gateway's own; it reaches the store through a proxy, which can
be cut. At the end all troubles end, time passes, and then: every event is delivered, a dead letter, was dropped by an
operator, or was older than ``max_lag`` when that was looked at; nothing else arrived; nothing arrived twice unless a
process died or lost the partition; ``order = "key"`` was kept, retried dead letters included; every replay has sent
what it was asked to, apart from the account; the account and its recount agree.
"""

import asyncio
from collections import Counter
from typing import Any

from hypothesis import currently_in_test_context, note
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from gateway.delivery.lane import LONG_ATTEMPT_S
from gateway.store.layout import partition_of
from tests.support.pipeline import BREATH_S, MAX_LAG_S, NAMES, Pipeline, kill, received_ms
from tests.support.pipeline_order import Moment, out_of_order
from tests.support.replaying import abandon
from tests.support.scripted import Word

WORDS: tuple[Word, ...] = ("ok", "slow", "500", "422", "hang", "reset")
MOMENTS_S = (0.2, 1.5, 6.0, 40.0, 400.0)
JUMPS_S = (-31_536_000.0, -3_600.0, -1.0, 1.0, 3_600.0, 31_536_000.0)

outcomes = st.lists(st.sampled_from(WORDS), max_size=5) | st.lists(st.sampled_from(WORDS[2:]), min_size=4, max_size=4)
arrivals = st.lists(st.tuples(st.sampled_from([None, "a", "a", "b"]), outcomes, outcomes), min_size=2, max_size=8)
names = st.sampled_from(NAMES)
LAGS_S = (30.0, 90.0, 500.0)


class PipelineModel(Pipeline):
    """What can happen, and what must be true in the end."""

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
                await kill(dispatcher)
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
