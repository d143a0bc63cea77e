"""One subscriber in one partition: what it has in hand, how many attempts at once, and what is settled when.

A lane's *window* holds the events it was given and that are not settled, in log order. Workers make the attempts, up to
the subscriber's ``concurrency`` at once and no faster than its ``rate``, in any order; the cursor follows the resolved
beginning of the window. So after a crash at most the window is delivered again. A full window takes no more: the lane
stops reading, which costs the store nothing, and nobody else notices. The same happens while it is paused or its
breaker (``breaker.py``) is open.

What failed is parked in the store and leaves the window. An attempt that runs for over a second is parked too, as in
flight, so that one slow answer does not hold the cursor up; its end settles it. Parked events come back when they are
due, and get at most a part of the workers while first attempts wait.

With ``order = "key"`` one event of a key is in hand at a time (``key_order.py``). While one of them is parked the key
is held: later ones go to the key's list in the store and follow in order, each becoming parked and due when the one
before is done.
"""

import asyncio
import contextlib
import random
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from gateway.config import SubscriberSettings
from gateway.delivery.attempt import Sender, encode
from gateway.delivery.breaker import Breaker, BreakerState, Rules
from gateway.delivery.condition import Condition
from gateway.delivery.guard import Guard
from gateway.delivery.key_order import KeyOrder
from gateway.delivery.outcome import Outcome
from gateway.delivery.pace import Pace
from gateway.delivery.parcel import Delivery, Return, Slot, delivery_of
from gateway.delivery.records import dead_change, done_change, in_flight_change, parked_change
from gateway.delivery.schedule import Again, Dead, Done, next_step
from gateway.errors import LeaseLost, StoreError, StoreUnavailable
from gateway.store.log import PartitionLog
from gateway.store.parked import CLOCK_JUMP_MS, Change, DueEvent, Parked, SubscriberStore

log = structlog.get_logger("gateway.delivery")

WINDOW_EVENTS = 1_024
WINDOW_BYTES = 4 * 1024 * 1024
SETTLE_EVENTS = 256
SETTLE_WAIT_S = 0.005
"""How long outcomes gather before they are settled together, unless there are many."""

LONG_ATTEMPT_S = 1.0
IN_FLIGHT_MARGIN_MS = 10_000
"""An in-flight event is due again this long after its attempt must have ended; only a crash lets it come to that."""

TICK_S = 0.25
LOOK_TICKS = 4
"""Every so many ticks: is it paused, and did an operator park dead letters again?"""

DUE_LIMIT = 256
PARKED_TURN = 4
"""While first attempts wait, every fourth free worker takes a parked event: late retries neither starve nor starve."""


