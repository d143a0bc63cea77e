"""An event on its way to one subscriber, in the forms a lane has it in."""

from typing import Literal

import msgspec

from gateway.store.firsts import First
from gateway.store.layout import key_hash
from gateway.store.log import Entry
from gateway.store.parked import Change, Parked


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """An event as a lane needs it."""

    entry: Entry
    event_id: str
    event_type: str
    key: str
    """Hash of source and ordering key; empty without one."""

    @property
    def seq(self) -> int:
        """Its sequence number."""
        return self.entry.seq

    @property
    def size_bytes(self) -> int:
        """What it takes in memory, roughly."""
        return len(self.entry.event_json) + len(self.entry.raw_json)


class Slot(msgspec.Struct, eq=False):
    """One event in a lane's window."""

    delivery: Delivery
    filtered_before: int
    """Events before it, after the slot before it, that this subscriber did not want."""
    gap_before: int
    """Sequence numbers in the same place that the log no longer holds."""
    state: Literal["waiting", "trying", "resolved"] = "waiting"
    change: Change | None = None
    """Of a resolved one: what to settle; ``None`` if it was delivered or given up."""
    first: First | None = None
    """Of a resolved one that was delivered: how."""
    given_up: bool = False
    """Resolved without an attempt, because it is beyond ``max_lag``."""
    started_s: float = 0.0
    settled: bool = False
    """It has left the window; if its attempt still runs, it is parked in flight."""


class Return(msgspec.Struct, eq=False):
    """A parked event that is due, in hand for its next attempt."""

    delivery: Delivery
    parked: Parked


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
