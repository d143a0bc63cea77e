"""The events a lane was given and that are not settled, in log order. Pure.

Outcomes come in any order; the cursor follows the resolved beginning. What was not wanted needs no place of its own: it
is counted with the wanted event behind it, or in the *tail* where none is.
"""

from collections import deque
from collections.abc import Iterator

import msgspec

from gateway.delivery.parcel import Delivery, Slot
from gateway.store.firsts import First
from gateway.store.parked import Change

WINDOW_EVENTS = 1_024
WINDOW_BYTES = 4 * 1024 * 1024


class Passed(msgspec.Struct, frozen=True):
    """What the cursor passes in one settle."""

    cursor_to: int
    delivered: int
    filtered: int
    discarded: int
    changes: list[Change]
    firsts: list[First] = []
    """Of those delivered, in log order."""


class Window:
    """Slots in log order, from the cursor up to ``read_seq``, the last sequence number that was given."""

    def __init__(self, seq: int) -> None:
        self.read_seq = seq
        self.resolved = 0
        """Resolved slots, wherever they are."""
        self._slots: deque[Slot] = deque()
        self._bytes = 0
        self._tail_filtered = self._tail_gap = 0

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots)

    @property
    def has_room(self) -> bool:
        """Whether more may be read."""
        return len(self._slots) < WINDOW_EVENTS and self._bytes < WINDOW_BYTES

    def take_in(self, upto: int, count: int, wanted: list[tuple[int, Delivery]]) -> list[Slot]:
        """Take what was read of the log: ``count`` entries up to sequence number ``upto``. Returns the new slots.

        ``wanted`` are those the subscriber wants, each with its index among the entries. The rest is filtered.
        """
        before, at = self.read_seq, -1
        filtered, gap = self._tail_filtered, self._tail_gap
        slots: list[Slot] = []
        for index, delivery in wanted:
            passed = index - at - 1
            filtered += passed
            gap += delivery.seq - before - 1 - passed
            slots.append(Slot(delivery, filtered, gap))
            self._bytes += delivery.size_bytes
            before, at, filtered, gap = delivery.seq, index, 0, 0
        rest = count - at - 1
        self._tail_filtered = filtered + rest
        self._tail_gap = gap + upto - before - rest
        self.read_seq = upto
        self._slots += slots
        return slots

    def skip_to(self, seq: int) -> None:
        """Pass over what was not read yet, up to a sequence number: it is discarded."""
        if self.read_seq < seq:
            self._tail_gap += seq - self.read_seq
            self.read_seq = seq

    def resolve(self, slot: Slot, change: Change | None, first: First | None = None) -> None:
        """Say what to settle for a slot; ``None`` if it was delivered (``first`` says how) or given up."""
        if slot.state != "resolved":
            self.resolved += 1
        slot.state, slot.change, slot.first = "resolved", change, first

    def lets_pass(self, cursor: int) -> bool:
        """Whether a cursor that stands at ``cursor`` could move on."""
        if not self._slots:
            return cursor != self.read_seq
        return self._slots[0].state == "resolved" or self._slots[0].gap_before > 0

    def take_out(self, cursor: int) -> Passed:
        """Take the resolved beginning out, for a cursor that stands at ``cursor``."""
        delivered = filtered = discarded = 0
        changes: list[Change] = []
        firsts: list[First] = []
        while self._slots and self._slots[0].state == "resolved":
            slot = self._slots.popleft()
            slot.settled = True
            self._bytes -= slot.delivery.size_bytes
            self.resolved -= 1
            filtered += slot.filtered_before
            discarded += slot.gap_before + slot.given_up
            cursor = slot.delivery.seq
            if slot.change is not None:
                changes.append(slot.change)
            elif not slot.given_up:
                delivered += 1
                if slot.first is not None:
                    firsts.append(slot.first)
        if not self._slots:
            filtered, discarded = filtered + self._tail_filtered, discarded + self._tail_gap
            self._tail_filtered = self._tail_gap = 0
            cursor = self.read_seq
        elif self._slots[0].gap_before:  # what was given up before an event does not wait for it, it may wait for long
            slot = self._slots[0]
            filtered, discarded = filtered + slot.filtered_before, discarded + slot.gap_before
            slot.filtered_before = slot.gap_before = 0
            cursor = slot.delivery.seq - 1
        return Passed(cursor, delivered, filtered, discarded, changes, firsts)
