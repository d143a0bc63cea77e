"""First attempts that were answered 2xx: what a subscriber keeps of most deliveries, in a few bytes each. Pure.

A settle (``lua/settle.lua``) carries one record of those its cursor passes, and appends it to the stream ``firsts``
under the sequence number the cursor moves to: so the record that may hold an event is the first one that is not before
it. A record is a MessagePack array of four integers an attempt, small ones wherever they can be: the sequence number
and the time it ended, each less that of the attempt before; how long it took; the status less 200.

When ``firsts`` has grown to its part of ``FIRSTS_BYTES`` it becomes ``firsts_before``, in place of the one that was.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.store.layout import SubscriberKeys

FIRSTS_BYTES = 192 * 1024
"""Of one of the two streams of a subscriber, its partitions together: each has an equal part, and with the record that
reaches this it is full.

Redis rounds up by up to a third (measured), Valkey by a tenth: so both streams take half a MiB at most, and in each
partition 8 KiB more, as the last record (a settle's, of 256 attempts at most) may begin just below the bound.
"""

RECORD_BYTES = 16
"""What a record takes in the store beyond its own bytes: 11 measured for small ones, 20 for one of a kilobyte."""

_SUCCESS = 200


class First(msgspec.Struct, frozen=True, gc=False):
    """An event's first attempt that was answered 2xx."""

    seq: int
    at_ms: int
    """When it ended."""
    duration_ms: int
    status: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[int]).decode


def pack(firsts: Sequence[First]) -> bytes:
    """One record of all of them, in the order of the log; empty if there are none."""
    if not firsts:
        return b""
    numbers: list[int] = []
    seq = at_ms = 0
    for each in firsts:
        numbers += (each.seq - seq, each.at_ms - at_ms, each.duration_ms, each.status - _SUCCESS)
        seq, at_ms = each.seq, each.at_ms
    return _encode(numbers)


def unpack(record: bytes) -> list[First]:
    """What a record holds."""
    numbers = iter(_decode(record))
    found: list[First] = []
    seq = at_ms = 0
    for more_seq, more_ms, duration_ms, status in zip(numbers, numbers, numbers, numbers, strict=True):
        seq, at_ms = seq + more_seq, at_ms + more_ms
        found.append(First(seq, at_ms, duration_ms, status + _SUCCESS))
    return found


def lookups(keys: SubscriberKeys, seq: int) -> list[tuple[Any, ...]]:
    """The commands whose answers ``found`` looks through; an event moves from the first stream to the second."""
    return [("XRANGE", key, seq, "+", "COUNT", 1) for key in (keys.firsts, keys.firsts_before)]


def found(seq: int, answers: Sequence[Any]) -> First | None:
    """The first attempt of this event, if it succeeded and is still kept."""
    return next((each for each in behind(seq, answers) if each.seq == seq), None)


def behind(seq: int, answers: Sequence[Any]) -> list[First]:
    """All that the answers hold of this event, or of those behind it in the log."""
    return [each for records in answers for _, (_, record) in records for each in unpack(record) if each.seq >= seq]
