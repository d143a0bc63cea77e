"""Order by key, the part in memory: which event of a key may go now, which must wait, which is held in the store.

Of one ordering key one event is in hand at a time. Those behind it wait in memory, and if it is parked, in the key's
list in the store (*held*): then all later ones of the key go there too, until the store says that the key is free.
"""

from collections import Counter, deque
from typing import Literal

from gateway.delivery.parcel import Slot
from gateway.store.parked import Change


class KeyOrder:
    """The keys of one lane. Without ``on`` every event goes at once."""

    def __init__(self, held: set[str], *, on: bool) -> None:
        """``held``: the hashes of the keys that are held in the store now."""
        self._on = on
        self._held = held
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
        if queue is None:  # held while its attempt ran in flight, and nothing of it has come to the store yet
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

    def hold_settled(self, key: str) -> None:
        """The store has one more event in the key's list."""
        self._unsettled[key] -= 1
        if not self._unsettled[key]:
            del self._unsettled[key]

    def free(self, keys: list[str]) -> None:
        """The store holds nothing of these keys; but one with events on their way to its list stays held."""
        for key in keys:
            if key not in self._unsettled:
                self._held.discard(key)
