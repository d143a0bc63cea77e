"""One lane's outcomes on their way into the store: gathered for a moment, settled together, one settle at a time."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from gateway.delivery.parcel import Slot
from gateway.delivery.window import Passed, Window
from gateway.errors import StoreUnavailable
from gateway.store.firsts import First
from gateway.store.parked import Change, SubscriberStore

log = structlog.get_logger("gateway.delivery")

SETTLE_EVENTS = 256
SETTLE_CHANGES = 1_000
"""Parked events in one settle at most: the store does nothing else meanwhile."""

SETTLE_WAIT_S = 0.005
"""How long outcomes gather before they are settled together, unless there are many."""

AGAIN_S = 0.05
AGAIN_MAX_S = 1.0
"""The pause after a settle that got no answer: the first one, twice as long each time, and the longest."""

Settled = Callable[[list[Change], list[Change], list[str]], Awaitable[None]]
"""Told after each settle: changes of events the cursor passed, changes of parked ones, keys that became free."""


class Settler:
    """Moves one lane's cursor."""

    def __init__(
        self,
        store: SubscriberStore,
        window: Window,
        *,
        epoch: int,
        cursor: int,
        wall_ms: Callable[[], int],
        taken_out: Callable[[], None],
        settled: Settled,
    ) -> None:
        """``taken_out`` is called when the window has become smaller."""
        self.cursor = cursor
        """Up to which sequence number all is settled."""
        self.changes: list[Change] = []
        """What became of parked events, to be settled."""
        self._store = store
        self._window = window
        self._epoch = epoch
        self._wall_ms = wall_ms
        self._taken_out = taken_out
        self._settled = settled
        self._dirty = asyncio.Event()

    def resolve(self, slot: Slot, change: Change | None, first: First | None = None) -> None:
        """Settle this for an event of the window: ``None`` if it was delivered (``first`` says how) or given up."""
        self._window.resolve(slot, change, first)
        self._dirty.set()

    def add(self, *changes: Change) -> None:
        """Settle this for parked events."""
        self.changes += changes
        self._dirty.set()

    def stir(self) -> None:
        """Look whether there is something to settle."""
        self._dirty.set()

    def stir_if_filtered(self) -> None:
        """Settle what was only filtered; seldom, so that 99 idle lanes cost little."""
        if not self._window and self.cursor != self._window.read_seq:
            self._dirty.set()

    @property
    def has_work(self) -> bool:
        """Whether something can be settled now."""
        return bool(self.changes) or self._window.lets_pass(self.cursor)

    async def run(self, *, stopped: asyncio.Event, is_last: Callable[[], bool]) -> None:
        """Settle whatever comes, until ``stopped`` is set and ``is_last`` says that nothing more will come.

        Raises ``StoreError`` when the store refuses; ``LeaseLost`` when another process has the partition.
        """
        while True:
            await self._dirty.wait()
            if self._window.resolved + len(self.changes) < SETTLE_EVENTS and not stopped.is_set():
                await asyncio.sleep(SETTLE_WAIT_S)
            self._dirty.clear()
            await self._settle()
            if stopped.is_set() and is_last() and not self.has_work:
                return

    async def _settle(self) -> None:
        """Settle the resolved beginning of the window and what became of parked events, as one step of the store."""
        if not self.has_work:
            return
        of_parked, self.changes = self.changes[:SETTLE_CHANGES], self.changes[SETTLE_CHANGES:]
        if self.changes:
            self._dirty.set()
        passed = self._window.take_out(self.cursor)
        self._taken_out()
        # Those of the window first: an event is parked before it is done.
        freed = await self._settle_surely(passed, [*passed.changes, *of_parked])
        self.cursor = passed.cursor_to
        await self._settled(passed.changes, of_parked, freed)

    async def _settle_surely(self, passed: Passed, changes: list[Change]) -> list[str]:
        """Repeat until the store has answered: the same number, so that it counts once."""
        number, pause_s = self._store.next_settle(), AGAIN_S
        while True:
            try:
                return await self._store.settle(
                    number,
                    self._epoch,
                    self.cursor,
                    passed.cursor_to,
                    delivered=passed.delivered,
                    filtered=passed.filtered,
                    discarded=passed.discarded,
                    changes=changes,
                    now_ms=self._wall_ms(),
                    firsts=passed.firsts,
                )
            except StoreUnavailable as error:
                log.warning("delivery.settle", subscriber=self._store.name, why=str(error), again_in_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(AGAIN_MAX_S, pause_s * 2)
