"""Order by key, the part in memory: which event of a key may go now, which must wait, which is held in the store.

Of one ordering key one event is in hand at a time. Those behind it wait in memory, and if it is parked, in the key's
list in the store (*held*): then all later ones of the key go there too, until the store says that the key is free.

A key can also become held without this process: an operator has dead letters tried again, and they are older than all
that is here (``hold_new``). Then what waits here is held behind them, and nothing of a key is taken back from the store
while another event of it is on the wire.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

from gateway.delivery.parcel import Delivery, Slot
from gateway.store.parked import Change


class KeyOrder:
    """The keys of one lane. Without ``on`` every event goes at once."""

    def __init__(self, held: set[str], *, on: bool) -> None:
        """``held``: the hashes of the keys that are held in the store now."""
        self._on = on
        self._held = held
        self._stored = set(held)
        """Those of the held ones of which the store said that something is parked there."""
        self._on_wire: Counter[str] = Counter()
        self._freed: set[str] | None = None
        self._unsettled: Counter[str] = Counter()
        self._queues: dict[str, deque[Slot]] = {}

    @property
    def held(self) -> frozenset[str]:
        """The hashes of the keys that are held."""
        return frozenset(self._held)

    def key_of(self, slot: Slot) -> str:
        """The key to settle an event with: none where order was not asked for."""
        return slot.delivery.key if self._on else ""

    def admit(self, slot: Slot) -> Literal["go", "wait", "hold"]:
        """A new event: it goes, waits in memory (and comes back from ``next``), or is to be held in the store."""
        key = self.key_of(slot)
        if not key:
            return "go"
        if key in self._held:
            self._unsettled[key] += 1
            return "hold"
        if key in self._queues:
            self._queues[key].append(slot)
            return "wait"
        self._queues[key] = deque()
        return "go"

    def to_hold(self, slot: Slot) -> Change:
        """What to settle for an event of a held key: it goes to the end of the key's list."""
        key = self.key_of(slot)
        self._unsettled[key] += 1
        return Change("hold", slot.delivery.seq, key)

    def next(self, slot: Slot) -> Slot | None:
        """The event in hand is done: the one behind it, which may go now."""
        key = self.key_of(slot)
        if not key:
            return None
        queue = self._queues.get(key)
        if queue is None:  # held while its attempt was on the wire
            if key not in self._stored:  # as in flight, and nothing of it has come to the store yet
                self.free([key])
            return None
        while queue:
            following = queue.popleft()
            if following.state == "waiting":  # not given up meanwhile
                return following
        del self._queues[key]
        return None

    def hold(self, slot: Slot) -> list[Slot]:
        """The event in hand is parked: its key is held, and these that waited behind it are to be held too."""
        key = self.key_of(slot)
        if not key:
            return []
        self._held.add(key)
        waiting = [each for each in self._queues.pop(key, ()) if each.state == "waiting"]
        if waiting:
            self._unsettled[key] += len(waiting)
        return waiting

    def hold_new(self, keys: Iterable[str], fresh: Iterable[Slot]) -> list[Slot]:
        """The store says that these keys are held. Returns, in log order, which events here are to be held too: those
        of ``fresh``, which might go now, and those that waited behind them. One whose attempt runs is let run.
        """
        if not self._on:
            return []
        self._stored.update(keys)
        new = self._stored - self._held
        self._held |= new
        waiting = [each for each in fresh if self.key_of(each) in new]
        for key in new:
            waiting += [each for each in self._queues.pop(key, ()) if each.state == "waiting"]
        self._unsettled.update(self.key_of(each) for each in waiting)
        return waiting

    @contextmanager
    def watch_freed(self) -> Iterator[set[str]]:
        """The keys that become free meanwhile: what the store said before of them is no longer true."""
        freed: set[str] = set()
        self._freed = freed
        try:
            yield freed
        finally:
            self._freed = None

    @contextmanager
    def on_wire(self, delivery: Delivery) -> Iterator[None]:
        """While an attempt of this event runs."""
        self._on_wire[delivery.key] += 1
        try:
            yield
        finally:
            self._on_wire[delivery.key] -= 1
            if not self._on_wire[delivery.key]:
                del self._on_wire[delivery.key]

    def may_return(self, key: str) -> bool:
        """Whether a parked event of this key may be taken back now: not while another of the key is on the wire."""
        return not (self._on and key and key in self._on_wire)

    def hold_settled(self, key: str) -> None:
        """The store has one more event in the key's list."""
        self._unsettled[key] -= 1
        if not self._unsettled[key]:
            del self._unsettled[key]

    def free(self, keys: list[str]) -> None:
        """The store holds nothing of these keys; but one with events on their way to its list stays held."""
        if self._freed is not None:
            self._freed.update(keys)
        for key in keys:
            self._stored.discard(key)
            if key not in self._unsettled:
                self._held.discard(key)
