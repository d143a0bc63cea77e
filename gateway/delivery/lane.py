"""One subscriber in one partition: what it has in hand, how many attempts at once, and what is settled when.

A lane's *window* holds the events it was given and that are not settled, in log order. Workers make the attempts, up to
the subscriber's ``concurrency`` at once, in any order; the cursor follows the resolved beginning of the window. So
after a crash at most the window is delivered again. A full window takes no more: the lane stops reading, which costs
the store nothing, and nobody else notices.

What failed is parked in the store and leaves the window. An attempt that runs for over a second is parked too, as in
flight, so that one slow answer does not hold the cursor up; its end settles it. Parked events come back when they are
due, and get at most a part of the workers while first attempts wait.

With ``order = "key"`` one event of a key is in hand at a time. While one of them is parked the key is held: later ones
go to the key's list in the store and follow in order, each becoming parked and due when the one before is done.
"""

import asyncio
import contextlib
import random
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import structlog

from gateway.config import SubscriberSettings
from gateway.delivery.attempt import Sender, encode
from gateway.delivery.guard import Guard
from gateway.delivery.outcome import Outcome
from gateway.delivery.schedule import Again, Dead, Done, next_step
from gateway.errors import StoreError, StoreUnavailable
from gateway.store.dead_letters import DeadLetter
from gateway.store.layout import key_hash
from gateway.store.log import Entry, PartitionLog
from gateway.store.parked import Change, DueEvent, Parked, SubscriberStore

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
DUE_LIMIT = 256
PARKED_TURN = 4
"""While first attempts wait, every fourth free worker takes a parked event: late retries neither starve nor starve."""

PARKED_BYTES = 2_048
"""Of the detail of a failure, what a parked event keeps."""


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """An event as a lane needs it."""

    entry: Entry
    event_id: str
    event_type: str
    key: str
    """Hash of source and ordering key; empty without one."""


class Slot(msgspec.Struct, eq=False):
    """One event in the window."""

    delivery: Delivery
    filtered_before: int
    """Events before it, after the slot before it, that this subscriber did not want."""
    gap_before: int
    """Sequence numbers in the same place that the log no longer holds."""
    state: Literal["waiting", "trying", "resolved"] = "waiting"
    change: Change | None = None
    """Of a resolved one: what to settle; ``None`` if it was delivered."""
    started_s: float = 0.0
    settled: bool = False
    """It has left the window; if its attempt still runs, it is parked in flight."""


