"""What a batch that waits in the spool will count for, so that the ledger can count it now.

A batch is in the spool until somebody has committed it under its own committer and number; between the commit and its
removal it is in both places. The store remembers the last number of each committer (``{n}:committer:<id>``), and those
are committed in order: a batch counts as spooled only as long as its number is above that one.

A full spool has a hundred thousand batches, and every look at the account counts them. So they are kept small: two
numbers each, and what many of them bring alike only once.
"""

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from gateway.store.log import Batch


class Tally(msgspec.Struct, frozen=True, array_like=True):
    """What one batch brings to the account."""

    events: dict[str, int]
    """Source → number of events."""
    requests: list[tuple[str, str, int]]
    """Source, outcome, number: as ``Batch.counts``."""
    doubtful: list[tuple[str, str, int]] = []
    """As ``Batch.doubtful``: what an earlier batch of the committer has counted already, if that one is in."""
    doubtful_number: int = 0
    """The number of that batch."""

    @property
    def total(self) -> int:
        """Number of events."""
        return sum(self.events.values())


Brought = tuple[dict[str, int], list[tuple[str, str, int]], int]
"""Events, requests, how many times."""

SpooledRow = tuple[int, str, int, bytes]
"""Partition, committer, number, and the tally as ``encode_tally`` writes it."""

encode_tally = msgspec.msgpack.Encoder().encode
decode_tally = msgspec.msgpack.Decoder(Tally).decode


class Tallies:
    """The tallies that differ, each decoded once. One thread at a time may add some."""

    def __init__(self) -> None:
        self.all: list[Tally] = []
        self._known: dict[bytes, int] = {}

    def number_of(self, encoded: bytes) -> int:
        """Where it stands in ``all``, from now on if not before. Raises ``msgspec.MsgspecError``."""
        known = self._known.get(encoded)
        if known is None:
            self.all.append(decode_tally(encoded))
            known = self._known[encoded] = len(self.all) - 1
        return known


class SpooledLine(msgspec.Struct, frozen=True):
    """The batches of one committer that wait, in the order of their numbers; at least one."""

    partition: int
    committer: str
    numbers: "array[int]"
    kinds: "array[int]"
    """What each brings: its place in ``tallies``."""
    tallies: list[Tally]

    def beyond(self, number: int) -> Iterator[Brought]:
        """What the batches above ``number`` bring to the account if the one with that number is the last one in."""
        start = bisect_right(self.numbers, number)
        doubtful = set()
        for kind, times in Counter(self.kinds[start:]).items():
            tally = self.tallies[kind]
            yield tally.events, tally.requests, times
            if tally.doubtful:
                doubtful.add(kind)
        for at in range(start, len(self.kinds)) if doubtful else ():
            tally = self.tallies[self.kinds[at]]
            if tally.doubtful_number > (self.numbers[at - 1] if at > start else number):
                yield {}, tally.doubtful, 1


def lines_of(rows: Iterable[SpooledRow], tallies: Tallies, before: Iterable[SpooledLine] = ()) -> list[SpooledLine]:
    """Rows as they follow in a file, behind those of it that are lines already. Raises ``msgspec.MsgspecError``."""
    found = {(each.partition, each.committer): (each.numbers[:], each.kinds[:]) for each in before}
    for partition, committer, number, tally in rows:
        numbers, kinds = found.setdefault((partition, committer), (array("q"), array("I")))
        if not numbers or number > numbers[-1]:  # else it is in by then, and brings nothing
            numbers.append(number)
            kinds.append(tallies.number_of(tally))
    return [SpooledLine(*whose, *what, tallies.all) for whose, what in found.items()]


def home_of(partition: int, partitions: int) -> int:
    """The partition where a batch is counted that was made for ``partition``, of another number of them perhaps."""
    return min(partition, partitions - 1)


def tally_of(batch: Batch) -> Tally:
    """Count what a batch holds."""
    events: dict[str, int] = {}
    for event in batch.events:
        events[event.source] = events.get(event.source, 0) + 1
    return Tally(events, batch.counts, batch.doubtful, batch.doubtful_number)
