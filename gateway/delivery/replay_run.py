"""One replay, run: read what it is about, hand each event on at a rate, save how far it is.

What was handled is a *window* of events in log order. A replay's position follows the handled beginning of it, and an
event is counted when the position passes it, in the same write. So after a crash the counters are right for the
position, and only the window is sent again: a few events, with the same ``webhook-id`` and the same
``gateway-replay``.

Nobody waits for a replay as for a delivery, so its schedule is short: three attempts within seconds. What fails then is
counted and named in the record, and the next event follows. A target that takes nothing at all pauses the replay.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

import structlog

from gateway.delivery.outcome import Outcome
from gateway.delivery.pace import Pace
from gateway.delivery.replay_ways import Look, Way
from gateway.delivery.replay_window import Item, Window
from gateway.delivery.selecting import Match, Selecting
from gateway.errors import LeaseLost, StoreError, StoreUnavailable
from gateway.store.layout import key_hash
from gateway.store.replays import Replay, ReplayFailure, Replays, Stored

log = structlog.get_logger("gateway.replay")

CONCURRENCY = 8
WINDOW_EVENTS = 1_024
SAVE_S = 1.0
SAVE_EVENTS = 100
RETRY_S = (1.0, 5.0)
MAX_RETRY_AFTER_S = 30.0
TRIP_EVENTS = 50
"""So many failed events in a row, and the target is taken to be down: going on would only use the replay up."""
LOOK_S = 0.25
GRACE_S = 5.0
DETAIL_CHARS = 200


class Run:
    """One replay in this process, from claim to end."""

    def __init__(
        self,
        stored: Stored,
        epoch: int,
        *,
        replays: Replays,
        selecting: Sequence[Selecting],
        way: Way,
        look: Callable[[], Awaitable[Look]],
        by_key: bool,
        rate_per_s: float,
        concurrency: int,
        retry_s: Sequence[float],
        wall_ms: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        """``by_key``: the events of one ordering key go one after another."""
        self._record: Replay = stored.replay
        self._version = stored.version
        self._epoch = epoch
        self._replays = replays
        self._selecting = selecting
        self._way = way
        self._look = look
        self._by_key = by_key
        self._retry_s = tuple(retry_s)
        self._wall_ms = wall_ms
        self._pace = Pace(rate_per_s, monotonic=monotonic)
        self._slots = asyncio.Semaphore(concurrency)
        self._room = asyncio.Semaphore(WINDOW_EVENTS)
        self._window = Window(self._record)
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_of_key: dict[str, asyncio.Task[None]] = {}
        self._stop = asyncio.Event()
        self._save_now = asyncio.Event()
        self._unsaved = 0
        self._dirty = True
        self._out_of_touch = False
        """The store does not answer: nothing is sent that could not be noted."""
        self._failed_in_a_row = 0

    async def run(self) -> None:
        """Go on from where the record says. Returns when it has ended, or when this process may not go on. Raises
        ``StoreError`` where it could not even begin."""
        await self._look_around()
        reader = asyncio.create_task(self._read_all(), name=f"replay {self._record.id}")
        saver = asyncio.create_task(self._save_forever(), name=f"save {self._record.id}")
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({reader, saver, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if reader.done():
                reader.result()
            if saver.done():
                saver.result()
            self._end("done")
        finally:
            self._stop.set()
            reader.cancel()
            saver.cancel()
            stopped.cancel()
            await self._finish_tasks()
            await asyncio.gather(reader, saver, stopped, return_exceptions=True)
        await self._save_last()

    def stop(self) -> None:
        """Hand over: attempts on the wire may end, the record says where to go on."""
        self._stop.set()

    def _end(self, state: Literal["done", "paused", "failed"], why: str = "") -> None:
        if self._stop.is_set():
            return
        record = self._record
        record.state, record.waiting, record.ended_ms = state, "", self._wall_ms()
        record.last_error = why or record.last_error
        self._dirty = True
        self._stop.set()

    async def _finish_tasks(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GRACE_S)
        await self._way.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Reading

    async def _read_all(self) -> None:
        record = self._record
        for partition, end in enumerate(record.ends):
            self._window.partition = partition
            picked = None if record.picked is None else record.picked[partition]
            after = record.positions[partition]
            while after < end:
                try:
                    async for page in self._selecting[partition].pages(after, end, picked):
                        for match in page.matches:
                            await self._begin(match)
                        after = page.upto
                        self._pass(after, page.expired)
                        await asyncio.sleep(0)
                    after = end
                except StoreUnavailable:
                    await asyncio.sleep(LOOK_S)
            self._pass(end, 0)
            # One partition after the other, so that the window is always of one.
            while self._tasks:
                await asyncio.wait(self._tasks)

    async def _begin(self, match: Match) -> None:
        await self._room.acquire()
        await self._slots.acquire()
        item = self._window.add(match.entry.seq)
        key = key_hash(match.head.source, match.head.ordering_key) if self._by_key and match.head.ordering_key else ""
        task = asyncio.create_task(self._handle(item, match, self._last_of_key.get(key)))
        self._tasks.add(task)
        if key:
            self._last_of_key[key] = task
        task.add_done_callback(lambda done: self._left(done, key))

    def _left(self, task: "asyncio.Task[None]", key: str) -> None:
        self._tasks.discard(task)
        self._slots.release()
        if self._last_of_key.get(key) is task:
            del self._last_of_key[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("replay.defect", replay=self._record.id, exc_info=error)
            self._end("failed", f"a defect of the gateway: {type(error).__name__}")

    def _pass(self, seq: int, expired: int) -> None:
        self._window.add_page_end(seq, expired)
        self._settle()

    def _settle(self) -> None:
        left, events = self._window.settle()
        self._dirty = self._dirty or left > 0
        self._unsaved += events
        for _ in range(events):
            self._room.release()
        if self._unsaved >= SAVE_EVENTS:
            self._save_now.set()

    # Handing on

    async def _handle(self, item: Item, match: Match, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait({before})
        outcome = await self._attempts(item, match)
        if outcome is None:  # not handled: whoever goes on does it
            return
        item.handled = True
        if not outcome.delivered:
            item.failure = ReplayFailure(match.head.id, outcome.cause, outcome.detail[:DETAIL_CHARS])
        self._settle()
        self._judge(outcome)

    async def _attempts(self, item: Item, match: Match) -> Outcome | None:
        """The last outcome; ``None`` if it was stopped before there was one that counts."""
        requeues = self._record.spec.requeues
        for number in range(1, len(self._retry_s) + 2):
            if not (await self._may_send() and await self._pace.turn(self._stop) and await self._may_send()):
                return None
            left = len(self._retry_s) + 1 - number
            outcome = await self._way.attempt(match, self._window.partition, number, left)
            if outcome.cause == "closed":
                return None
            item.attempts += not requeues
            if outcome.delivered or outcome.disables or outcome.cause == "moved" or not left:
                return outcome
            wait_s = self._retry_s[number - 1]
            if await self._stopped_within(max(wait_s, min(outcome.retry_after_s or 0.0, MAX_RETRY_AFTER_S))):
                return None
        return None

    async def _may_send(self) -> bool:
        """Wait until it may. False if it is to stop."""
        while self._record.waiting or self._out_of_touch:
            if await self._stopped_within(LOOK_S):
                return False
        return not self._stop.is_set()

    async def _stopped_within(self, wait_s: float) -> bool:
        try:
            async with asyncio.timeout(wait_s):
                await self._stop.wait()
        except TimeoutError:
            return False
        return True

    def _judge(self, outcome: Outcome) -> None:
        self._failed_in_a_row = 0 if outcome.delivered else self._failed_in_a_row + 1
        if outcome.disables:
            self._end("paused", outcome.detail)
        elif self._failed_in_a_row >= TRIP_EVENTS:
            self._end("paused", f"{TRIP_EVENTS} events in a row failed, the last with {outcome.cause}")

    # Saving

    async def _save_forever(self) -> None:
        while True:
            try:
                async with asyncio.timeout(SAVE_S):
                    await self._save_now.wait()
            except TimeoutError:
                pass
            self._save_now.clear()
            try:
                await self._look_around()
                await self._save()
                self._out_of_touch = False
            except StoreUnavailable:
                self._out_of_touch = self._dirty = True
            except LeaseLost:
                self._stop.set()

    async def _look_around(self) -> None:
        look = await self._look()
        if look.changed:
            self._stop.set()
        if look.waiting != self._record.waiting:
            self._record.waiting, self._dirty = look.waiting, True

    async def _save(self) -> None:
        """Write the record; adopt what somebody else has decided meanwhile. Raises ``StoreUnavailable``,
        ``LeaseLost``."""
        record = self._record
        if not self._dirty:
            current = await self._replays.get(record.id)
            if current is not None and current.version == self._version:
                return
        while True:
            self._unsaved, self._dirty = 0, False
            version = await self._replays.save(record, self._version, epoch=self._epoch)
            if version:
                self._version = version
                return
            current = await self._replays.get(record.id)
            if current is None or current.replay.epoch != self._epoch:
                raise LeaseLost("another process runs this replay now")
            self._version = current.version
            if not current.replay.is_open:  # cancelled: with what was sent until now
                record.state, record.ended_ms, record.waiting = current.replay.state, current.replay.ended_ms, ""
                self._stop.set()

    async def _save_last(self) -> None:
        try:  # without it the next one repeats a little more, or ends the replay once more
            await self._save()
        except StoreError as error:
            log.warning("replay.unsaved", replay=self._record.id, why=str(error))