class Return(msgspec.Struct, eq=False):
    """A parked event that is due, in hand for its next attempt."""

    delivery: Delivery
    parked: Parked


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
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.read_seq = 0
        """The last sequence number this lane was given."""
        self.has_room = False
        self._store = store
        self._log = partition_log
        self._guard = guard
        self._wall_ms = wall_ms
        self._monotonic = monotonic
        self._jitter = jitter
        self._sender: Sender | None = None
        self._by_key = settings.order == "key"
        self._attempts = len(settings.retry_s) + 1
        self._ended: Counter[str] = Counter()
        self._reset(0)

    def _reset(self, epoch: int) -> None:
        self._epoch = epoch
        self._cursor = 0
        self._window: deque[Slot] = deque()
        self._window_bytes = 0
        self._tail_filtered = self._tail_gap = 0
        self._fresh: deque[Slot] = deque()
        self._returns: deque[Return] = deque()
        self._in_hand: set[int] = set()
        self._changes: list[Change] = []
        self._held: set[str] = set()
        self._unsettled_holds: Counter[str] = Counter()
        self._queues: dict[str, deque[Slot]] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._turn = 0
        self._resolved = 0
        self._next_due_ms: int | None = 0
        self._dirty = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._trying: dict[int, Slot] = {}
        self._looking = False
        self._ticks = 0
        self.disabled = ""
        self.lost: StoreError | None = None

    async def start(self, epoch: int, start_seq: str | int, stir: asyncio.Event) -> None:
        """Begin where the cursor stands. Raises ``StoreUnavailable``.

        ``stir`` is set when the lane has room again, and when it can go on no longer (``lost`` says why).
        """
        self._reset(epoch)
        self._stir = stir
        self._cursor = self.read_seq = (await self._store.subscribe(start_seq, self._wall_ms())).seq
        if self._by_key:
            self._held = await self._store.held_keys()
        if self._sender is None:
            self._sender = Sender(self.settings, self._guard, wall_ms=self._wall_ms, monotonic=self._monotonic)
        self._update_room()
        self._tasks = [
            asyncio.create_task(self._settle_forever(), name=f"settle {self.name}"),
            asyncio.create_task(self._tick_forever(), name=f"tick {self.name}"),
        ]

    async def stop(self, grace_s: float) -> None:
        """Let running attempts end within ``grace_s``, settle them, and hand the rest back to the log."""
        self._stopping = True
        self.has_room = False
        self._fresh.clear()
        self._returns.clear()
        if self._workers:
            await asyncio.wait(self._workers, timeout=grace_s)
        for task in self._tasks[1:]:
            task.cancel()
        self._dirty.set()
        if self._tasks:
            await asyncio.wait(self._tasks[:1], timeout=grace_s)
            self._tasks[0].cancel()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._tasks, *self._workers, return_exceptions=True)
        if self._sender is not None:
            await self._sender.close()
            self._sender = None

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
            gap += delivery.entry.seq - before - 1 - passed
            self._admit(Slot(delivery, filtered, gap))
            before, at, filtered, gap = delivery.entry.seq, index, 0, 0
        rest = count - at - 1
        self._tail_filtered = filtered + rest
        self._tail_gap = gap + upto - before - rest
        self.read_seq = upto
        self._update_room()  # what was only filtered is settled by the next tick: so 99 idle lanes cost little

    def _admit(self, slot: Slot) -> None:
        self._window.append(slot)
        entry = slot.delivery.entry
        self._window_bytes += len(entry.event_json) + len(entry.raw_json)
        key = slot.delivery.key
        if not self._by_key or not key:
            self._ready(slot)
        elif key in self._held:
            self._hold(slot)
        elif key in self._queues:
            self._queues[key].append(slot)
        else:
            self._queues[key] = deque()
            self._ready(slot)

    def _ready(self, slot: Slot) -> None:
        self._fresh.append(slot)
        self._hire()

    def _hold(self, slot: Slot) -> None:
        key = slot.delivery.key
        self._unsettled_holds[key] += 1
        self._resolve(slot, Change("hold", slot.delivery.entry.seq, key))

    def _update_room(self) -> None:
        had, self.has_room = (
            self.has_room,
            (
                len(self._window) < WINDOW_EVENTS
                and self._window_bytes < WINDOW_BYTES
                and not self._stopping
                and not self.disabled
            ),
        )
        if self.has_room and not had:
            self._stir.set()

    # Attempts

    def _hire(self) -> None:
        if len(self._workers) < self.settings.concurrency and not self._stopping:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._left)

    def _left(self, worker: "asyncio.Task[None]") -> None:
        self._workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()) is not None:
            self._give_up(StoreError(f"a defect in the lane of {self.name}: {type(error).__name__}: {error}"))
        if self._stopping:
            self._dirty.set()

    def _give_up(self, why: StoreError) -> None:
        """Begin anew from the store: nothing is lost, what was in hand is delivered again."""
        self.lost = self.lost or why
        self._stir.set()

    async def _work(self) -> None:
        while not self._stopping and not self.disabled:
            self._turn += 1
            if self._returns and (not self._fresh or self._turn % PARKED_TURN == 0):
                await self._try_again(self._returns.popleft())
            elif self._fresh:
                await self._try(self._fresh.popleft())
            else:
                return

    async def _send(self, delivery: Delivery, attempt: int, attempts: int) -> Outcome:
        assert self._sender is not None
        entry = delivery.entry
        body = encode(entry.event_json, entry.raw_json if self.settings.raw else None)
        outcome = await self._sender.send(
            delivery.event_id, body, attempt=attempt, attempts_left=max(0, attempts - attempt)
        )
        self._ended[outcome.cause or "delivered"] += 1
        if not outcome.delivered:
            log.info(
                "delivery.attempt",
                subscriber=self.name,
                event_id=delivery.event_id,
                type=delivery.event_type,
                attempt=attempt,
                attempts_left=max(0, attempts - attempt),
                cause=outcome.cause,
                detail=outcome.detail,
                seconds=round(outcome.duration_s, 3),
            )
        return outcome

    async def _try(self, slot: Slot) -> None:
        delivery = slot.delivery
        slot.state, slot.started_s = "trying", self._monotonic()
        self._trying[delivery.entry.seq] = slot
        outcome = await self._send(delivery, 1, self._attempts)
        self._trying.pop(delivery.entry.seq, None)
        if outcome.cause == "closed":  # we are stopping: no attempt of the subscriber's is used up
            return
        if slot.settled:  # parked in flight meanwhile: its end is the end of a parked one
            self._end_parked(delivery, Parked(attempt=0, key=self._key(delivery)), outcome)
            return
        step = next_step(outcome, 1, self.settings.retry_s, self._wall_ms(), self._jitter())
        if isinstance(step, Done):
            self._resolve(slot, None)
            self._next_of_key(delivery.key)
            return
        if isinstance(step, Dead):
            self._resolve(slot, self._dead("dead", delivery, 1, self._wall_ms(), step, outcome))
            self._next_of_key(delivery.key)
            return
        key = self._key(delivery)
        self._resolve(slot, self._again("park", delivery, key, 1, self._wall_ms(), step, outcome))
        self._hold_key(key)

    async def _try_again(self, job: Return) -> None:
        parked = job.parked
        attempts = 1 if parked.last_chance else self._attempts
        outcome = await self._send(job.delivery, parked.attempt + 1, attempts)
        if outcome.cause == "closed":
            return
        self._end_parked(job.delivery, parked, outcome)

    def _end_parked(self, delivery: Delivery, parked: Parked, outcome: Outcome) -> None:
        now_ms, attempt = self._wall_ms(), parked.attempt + 1
        first_failed_ms = parked.first_failed_ms or now_ms
        retry_s = () if parked.last_chance else self.settings.retry_s
        step = next_step(outcome, attempt, retry_s, now_ms, self._jitter())
        if isinstance(step, Done):
            self._changes.append(Change("done", delivery.entry.seq, parked.key))
        elif isinstance(step, Dead):
            change = self._dead("bury", delivery, attempt, first_failed_ms, step, outcome)
            self._changes.append(msgspec.structs.replace(change, key=parked.key))
        else:
            self._changes.append(self._again("again", delivery, parked.key, attempt, first_failed_ms, step, outcome))
        self._dirty.set()

    def _again(
        self,
        operation: Literal["park", "again"],
        delivery: Delivery,
        key: str,
        attempt: int,
        first_failed_ms: int,
        step: Again,
        outcome: Outcome,
    ) -> Change:
        info = Parked(
            attempt=attempt,
            first_failed_ms=first_failed_ms,
            key=key,
            event_id=delivery.event_id,
            event_type=delivery.event_type,
            cause=outcome.cause,
            status=outcome.status,
            detail=outcome.detail[:PARKED_BYTES],
            last_attempt_ms=self._wall_ms(),
        )
        return Change(operation, delivery.entry.seq, key, step.due_ms, msgspec.json.encode(info))

    def _dead(
        self,
        operation: Literal["dead", "bury"],
        delivery: Delivery,
        attempts: int,
        first_failed_ms: int,
        step: Dead,
        outcome: Outcome,
    ) -> Change:
        now_ms = self._wall_ms()
        letter = DeadLetter(
            seq=delivery.entry.seq,
            event_id=delivery.event_id,
            event_type=delivery.event_type,
            subscriber=self.name,
            cause=step.cause,
            status=outcome.status,
            detail=outcome.detail,
            attempts=attempts,
            first_failed_ms=first_failed_ms,
            died_ms=now_ms,
        )
        log.warning(
            "delivery.dead", subscriber=self.name, event_id=delivery.event_id, attempts=attempts, cause=step.cause
        )
        if step.disables and not self.disabled:
            self.disabled = "it answered 410 Gone"
            log.error("delivery.disabled", subscriber=self.name, why=self.disabled)
            self._update_room()
        return Change(operation, delivery.entry.seq, "", now_ms, msgspec.json.encode(letter), outcome.answer)

    # Order by key

    def _key(self, delivery: Delivery) -> str:
        return delivery.key if self._by_key else ""

    def _next_of_key(self, key: str) -> None:
        if not self._by_key or not key:
            return
        queue = self._queues.get(key)
        if queue is None:  # held while the attempt ran in flight; free again unless something waits for the store
            self._free_keys([key])
            return
        if queue:
            self._ready(queue.popleft())
        else:
            del self._queues[key]

    def _hold_key(self, key: str) -> None:
        """The event of this key that was in hand is parked: what waits in memory waits in the store from now on."""
        if not key:
            return
        self._held.add(key)
        for slot in self._queues.pop(key, ()):
            self._hold(slot)

    def _free_keys(self, freed: list[str]) -> None:
        for key in freed:
            if not self._unsettled_holds[key]:
                self._held.discard(key)

    # Settling

    def _resolve(self, slot: Slot, change: Change | None) -> None:
        if slot.state != "resolved":
            self._resolved += 1
        slot.state, slot.change = "resolved", change
        self._dirty.set()

    async def _settle_forever(self) -> None:
        while True:
            await self._dirty.wait()
            if self._resolved + len(self._changes) < SETTLE_EVENTS and not self._stopping:
                await asyncio.sleep(SETTLE_WAIT_S)
            self._dirty.clear()
            try:
                await self._settle()
            except StoreError as error:
                self._give_up(error)
                return
            if self._stopping and not self._workers and not self._settleable():
                return

    def _settleable(self) -> bool:
        head = self._window[0] if self._window else None
        if head is not None:
            return bool(self._changes) or head.state == "resolved"
        return bool(self._changes) or self._cursor != self.read_seq

    async def _settle(self) -> None:
        """Settle the resolved beginning of the window and what became of parked events, as one step of the store."""
        if not self._settleable():
            return
        window, of_parked = self._window, self._changes
        self._changes, changes = [], []
        delivered = filtered = discarded = 0
        cursor_to = self._cursor
        holds: list[str] = []
        while window and window[0].state == "resolved":
            slot = window.popleft()
            slot.settled = True
            entry = slot.delivery.entry
            self._window_bytes -= len(entry.event_json) + len(entry.raw_json)
            self._resolved -= 1
            filtered += slot.filtered_before
            discarded += slot.gap_before
            cursor_to = entry.seq
            if slot.change is None:
                delivered += 1
            else:
                changes.append(slot.change)
                if slot.change.operation == "hold":
                    holds.append(slot.change.key)
        if not window:
            filtered, discarded = filtered + self._tail_filtered, discarded + self._tail_gap
            self._tail_filtered = self._tail_gap = 0
            cursor_to = self.read_seq
        changes += of_parked  # after those of the window: an event is parked before it is done
        self._update_room()
        freed = await self._settle_surely(cursor_to, delivered, filtered, discarded, changes)
        self._cursor = cursor_to
        for key in holds:
            self._unsettled_holds[key] -= 1
            if not self._unsettled_holds[key]:
                del self._unsettled_holds[key]
        self._free_keys(freed)
        if changes:
            for change in changes:
                self._in_hand.discard(change.seq)
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
            if self._ticks % LOOK_TICKS == 0:
                self._next_due_ms = 0  # an operator may have parked dead letters again
            try:
                await self._look_for_due()
            except StoreUnavailable:
                continue  # the settle loop says so; the next tick looks again

    def _park_long_attempts(self) -> None:
        now_s, now_ms = self._monotonic(), self._wall_ms()
        for slot in list(self._trying.values()):
            if slot.state != "trying" or now_s - slot.started_s < LONG_ATTEMPT_S:
                continue
            delivery, key = slot.delivery, self._key(slot.delivery)
            self._in_hand.add(delivery.entry.seq)
            info = Parked(
                attempt=0, key=key, in_flight=True, event_id=delivery.event_id, event_type=delivery.event_type
            )
            due_ms = now_ms + round(self.settings.timeout_s * 1000) + IN_FLIGHT_MARGIN_MS
            self._resolve(slot, Change("park", delivery.entry.seq, key, due_ms, msgspec.json.encode(info)))
            self._hold_key(key)

    async def _look_for_due(self) -> None:
        now_ms = self._wall_ms()
        room = min(DUE_LIMIT, self.settings.concurrency * 2 - len(self._returns))
        if room <= 0 or self._stopping or self.disabled or self._looking:
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

    def status(self) -> dict[str, Any]:
        """What only this process knows."""
        return {
            "disabled": self.disabled,
            "in_flight": len(self._workers),
            "attempts": dict(self._ended),
            "window": len(self._window),
            "cursor": self._cursor,
        }


class Head(msgspec.Struct, frozen=True, gc=False):
    """Of an event's JSON, what delivery needs to know."""

    id: str
    type: str
    source: str
    ordering_key: str | None


_decode_head = msgspec.json.Decoder(Head).decode


def delivery_of(entry: Entry) -> Delivery:
    """Read from a log entry what lanes need."""
    head = _decode_head(entry.event_json)
    key = key_hash(head.source, head.ordering_key) if head.ordering_key else ""
    return Delivery(entry, head.id, head.type, key)
