"""Parked events of one lane on their way back: which are due, and which are in hand already."""

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from gateway.delivery.parcel import Return, delivery_of
from gateway.store.log import PartitionLog
from gateway.store.parked import Change, DueEvent, SubscriberStore

log = structlog.get_logger("gateway.delivery")

GIVE_UP_LIMIT = 100_000
"""Events that are given up in one pass; the next one goes on."""


class Returns:
    """What is due and waits for its attempt."""

    def __init__(
        self,
        store: SubscriberStore,
        partition_log: PartitionLog,
        *,
        choose: Callable[[list[DueEvent]], list[DueEvent]],
    ) -> None:
        """``choose`` says which of the due ones may be taken in hand now; it is asked again for the others."""
        self.queue: deque[Return] = deque()
        """In the order in which they are to go."""
        self.in_hand: set[int] = set()
        """Sequence numbers of parked events that wait here, are on the wire, or are not settled yet."""
        self._store = store
        self._log = partition_log
        self._choose = choose
        self._next_due_ms: int | None = 0
        self._looking = asyncio.Lock()
        """Held from asking what is due until it is in hand: an event is taken once, and not while it is given up."""

    def look_again(self) -> None:
        """Something may be due sooner than was known."""
        self._next_due_ms = 0

    def give_back(self, keys: set[str]) -> None:
        """Events of these keys that wait here wait in the store again: others may be in front of them now."""
        back = {job.delivery.seq for job in self.queue if job.parked.key in keys}
        if back:
            self.queue = deque(job for job in self.queue if job.delivery.seq not in back)
            self.in_hand -= back
            self.look_again()

    async def look(self, now_ms: int, most: int) -> list[Change]:
        """Fill the queue with what is due at ``now_ms``, up to ``most``. Raises ``StoreUnavailable``.

        Returns what to settle for those that the log no longer has.
        """
        room = most - len(self.queue)
        if room <= 0 or self._looking.locked() or self._next_due_ms is None or self._next_due_ms > now_ms:
            return []
        async with self._looking:
            due, self._next_due_ms = await self._store.due(now_ms, room, set(self.in_hand))
            chosen = self._choose(due)
            if len(due) == room or len(chosen) < len(due):
                self._next_due_ms = now_ms
            return await self._take_back(chosen) if chosen else []

    async def give_up_before(self, seq: int) -> list[Change]:
        """What to settle to discard all that waits, up to a sequence number, and is not on the wire.

        Raises ``StoreUnavailable``.
        """
        waiting = await self._store.waiting_before(seq, GIVE_UP_LIMIT)
        async with self._looking:  # what is just being taken back is in hand then, or never will be
            idle = [job for job in self.queue if job.delivery.seq <= seq and not job.parked.retried]
            self.queue = deque(job for job in self.queue if job not in idle)
            drops = [Change("drop", job.delivery.seq, job.parked.key) for job in idle]
            drops += [Change("drop", number, key) for number, key in waiting if number not in self.in_hand]
            self.in_hand.update(change.seq for change in drops)  # until it is settled
        return drops

    async def _take_back(self, due: list[DueEvent]) -> list[Change]:
        entries = await self._log.pick([each.seq for each in due])
        self.in_hand.update(each.seq for each in due)
        gone: list[Change] = []
        for each in due:
            entry = entries.get(each.seq)
            if entry is None:
                log.error("delivery.entry_gone", subscriber=self._store.name, seq=each.seq)
                gone.append(Change("drop", each.seq, each.parked.key))
            else:
                self.queue.append(Return(delivery_of(entry), each.parked))
        return gone
