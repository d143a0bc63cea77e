"""One subscriber in one partition: what it has in hand, how many attempts at once, and what is settled when.

A lane's *window* holds the events it was given and that are not settled, in log order. Workers make the attempts, up to
the subscriber's ``concurrency`` at once and no faster than its ``rate``, in any order; the cursor follows the resolved
beginning of the window. So after a crash at most the window is delivered again. A full window takes no more: the lane
stops reading, which costs the store nothing, and nobody else notices. The same happens while it is paused or its
breaker is open (``standing.py``, shared with the lanes of other partitions). A defect ends this lane alone, and it
begins anew (``mending.py``).

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
from gateway.delivery.attempt import Sender
from gateway.delivery.attempts import Attempts
from gateway.delivery.condition import Condition
from gateway.delivery.guard import Guard
from gateway.delivery.key_order import KeyOrder
from gateway.delivery.pace import Pace
from gateway.delivery.parcel import Delivery, Return, Slot
from gateway.delivery.records import in_flight_change
from gateway.delivery.returns import Returns
from gateway.delivery.schedule import Again
from gateway.delivery.settling import Settler
from gateway.delivery.standing import Standing
from gateway.delivery.window import Window
from gateway.errors import LeaseLost, StoreError, StoreUnavailable
from gateway.store.log import PartitionLog
from gateway.store.parked import CLOCK_JUMP_MS, Change, DueEvent, Parked, SubscriberStore

log = structlog.get_logger("gateway.delivery")

LONG_ATTEMPT_S = 1.0
IN_FLIGHT_MARGIN_MS = 10_000
"""An in-flight event is due again this long after its attempt must have ended; only a crash lets it come to that."""

TICK_S = 0.25
LOOK_TICKS = 4
"""Every so many ticks: is it paused, and did an operator park dead letters again?"""

ATTEMPTS_PART = 0.8
"""Of the time to stop, what running attempts may take; the rest is for settling them."""

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
        standing: Standing,
        *,
        wall_ms: Callable[[], int],
        monotonic: Callable[[], float],
        jitter: Callable[[], float] = random.random,
        rate_share: float = 1.0,
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.condition = Condition(settings.where, settings.types) if settings.where else None
        """What it asks of an event whose type it wants."""
        self.has_room = False
        self.lost: StoreError | None = None
        """Why this process must begin anew in the partition."""
        self.defect: Exception | None = None
        """Why this lane alone must."""
        self._store = store
        self._log = partition_log
        self._guard = guard
        self._wall_ms = wall_ms
        self._monotonic = monotonic
        self._jitter = jitter
        self._standing = standing
        self._sender: Sender | None = None
        self._pace = Pace(settings.rate_per_s and settings.rate_per_s * rate_share, monotonic=monotonic)
        self._ended: Counter[str] = Counter()
        self._retries = 0
        self._stir = asyncio.Event()
        self._reset(0, 0, set())

    def _reset(self, epoch: int, cursor: int, held: set[str]) -> None:
        self._window = Window(cursor)
        self._settler = Settler(
            self._store,
            self._window,
            epoch=epoch,
            cursor=cursor,
            wall_ms=self._wall_ms,
            taken_out=self._update_room,
            settled=self._on_settled,
        )
        self._fresh: deque[Slot] = deque()
        self._returns = Returns(self._store, self._log, choose=self._choose)
        self._trying: dict[int, Slot] = {}
        self._keys = KeyOrder(held, on=self.settings.order == "key")
        self._probe: asyncio.Task[None] | None = None
        self._workers: set[asyncio.Task[None]] = set()
        self._turn = self._ticks = 0
        self._was_open = self._standing.is_open
        self._is_unsure = False
        """With order by key, when it may be sent to again: nothing goes before it is known what an operator retried."""
        self._stopped = asyncio.Event()
        self._handed_back = False
        self._tasks: list[asyncio.Task[None]] = []
        self.lost = self.defect = None

    @property
    def cursor(self) -> int:
        """Up to which sequence number all is settled."""
        return self._settler.cursor

    @property
    def read_seq(self) -> int:
        """The last sequence number this lane was given."""
        return self._window.read_seq

    async def start(self, epoch: int, start_seq: str | int, stir: asyncio.Event) -> None:
        """Begin where the cursor stands. Raises ``StoreUnavailable``.

        ``stir`` is set when the lane has room again, and when it can go on no longer (``lost`` says why).
        """
        cursor = await self._store.subscribe(start_seq, self._wall_ms())
        held: set[str] = set()
        if self.settings.order == "key":
            self._retries = await self._store.retries()
            held = await self._store.held_keys()
        await self._standing.join(self._switched)
        self._reset(epoch, cursor.seq, held)
        self._stir = stir
        if self._sender is None:
            self._sender = Sender(self.settings, self._guard, wall_ms=self._wall_ms, monotonic=self._monotonic)
        self._attempts = Attempts(
            self.settings, self._sender, self._standing, self._ended, wall_ms=self._wall_ms, jitter=self._jitter
        )
        self._update_room()
        self._tasks = [
            asyncio.create_task(self._settle_forever(), name=f"settle {self.name}"),
            asyncio.create_task(self._tick_forever(), name=f"tick {self.name}"),
        ]
        for task in self._tasks:
            task.add_done_callback(self._left)

    async def stop(self, grace_s: float) -> None:
        """Let running attempts end, settle them, and hand the rest back to the log, all within ``grace_s``."""
        self._stopped.set()
        self.has_room = False
        self._fresh.clear()
        self._returns.queue.clear()
        running = self._workers | ({self._probe} if self._probe else set())
        if running:
            await asyncio.wait(running, timeout=grace_s * ATTEMPTS_PART)
        self._hand_back()
        self._handed_back = True
        for task in self._tasks[1:]:
            task.cancel()
        self._settler.stir()
        if self._tasks:
            await asyncio.wait(self._tasks[:1], timeout=grace_s * (1 - ATTEMPTS_PART))
            self._tasks[0].cancel()
        for task in running:
            task.cancel()
        await asyncio.gather(*self._tasks, *running, return_exceptions=True)
        await self._standing.leave(self._switched, save=not isinstance(self.lost, LeaseLost))
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
                self._settler.resolve(slot, self._keys.to_hold(slot))
                continue
            info = msgspec.json.encode(Parked(attempt=0, key=key))
            self._settler.resolve(slot, Change("park", slot.delivery.seq, key, self._wall_ms(), info))
            self._hold_key(slot)

    # Taking events in

    def feed(self, upto: int, count: int, wanted: list[tuple[int, Delivery]]) -> None:
        """Take what was read of the log: ``count`` entries up to sequence number ``upto``.

        ``wanted`` are those this subscriber wants, each with its index among the entries. The rest is filtered.
        """
        for slot in self._window.take_in(upto, count, wanted):
            match self._keys.admit(slot):
                case "go":
                    self._fresh.append(slot)
                    self._hire()
                case "hold":
                    self._settler.resolve(slot, Change("hold", slot.delivery.seq, slot.delivery.key))
        self._update_room()

    def _update_room(self) -> None:
        had = self.has_room
        self.has_room = (
            self._window.has_room
            and self.defect is None
            and not self._standing.paused
            and not (self._standing.breaker.is_open and (self._fresh or self._returns.queue or self._keys.held))
            and not self._stopped.is_set()
        )
        if self.has_room and not had:
            self._stir.set()

    # Attempts

    @property
    def _runs(self) -> bool:
        return self._standing.is_open and self.defect is None and not self._is_unsure and not self._stopped.is_set()

    def _hire(self) -> None:
        if len(self._workers) < self.settings.concurrency and self._runs:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._left)

    def _hire_all(self) -> None:
        for _ in range(min(self.settings.concurrency, len(self._fresh) + len(self._returns.queue))):
            self._hire()

    def _left(self, worker: "asyncio.Task[None]") -> None:
        self._workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()) is not None:
            self.break_down(error)
        if self._stopped.is_set():
            self._settler.stir()

    def break_down(self, error: BaseException) -> None:
        """Go on no longer: nothing is lost, what was in hand is delivered again by whoever begins at the cursor.

        Without the store or the lease that is this process in the whole partition; after a defect it is this lane.
        """
        if isinstance(error, StoreError) and type(error) is not StoreError:
            self.lost = self.lost or error
        elif self.defect is None:
            self.defect = error if isinstance(error, Exception) else RuntimeError(repr(error))
            log.error("delivery.defect", subscriber=self.name, why="its lane begins anew", exc_info=error)
            self._update_room()
        self._stir.set()

    async def _work(self) -> None:
        while self._runs and (self._fresh or self._returns.queue):
            if self._pace.is_limited and not (await self._pace.turn(self._stopped) and self._runs):
                return
            self._turn += 1
            if self._returns.queue and (not self._fresh or self._turn % PARKED_TURN == 0):
                await self._try_again(self._returns.queue.popleft())
            elif self._fresh:
                await self._try(self._next_fresh())

    def _next_fresh(self) -> Slot:
        slot = self._fresh.popleft()
        slot.state, slot.started_s = "trying", self._monotonic()  # from now on it cannot be given up
        self._trying[slot.delivery.seq] = slot
        return slot

    async def _try(self, slot: Slot, *, probe: bool = False) -> None:
        """Make the first attempt of an event, and settle what becomes of it."""
        delivery = slot.delivery
        before = Parked(attempt=0, key=self._keys.key_of(slot))
        with self._keys.on_wire(delivery):
            ended = await self._attempts.make(delivery, before, probe=probe)
        self._trying.pop(delivery.seq, None)
        if ended is None:
            return
        if slot.settled:  # parked in flight meanwhile: its end is the end of a parked one
            self._settler.add(ended.parked_change(self.name))
            return
        self._returns.in_hand.discard(delivery.seq)  # it was to be parked as in flight, and is not
        self._settler.resolve(slot, ended.change(self.name), ended.first())
        if isinstance(ended.step, Again):
            self._hold_key(slot)
        elif (following := self._keys.next(slot)) is not None:
            self._fresh.append(following)
            self._hire()

    async def _try_again(self, job: Return, *, probe: bool = False) -> None:
        """Make a further attempt of a parked event, and settle what becomes of it."""
        with self._keys.on_wire(job.delivery):
            ended = await self._attempts.make(job.delivery, job.parked, probe=probe)
        if ended is not None:
            self._settler.add(ended.parked_change(self.name))

    def _hold_key(self, slot: Slot) -> None:
        """The event of this key that was in hand is parked: what waits in memory waits in the store from now on."""
        for each in self._keys.hold(slot):
            self._settler.resolve(each, Change("hold", each.delivery.seq, each.delivery.key))

    # What comes back

    def _hold_new(self, keys: set[str]) -> None:
        """The store says that these keys are held: what waits in memory goes behind what is parked there."""
        for each in self._keys.hold_new(keys, self._fresh):
            self._settler.resolve(each, Change("hold", each.delivery.seq, each.delivery.key))
        self._fresh = deque(slot for slot in self._fresh if slot.state == "waiting")

    def _choose(self, due: list[DueEvent]) -> list[DueEvent]:
        """Of a key only the first is parked in the store: one of it that waits here is no longer that."""
        self._hold_new({each.parked.key for each in due} - {""})
        chosen = [each for each in due if self._keys.may_return(each.parked.key)]
        self._returns.give_back({each.parked.key for each in chosen} - {""})
        return chosen

    async def _look_for_retried(self) -> None:
        """Were dead letters tried again since the last look? Then ask anew which keys are held."""
        retries = await self._store.retries()
        if retries != self._retries:
            with self._keys.watch_freed() as freed:
                held = await self._store.held_keys()
            self._hold_new(held - freed)
            self._returns.give_back({job.parked.key for job in self._returns.queue} - {""})
            if held.isdisjoint(freed):  # else one of them may have been freed and held again: ask once more
                self._retries = retries
        self._is_unsure = False

    # While it may not be sent to

    def _switched(self) -> None:
        if self._standing.is_open and not self._was_open:
            self._is_unsure = self.settings.order == "key"
        self._was_open = self._standing.is_open
        self._update_room()
        self._hire_all()

    def _lacks_probe(self, now_ms: int) -> bool:
        """Whether a probe could go, but nothing in hand could be it: all that was read is held behind others."""
        return self._standing.probe_due(now_ms) and not self._fresh and not self._returns.queue

    async def _start_probe(self) -> None:
        """Send one event, though the breaker is open, to see whether the subscriber is back."""
        if not (self._fresh or self._returns.queue) or self._stopped.is_set() or self.defect is not None:
            return
        if not await self._standing.claim_probe(self.settings.timeout_s):
            return
        if self._returns.queue:
            self._probe = asyncio.create_task(self._try_again(self._returns.queue.popleft(), probe=True))
        elif self._fresh:
            self._probe = asyncio.create_task(self._try(self._next_fresh(), probe=True))
        else:  # given up meanwhile
            self._standing.probe_ended()
            return
        self._probe.add_done_callback(lambda _: self._standing.probe_ended())
        self._probe.add_done_callback(self._left)

    # Settling

    async def _settle_forever(self) -> None:
        # The last attempt may end before what waits is handed back: that is to be settled, too.
        await self._settler.run(stopped=self._stopped, is_last=lambda: self._handed_back and not self._workers)

    async def _on_settled(self, changes: list[Change], of_parked: list[Change], freed: list[str]) -> None:
        for change in of_parked:  # one parked as in flight just now is still in hand
            self._returns.in_hand.discard(change.seq)
        for change in changes:
            if change.operation == "hold":
                self._keys.hold_settled(change.key)
        self._keys.free(freed)
        if changes or of_parked:
            self._returns.look_again()  # what was parked, or follows a freed one, may be due sooner than we knew
            with contextlib.suppress(StoreUnavailable):  # the next tick looks again
                await self._look_for_due()

    # Time

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._park_long_attempts()
            self._settler.stir_if_filtered()
            self._ticks += 1
            try:
                if self._ticks % LOOK_TICKS == 0 or self._standing.is_to_save:
                    await self._standing.look(self._switched)
                    self._returns.look_again()  # an operator may have parked dead letters again
                if self._is_unsure or (self._ticks % LOOK_TICKS == 0 and self.settings.order == "key"):
                    await self._look_for_retried()
                await self._look_for_due()
                await self._start_probe()
            except StoreUnavailable:
                continue  # the settle loop says so; the next tick looks again

    def _park_long_attempts(self) -> None:
        now_s, now_ms = self._monotonic(), self._wall_ms()
        for slot in list(self._trying.values()):
            if slot.state != "trying" or now_s - slot.started_s < LONG_ATTEMPT_S:
                continue
            self._returns.in_hand.add(slot.delivery.seq)
            due_ms = now_ms + round(self.settings.timeout_s * 1000) + IN_FLIGHT_MARGIN_MS
            started_ms = now_ms - round((now_s - slot.started_s) * 1000)
            self._settler.resolve(slot, in_flight_change(slot.delivery, self._keys.key_of(slot), started_ms, due_ms))
            self._hold_key(slot)

    async def _look_for_due(self) -> None:
        if self._stopped.is_set() or self._standing.paused:
            return
        now_ms = self._wall_ms()
        if self._lacks_probe(now_ms):
            now_ms += CLOCK_JUMP_MS  # then whatever is due next, though its time has not come
        # While the breaker is open one parked event is enough: for the next probe.
        most = 1 if self._standing.breaker.is_open else min(DUE_LIMIT, self.settings.concurrency * 2)
        gone = await self._returns.look(now_ms, most)
        if gone:
            self._settler.add(*gone)
        self._hire_all()

    # What is given up

    async def give_up_before(self, seq: int) -> None:
        """Discard what this subscriber has not got up to a sequence number: it is beyond ``max_lag``."""
        for slot in self._window:
            if slot.delivery.seq <= seq and slot.state == "waiting":
                slot.given_up = True
                self._settler.resolve(slot, None)
        given_up = [slot for slot in self._fresh if slot.given_up]
        self._fresh = deque(slot for slot in self._fresh if not slot.given_up)
        for slot in given_up:
            if (following := self._keys.next(slot)) is not None:
                self._fresh.append(following)
        self._window.skip_to(seq)
        self._update_room()
        self._hire_all()
        self._settler.add(*await self._returns.give_up_before(seq))

    def status(self) -> dict[str, Any]:
        """What only this process knows."""
        return {
            "disabled": self._standing.paused,
            "paused": self._standing.paused,
            "defect": f"{type(self.defect).__name__}: {self.defect}" if self.defect is not None else "",
            "breaker": msgspec.to_builtins(self._standing.breaker.state),
            "in_flight": len(self._workers),
            "attempts": dict(self._ended),
            "window": len(self._window),
            "held_keys": len(self._keys.held),
            "cursor": self.cursor,
            "filter_failures": self.condition.failures if self.condition else 0,
        }
