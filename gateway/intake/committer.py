"""Group commit: many requests, one round trip, one fsync.

Each partition has one flusher. While its batch is on the way to the disk, the next requests gather; when the reply
comes they go together. So a quiet gateway answers after one fsync, and a busy one shares each fsync among hundreds.

A lost reply is asked for again with the same batch number (``lua/commit.lua``). After ``GIVE_UP_S`` the requests of the
batch are answered 503: the provider sends them again, and what was logged after all is then a duplicate. Those that
have waited behind it for half of that time are answered with it, so that nobody waits for one batch after another while
the store is away.

Where the store refuses a batch for what is in it, its halves go under numbers of their own, and so on, until the one
request at fault is answered 503 and no other; what was logged on the way is then a duplicate, and answered as accepted.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from gateway.errors import BatchRefused, IntakeFull, SpoolRefused, StoreError, StoreUnavailable
from gateway.intake.batching import Work, answer, batch_of
from gateway.intake.notes import Notes
from gateway.intake.queue import FairQueue
from gateway.store.log import Batch, KeptRequest, NewEvent, PartitionLog

MAX_BATCH_EVENTS = 256
MAX_BATCH_BYTES = 1024 * 1024
MAX_QUEUE_BYTES = 64 * 1024 * 1024
GIVE_UP_S = 2.0
"""Of one batch. The longest wait for a refusal is one and a half of it, shorter than the shortest acknowledgement
deadline of a provider (5 s)."""

RETRY_PAUSE_S = 0.05
SPOOL_TRIES = 2
"""How often a store that refuses is asked before the spool takes over. The second time is for a broken connection."""

SPOOLED = -1
"""Stands for the sequence number of an event that is in the spool."""

COMPANY_PART = 0.75
"""A batch waits for this part of the requests that the one before had: the senders that were just answered send again,
and the first of them must not take an fsync for itself while the others wait for the next."""

COMPANY_TIME_PART = 0.2
"""It waits no longer than this part of the time that the last one took."""

NOTES_WAIT_S = 0.05
"""How long a note alone (a count nobody waits for) may wait for company."""

NOTES_AGAIN_S = 0.5
"""When it is tried again, where the store did not take it."""

NOTES_SPOOLED_S = 10.0
"""How often notes alone go to the spool: so much of them a crash costs, and nobody unproven fills the spool."""


class Refuge(Protocol):
    """Where batches go that the store does not take (``intake/spool.py``)."""

    @property
    def diverts(self) -> bool:
        """Whether a batch must go there now, and not to the store."""
        ...

    def lost(self, why: str) -> None:
        """The store did not take a batch."""
        ...

    async def pace(self) -> None:
        """Wait a little, so that what lies there is committed faster than more comes."""
        ...

    async def put(self, partition: int, committer: str, number: int, batch: Batch) -> None:
        """Keep a batch durably. Raises ``SpoolRefused``."""
        ...


class Committer:
    """The queue and the flusher of one partition."""

    def __init__(
        self,
        log: PartitionLog,
        *,
        monotonic: Callable[[], float],
        max_queue_bytes: int = MAX_QUEUE_BYTES,
        partition: int = 0,
        spool: Refuge | None = None,
    ) -> None:
        """``partition``: the number of the log's, by which the spool knows it."""
        self._log = log
        self._partition = partition
        self._spool = spool
        self._monotonic = monotonic
        self._queue: FairQueue[Work] = FairQueue(max_queue_bytes)
        self._halves: list[list[Work]] = []
        """Of a batch that was refused for what it is; they go one after the other, before what is queued."""
        self._notes = Notes()
        self._notes_spooled_s = float("-inf")
        self._notes_timer: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._expected = 1
        """How many requests make a batch worth an fsync: a part of those that the one before had."""
        self._company_s = 0.0
        self._company_timer: asyncio.TimerHandle | None = None
        self.batches = 0
        self.committed = 0

    @property
    def queue_bytes(self) -> int:
        """Bytes of requests that wait."""
        return self._queue.size_bytes

    def start(self) -> None:
        """Start the flusher."""
        self._task = asyncio.create_task(self._flush_forever(), name="committer")

    def submit(
        self,
        events: list[NewEvent],
        *,
        count: tuple[str, str] | None,
        quarantined: KeptRequest | None = None,
    ) -> "asyncio.Future[list[int]]":
        """Queue what a request brings. The future gives a sequence number an event once all is on disk.

        0 stands for a duplicate, ``SPOOLED`` for an event in the spool.

        Raises ``IntakeFull``; the future raises ``StoreUnavailable``.
        """
        size = sum([len(event.event_json) + len(event.raw_json) for event in events])
        if quarantined is not None:
            size += len(quarantined.body)
        if self._closing:
            raise IntakeFull("the gateway stops")
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        source = count[0] if count is not None else events[0].source
        self._queue.push(source, Work(events, count, quarantined, size, self._monotonic(), future))
        if len(self._queue) >= self._expected:
            self._wake.set()
        elif self._company_timer is None:
            self._company_timer = loop.call_later(self._company_s, self._wake.set)
        return future

    def note(self, source: str, outcome: str, kept: KeptRequest | None = None, *, number: int = 1) -> None:
        """Count requests that nobody waits for (rejected); they go with the next batch."""
        self._notes.add(source, outcome, kept, number)
        self._notes_go(NOTES_WAIT_S)

    def _notes_go(self, after_s: float) -> None:
        if self._notes_timer is None:
            self._notes_timer = asyncio.get_running_loop().call_later(after_s, self._wake.set)

    async def close(self) -> None:
        """Flush what is queued, then end."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def _flush_forever(self) -> None:
        while True:
            if self._halves:
                await self._flush(self._halves.pop(0))
                self._wake.set()  # what is queued has waited enough
                continue
            if self._closing and not self._queue:
                await self._flush([])
                if not self._notes.in_doubt:
                    await self._flush([])  # what waited behind a doubt
                return
            if len(self._queue) < self._expected:
                await self._wake.wait()
            self._wake.clear()
            works = self._queue.take(MAX_BATCH_EVENTS, MAX_BATCH_BYTES)
            if self._queue:
                self._wake.set()  # what did not fit has waited enough
            await self._flush(works)

    async def _flush(self, works: list[Work]) -> None:
        """Take what goes with them, build the batch, place it, answer."""
        for timer in (self._notes_timer, self._company_timer):
            if timer is not None:
                timer.cancel()
        self._notes_timer = self._company_timer = None
        spool, notes = self._spool, self._notes
        if not works and not (notes.counts_wait or notes.bodies_wait):
            return
        began_s = self._monotonic()
        if spool is not None and spool.diverts:
            if not works and not self._may_spool_notes():
                self._notes_go(NOTES_AGAIN_S)
                return
            await spool.pace()
        number, committer = self._log.next_batch(), self._log.committer
        noted, doubt = notes.take(committer)
        rejected = [] if spool is not None and spool.diverts else notes.take_bodies()
        batch = batch_of(works, noted, doubt, rejected)
        try:
            sequence = await self._place(committer, number, batch)
        except Exception as error:  # whatever it is, who waits must hear of it: a request is never left hanging
            notes.failed(committer, number, noted)
            await self._refused(works, error)
            return
        notes.arrived(doubt)
        if notes.counts_wait or notes.bodies_wait:
            self._notes_go(NOTES_WAIT_S)
        self._expected = max(1, int(min(len(works), MAX_BATCH_EVENTS) * COMPANY_PART))
        self._company_s = (self._monotonic() - began_s) * COMPANY_TIME_PART
        self.batches += 1
        self.committed += len(batch.events)
        answer(works, sequence)

    async def _refused(self, works: list[Work], error: Exception) -> None:
        """Put a batch that is at fault itself in halves; else tell those who wait."""
        if isinstance(error, BatchRefused) and len(works) > 1:
            self._halves[:0] = [works[: len(works) // 2], works[len(works) // 2 :]]
            return
        if isinstance(error, StoreUnavailable):
            # Those that have waited so long already that they cannot wait for another batch.
            works += [work for half in self._halves for work in half]
            self._halves.clear()
            works += self._queue.take_since(self._monotonic() - GIVE_UP_S / 2)
            why = error
        else:
            why = StoreUnavailable(f"not committed: {error}")
        for work in works:
            if not work.done.done():
                work.done.set_exception(why)
        self._notes_go(NOTES_AGAIN_S)
        await asyncio.sleep(RETRY_PAUSE_S)

    def _may_spool_notes(self) -> bool:
        """Whether counts alone may go to the spool. At a stop all of them do."""
        if not self._notes.counts_wait:
            return False
        now_s = self._monotonic()
        if now_s - self._notes_spooled_s < NOTES_SPOOLED_S and not self._closing:
            return False
        self._notes_spooled_s = now_s
        return True

    async def _place(self, committer: str, number: int, batch: Batch) -> list[int]:
        """To the store, else to the spool. Raises ``StoreUnavailable`` where neither takes it."""
        spool = self._spool
        if spool is None:
            return await self._commit(committer, number, batch)
        why = "the store cannot be used"
        if not spool.diverts:
            try:
                return await self._commit(committer, number, batch, tries=SPOOL_TRIES)
            except StoreError as error:
                why = str(error)
                spool.lost(why)
        batch.rejected = []  # of those only the counts: nobody unproven fills the spool
        try:
            await spool.put(self._partition, committer, number, batch)
        except SpoolRefused as error:
            raise StoreUnavailable(f"{why}; {error}") from None
        return [SPOOLED] * len(batch.events)

    async def _commit(self, committer: str, number: int, batch: Batch, *, tries: int | None = None) -> list[int]:
        """To the store. Raises ``StoreUnavailable`` once it has refused ``tries`` times, or for ``GIVE_UP_S``."""
        deadline = self._monotonic() + GIVE_UP_S
        while True:
            try:
                async with asyncio.timeout(max(RETRY_PAUSE_S, deadline - self._monotonic())):
                    return await self._log.commit(number, batch, committer=committer)
            except TimeoutError:
                raise StoreUnavailable(f"the store did not answer within {GIVE_UP_S:g} s") from None
            except StoreUnavailable:
                tries = None if tries is None else tries - 1
                if tries == 0 or self._monotonic() + RETRY_PAUSE_S >= deadline:
                    raise
                await asyncio.sleep(RETRY_PAUSE_S)