class Lane:
    """Deliveries of one subscriber in one partition, while this process holds the lease."""

    def __init__(
        self,
        settings: SubscriberSettings,
        store: SubscriberStore,
        partition_log: PartitionLog,
        guard: Guard,
        *,
        wall_ms: Callable[[], int],
        monotonic: Callable[[], float],
        jitter: Callable[[], float] = random.random,
        breaker_rules: Rules | None = None,
        rate_share: float = 1.0,
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.condition = Condition(settings.where, settings.types) if settings.where else None
        """What it asks of an event whose type it wants."""
        self.read_seq = 0
        """The last sequence number this lane was given."""
        self.has_room = False
        self._store = store
        self._log = partition_log
        self._guard = guard
        self._wall_ms = wall_ms
        self._monotonic = monotonic
        self._jitter = jitter
        self._rules = breaker_rules or Rules()
        self._sender: Sender | None = None
        self._attempts = len(settings.retry_s) + 1
        self._pace = Pace(settings.rate_per_s and settings.rate_per_s * rate_share, monotonic=monotonic)
        self.paused = ""
        self.lost: StoreError | None = None
        self._pause_to_save = ""
        self._breaker_changed = False
        self._ended: Counter[str] = Counter()
        self._reset(0, BreakerState(), set())

    def _reset(self, epoch: int, breaker: BreakerState, held: set[str]) -> None:
        self._epoch = epoch
        self._cursor = 0
        self._window: deque[Slot] = deque()
        self._window_bytes = 0
        self._tail_filtered = self._tail_gap = 0
        self._fresh: deque[Slot] = deque()
        self._returns: deque[Return] = deque()
        self._in_hand: set[int] = set()
        self._trying: dict[int, Slot] = {}
        self._changes: list[Change] = []
        self._keys = KeyOrder(held, on=self.settings.order == "key")
        self._breaker = Breaker(breaker, self._rules)
        self._probe: asyncio.Task[None] | None = None
        self._workers: set[asyncio.Task[None]] = set()
        self._turn = self._resolved = self._ticks = 0
        self._next_due_ms: int | None = 0
        self._looking = False
        self._dirty = asyncio.Event()
        self._stopped = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.lost = None

    async def start(self, epoch: int, start_seq: str | int, stir: asyncio.Event) -> None:
        """Begin where the cursor stands. Raises ``StoreUnavailable``.

        ``stir`` is set when the lane has room again, and when it can go on no longer (``lost`` says why).
        """
        cursor = await self._store.subscribe(start_seq, self._wall_ms())
        self.paused, saved = await self._store.switches()
        held = await self._store.held_keys() if self.settings.order == "key" else set()
        self._reset(epoch, msgspec.json.decode(saved, type=BreakerState) if saved else BreakerState(), held)
        self._stir = stir
        self._cursor = self.read_seq = cursor.seq
        if self._sender is None:
            self._sender = Sender(self.settings, self._guard, wall_ms=self._wall_ms, monotonic=self._monotonic)
        self._update_room()
        self._tasks = [
            asyncio.create_task(self._settle_forever(), name=f"settle {self.name}"),
            asyncio.create_task(self._tick_forever(), name=f"tick {self.name}"),
        ]
        for task in self._tasks:
            task.add_done_callback(self._left)

    async def stop(self, grace_s: float) -> None:
        """Let running attempts end within ``grace_s``, settle them, and hand the rest back to the log."""
        self._stopped.set()
        self.has_room = False
        self._fresh.clear()
        self._returns.clear()
        running = self._workers | ({self._probe} if self._probe else set())
        if running:
            await asyncio.wait(running, timeout=grace_s)
        self._hand_back()
        for task in self._tasks[1:]:
            task.cancel()
        self._dirty.set()
        if self._tasks:
            await asyncio.wait(self._tasks[:1], timeout=grace_s)
            self._tasks[0].cancel()
        for task in running:
            task.cancel()
        await asyncio.gather(*self._tasks, *running, return_exceptions=True)
        if not isinstance(self.lost, LeaseLost):
            with contextlib.suppress(StoreUnavailable):  # then the next owner finds out by itself
                await self._save_switches()
        if self._sender is not None:
            await self._sender.close()
            self._sender = None

    def _hand_back(self) -> None:
        """Park what waits before something resolved, due at once.

        With order by key events go out of turn, and the cursor cannot pass those that wait: without this, what was
        delivered behind them would be delivered again by the next owner.
        """
        window = list(self._window)
        last = max((at for at, slot in enumerate(window) if slot.state == "resolved"), default=0)
        for slot in window[:last]:
            if slot.state != "waiting":
                continue
            key = self._keys.key_of(slot)
            if key in self._keys.held:
                self._resolve(slot, self._keys.to_hold(slot))
                continue
            info = msgspec.json.encode(Parked(attempt=0, key=key))
            self._resolve(slot, Change("park", slot.delivery.seq, key, self._wall_ms(), info))
            self._hold_key(slot)

    # Taking events in

    def feed(self, upto: int, count: int, wanted: list[tuple[int, Delivery]]) -> None:
        """Take what was read of the log: ``count`` entries up to sequence number ``upto``.

        ``wanted`` are those this subscriber wants, each with its index among the entries. The rest is filtered.
        """
        before, at = self.read_seq, -1
        filtered, gap = self._tail_filtered, self._tail_gap
        for index, delivery in wanted:
            passed = index - at - 1
            filtered += passed
            gap += delivery.seq - before - 1 - passed
            self._admit(Slot(delivery, filtered, gap))
            before, at, filtered, gap = delivery.seq, index, 0, 0
        rest = count - at - 1
        self._tail_filtered = filtered + rest
        self._tail_gap = gap + upto - before - rest
        self.read_seq = upto
        self._update_room()  # what was only filtered is settled by the next tick: so 99 idle lanes cost little

    def _admit(self, slot: Slot) -> None:
        self._window.append(slot)
        self._window_bytes += slot.delivery.size_bytes
        match self._keys.admit(slot):
            case "go":
                self._fresh.append(slot)
                self._hire()
            case "hold":
                self._resolve(slot, Change("hold", slot.delivery.seq, slot.delivery.key))

    def _update_room(self) -> None:
        had = self.has_room
        self.has_room = (
            len(self._window) < WINDOW_EVENTS
            and self._window_bytes < WINDOW_BYTES
            and not self.paused
            and not (self._breaker.is_open and (self._fresh or self._returns or self._keys.held))
            and not self._stopped.is_set()
        )
        if self.has_room and not had:
            self._stir.set()

    # Attempts

    @property
    def cursor(self) -> int:
        """Up to which sequence number all is settled."""
        return self._cursor

    @property
    def _runs(self) -> bool:
        return not (self.paused or self._breaker.is_open or self._stopped.is_set())

    def _hire(self) -> None:
        if len(self._workers) < self.settings.concurrency and self._runs:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._left)

    def _hire_all(self) -> None:
        for _ in range(min(self.settings.concurrency, len(self._fresh) + len(self._returns))):
            self._hire()

    def _left(self, worker: "asyncio.Task[None]") -> None:
        self._workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()) is not None:
            self._give_up(StoreError(f"a defect in the lane of {self.name}: {type(error).__name__}: {error}"))
        if self._stopped.is_set():
            self._dirty.set()

    def _give_up(self, why: StoreError) -> None:
        """Begin anew from the store: nothing is lost, what was in hand is delivered again."""
        self.lost = self.lost or why
        self._stir.set()

    async def _work(self) -> None:
        while self._runs and (self._fresh or self._returns):
            if self._pace.is_limited and not (await self._pace.turn(self._stopped) and self._runs):
                return
            self._turn += 1
            if self._returns and (not self._fresh or self._turn % PARKED_TURN == 0):
                await self._try_again(self._returns.popleft())
            elif self._fresh:
                await self._try(self._fresh.popleft())

    async def _send(self, delivery: Delivery, attempt: int, attempts: int) -> Outcome:
        assert self._sender is not None
        entry, left = delivery.entry, max(0, attempts - attempt)
        body = encode(entry.event_json, entry.raw_json if self.settings.raw else None)
        outcome = await self._sender.send(delivery.event_id, body, attempt=attempt, attempts_left=left)
        self._ended[outcome.cause or "delivered"] += 1
        if not outcome.delivered:
            log.info(
                "delivery.attempt",
                subscriber=self.name,
                event_id=delivery.event_id,
                type=delivery.event_type,
                attempt=attempt,
                attempts_left=left,
                cause=outcome.cause,
                detail=outcome.detail,
                seconds=round(outcome.duration_s, 3),
            )
        return outcome

    async def _try(self, slot: Slot, *, probe: bool = False) -> None:
        """Make the first attempt of an event, and say what becomes of it."""
        delivery = slot.delivery
        slot.state, slot.started_s = "trying", self._monotonic()
        self._trying[delivery.seq] = slot
        outcome = await self._send(delivery, 1, self._attempts)
        self._trying.pop(delivery.seq, None)
        if outcome.cause == "closed":  # we are stopping: no attempt of the subscriber's is used up
            return
        before = Parked(attempt=0, key=self._keys.key_of(slot))
        self._note(outcome, probe=probe)
        if slot.settled:  # parked in flight meanwhile: its end is the end of a parked one
            self._end_parked(delivery, before, outcome, probe=probe)
            return
        self._in_hand.discard(delivery.seq)  # it was to be parked as in flight, and is not
        now_ms = self._wall_ms()
        step = self._step(outcome, 1, self.settings.retry_s, now_ms, probe=probe)
        if isinstance(step, Again):
            change = parked_change("park", delivery, before, outcome, step, now_ms, counts=not probe)
            self._resolve(slot, change)
            self._hold_key(slot)
            return
        if isinstance(step, Done):
            self._resolve(slot, None)
        else:
            self._bury_note(delivery, 1, step)
            change = dead_change("dead", self.name, delivery, before, outcome, step, now_ms)
            self._resolve(slot, msgspec.structs.replace(change, key=""))
        if (following := self._keys.next(slot)) is not None:
            self._fresh.append(following)
            self._hire()

    async def _try_again(self, job: Return, *, probe: bool = False) -> None:
        """Make a further attempt of a parked event, and say what becomes of it."""
        parked = job.parked
        attempts = 1 if parked.last_chance else self._attempts
        outcome = await self._send(job.delivery, parked.attempt + 1, attempts)
        if outcome.cause == "closed":
            return
        self._note(outcome, probe=probe)
        self._end_parked(job.delivery, parked, outcome, probe=probe)

    def _end_parked(self, delivery: Delivery, parked: Parked, outcome: Outcome, *, probe: bool) -> None:
        now_ms, attempt = self._wall_ms(), parked.attempt + 1
        retry_s = () if parked.last_chance else self.settings.retry_s
        step = self._step(outcome, attempt, retry_s, now_ms, probe=probe)
        if isinstance(step, Done):
            change = done_change(delivery, parked, outcome, now_ms)
        elif isinstance(step, Dead):
            self._bury_note(delivery, attempt, step)
            change = dead_change("bury", self.name, delivery, parked, outcome, step, now_ms)
        else:
            change = parked_change("again", delivery, parked, outcome, step, now_ms, counts=not probe)
        self._changes.append(change)
        self._dirty.set()

    def _step(
        self, outcome: Outcome, attempt: int, retry_s: tuple[float, ...], now_ms: int, *, probe: bool
    ) -> Done | Again | Dead:
        step = next_step(outcome, attempt, retry_s, now_ms, self._jitter())
        if probe and isinstance(step, Dead) and not step.disables:
            return Again(self._breaker.state.probe_ms)  # a probe uses no attempt up, not even the last
        return step

    def _bury_note(self, delivery: Delivery, attempts: int, step: Dead) -> None:
        log.warning(
            "delivery.dead", subscriber=self.name, event_id=delivery.event_id, attempts=attempts, cause=step.cause
        )
        if step.disables and not self.paused:
            self.paused = "it answered 410 Gone: it wants no more"
            log.error("delivery.paused", subscriber=self.name, why=self.paused)
            self._update_room()
            self._pause_to_save = self.paused
            self._ticks = -1  # the next tick writes it to the store

    def _hold_key(self, slot: Slot) -> None:
        """The event of this key that was in hand is parked: what waits in memory waits in the store from now on."""
        for each in self._keys.hold(slot):
            self._resolve(each, Change("hold", each.delivery.seq, each.delivery.key))

    # Breaker

    def _note(self, outcome: Outcome, *, probe: bool) -> None:
        now_ms = self._wall_ms()
        if probe:
            if self._breaker.probed(outcome, now_ms, self._jitter()):
                log.warning("delivery.breaker", subscriber=self.name, state="closed", why="a probe was delivered")
                self._hire_all()
        elif self._breaker.note(outcome, now_ms):
            log.warning("delivery.breaker", subscriber=self.name, state="open", cause=outcome.cause)
        else:
            return
        self._breaker_changed = True
        self._update_room()

    def _lacks_probe(self, now_ms: int) -> bool:
        """Whether a probe could go, but nothing in hand could be it: all that was read is held behind others."""
        idle = self._probe is None or self._probe.done()
        return idle and self._breaker.probe_due(now_ms) and not self._fresh and not self._returns

    def _start_probe(self) -> None:
        """Send one event, though the breaker is open, to see whether the subscriber is back."""
        if self.paused or self._stopped.is_set() or not self._breaker.probe_due(self._wall_ms()):
            return
        if self._probe is not None and not self._probe.done():
            return
        if self._returns:
            self._probe = asyncio.create_task(self._try_again(self._returns.popleft(), probe=True))
        elif self._fresh:
            self._probe = asyncio.create_task(self._try(self._fresh.popleft(), probe=True))
        else:
            return
        self._probe.add_done_callback(self._left)

    # Settling

    def _resolve(self, slot: Slot, change: Change | None) -> None:
        if slot.state != "resolved":
            self._resolved += 1
        slot.state, slot.change = "resolved", change
        self._dirty.set()

    async def _settle_forever(self) -> None:
        while True:
            await self._dirty.wait()
            if self._resolved + len(self._changes) < SETTLE_EVENTS and not self._stopped.is_set():
                await asyncio.sleep(SETTLE_WAIT_S)
            self._dirty.clear()
            try:
                await self._settle()
            except StoreError as error:
                self._give_up(error)
                return
            if self._stopped.is_set() and not self._workers and not self._settleable():
                return

    def _settleable(self) -> bool:
        if self._changes:
            return True
        return self._window[0].state == "resolved" if self._window else self._cursor != self.read_seq

    async def _settle(self) -> None:
        """Settle the resolved beginning of the window and what became of parked events, as one step of the store."""
        if not self._settleable():
            return
        window, of_parked = self._window, self._changes
        self._changes, changes = [], []
        delivered = filtered = discarded = 0
        cursor_to = self._cursor
        while window and window[0].state == "resolved":
            slot = window.popleft()
            slot.settled = True
            self._window_bytes -= slot.delivery.size_bytes
            self._resolved -= 1
            filtered += slot.filtered_before
            discarded += slot.gap_before + slot.given_up
            cursor_to = slot.delivery.seq
            if slot.change is not None:
                changes.append(slot.change)
            elif not slot.given_up:
                delivered += 1
        if not window:
            filtered, discarded = filtered + self._tail_filtered, discarded + self._tail_gap
            self._tail_filtered = self._tail_gap = 0
            cursor_to = self.read_seq
        changes += of_parked  # after those of the window: an event is parked before it is done
        self._update_room()
        freed = await self._settle_surely(cursor_to, delivered, filtered, discarded, changes)
        self._cursor = cursor_to
        for change in of_parked:  # one parked as in flight just now is still in hand
            self._in_hand.discard(change.seq)
        for change in changes:
            if change.operation == "hold":
                self._keys.hold_settled(change.key)
        self._keys.free(freed)
        if changes:
            self._next_due_ms = 0  # what was parked, or follows a freed one, may be due sooner than we knew
            with contextlib.suppress(StoreUnavailable):  # the next tick looks again
                await self._look_for_due()

    async def _settle_surely(
        self, cursor_to: int, delivered: int, filtered: int, discarded: int, changes: list[Change]
    ) -> list[str]:
        """Repeat until the store has answered: the same number, so that it counts once."""
        number, pause_s = self._store.next_settle(), 0.05
        while True:
            try:
                return await self._store.settle(
                    number,
                    self._epoch,
                    self._cursor,
                    cursor_to,
                    delivered=delivered,
                    filtered=filtered,
                    discarded=discarded,
                    changes=changes,
                    now_ms=self._wall_ms(),
                )
            except StoreUnavailable as error:
                log.warning("delivery.settle", subscriber=self.name, why=str(error), again_in_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(1.0, pause_s * 2)

    # Time

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._park_long_attempts()
            if not self._window and self._cursor != self.read_seq:
                self._dirty.set()
            self._ticks += 1
            try:
                if self._ticks % LOOK_TICKS == 0:
                    await self._look_at_switches()
                await self._look_for_due()
            except StoreUnavailable:
                continue  # the settle loop says so; the next tick looks again
            self._start_probe()

    async def _save_switches(self) -> None:
        """Write to the store what this lane decided by itself; what fails is written at the next try."""
        if self._pause_to_save:
            await self._store.pause(self._pause_to_save)
            self._pause_to_save = ""
        if self._breaker_changed:
            state = self._breaker.state
            await self._store.save_breaker(msgspec.json.encode(state))
            self._breaker_changed = self._breaker.state is not state

    async def _look_at_switches(self) -> None:
        await self._save_switches()
        paused, _ = await self._store.switches()
        paused = paused or self._pause_to_save  # a 410 that came while we asked
        if bool(paused) != bool(self.paused):
            log.warning("delivery.paused" if paused else "delivery.resumed", subscriber=self.name, why=paused)
        self.paused = paused
        self._next_due_ms = 0  # an operator may have parked dead letters again
        self._update_room()
        self._hire_all()

    def _park_long_attempts(self) -> None:
        now_s, now_ms = self._monotonic(), self._wall_ms()
        for slot in list(self._trying.values()):
            if slot.state != "trying" or now_s - slot.started_s < LONG_ATTEMPT_S:
                continue
            self._in_hand.add(slot.delivery.seq)
            due_ms = now_ms + round(self.settings.timeout_s * 1000) + IN_FLIGHT_MARGIN_MS
            self._resolve(slot, in_flight_change(slot.delivery, self._keys.key_of(slot), due_ms))
            self._hold_key(slot)

    async def _look_for_due(self) -> None:
        now_ms = self._wall_ms()
        if self._lacks_probe(now_ms):
            now_ms += CLOCK_JUMP_MS  # then whatever is due next, though its time has not come
        # While the breaker is open one parked event is enough: for the next probe.
        most = 1 if self._breaker.is_open else min(DUE_LIMIT, self.settings.concurrency * 2)
        room = most - len(self._returns)
        if room <= 0 or self._stopped.is_set() or self.paused or self._looking:
            return
        if self._next_due_ms is None or self._next_due_ms > now_ms:
            return
        self._looking = True  # the settle loop and the tick both come here; an event must be taken once
        try:
            due, self._next_due_ms = await self._store.due(now_ms, room, set(self._in_hand))
            if len(due) == room:
                self._next_due_ms = now_ms
            await self._take_back(due)
        finally:
            self._looking = False

    async def _take_back(self, due: list[DueEvent]) -> None:
        if not due:
            return
        entries = await self._log.pick([each.seq for each in due])
        self._in_hand.update(each.seq for each in due)
        for each in due:
            entry = entries.get(each.seq)
            if entry is None:
                log.error("delivery.entry_gone", subscriber=self.name, seq=each.seq)
                self._changes.append(Change("drop", each.seq, each.parked.key))
                self._dirty.set()
                continue
            self._returns.append(Return(delivery_of(entry), each.parked))
            self._hire()

    # What is given up

    async def give_up_before(self, seq: int) -> None:
        """Discard what this subscriber has not got up to a sequence number: it is beyond ``max_lag``."""
        for slot in self._window:
            if slot.delivery.seq <= seq and slot.state == "waiting":
                slot.given_up = True
                self._resolve(slot, None)
        given_up = [slot for slot in self._fresh if slot.given_up]
        self._fresh = deque(slot for slot in self._fresh if not slot.given_up)
        for slot in given_up:
            if (following := self._keys.next(slot)) is not None:
                self._fresh.append(following)
        if self.read_seq < seq:
            self._tail_gap += seq - self.read_seq
            self.read_seq = seq
            self._update_room()
        parked = [each for each in await self._store.parked_before(seq, 10_000) if each[0] not in self._in_hand]
        self._changes += [Change("drop", number, key) for number, key in parked]
        self._dirty.set()

    def status(self) -> dict[str, Any]:
        """What only this process knows."""
        return {
            "disabled": self.paused,
            "paused": self.paused,
            "breaker": msgspec.to_builtins(self._breaker.state),
            "in_flight": len(self._workers),
            "attempts": dict(self._ended),
            "window": len(self._window),
            "held_keys": len(self._keys.held),
            "cursor": self._cursor,
            "filter_failures": self.condition.failures if self.condition else 0,
        }
