"""What a batch that waits in the spool will count for, so that the ledger can count it now.

A batch is in the spool until somebody has committed it under its own committer and number; between the commit and its
removal it is in both places. The store remembers the last number of each committer (``{n}:committer:<id>``), and those
are committed in order: a batch counts as spooled only as long as its number is above that one.
"""

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


class SpooledBatch(msgspec.Struct, frozen=True):
    """One batch of the spool, as the account sees it."""

    partition: int
    committer: str
    number: int
    tally: Tally


def home_of(partition: int, partitions: int) -> int:
    """The partition where a batch is counted that was made for ``partition``, of another number of them perhaps."""
    return min(partition, partitions - 1)


def tally_of(batch: Batch) -> Tally:
    """Count what a batch holds."""
    events: dict[str, int] = {}
    for event in batch.events:
        events[event.source] = events.get(event.source, 0) + 1
    return Tally(events, batch.counts, batch.doubtful, batch.doubtful_number)
