"""Counts of requests that nobody waits for (the rejected), and some of their bodies, until a batch takes them along.

A batch that was given up may be in all the same: its reply was lost, or a disk failed when it was done. Its notes are
then *doubtful*: they go again with the next batch, which names the first one's number, and ``lua/commit.lua`` counts
them only where that one is not in. Meanwhile newer ones wait: one doubt is remembered exactly, several would add up for
as long as neither store nor spool is there.
"""

import msgspec

from gateway.store.log import KeptRequest

MAX_BODIES = 64
MAX_BODIES_BYTES = 4 * 1024 * 1024
"""Rejected requests that wait to be kept, and their bodies, of which one may be larger; beyond it only their number is.
They wait for as long as the store is away."""

Counts = dict[tuple[str, str], int]
"""Source and outcome → how many."""


class Doubt(msgspec.Struct, frozen=True):
    """Counts that went with a batch which may be in or not."""

    committer: str
    number: int
    counts: Counts


class Notes:
    """What waits for a batch of one partition."""

    def __init__(self) -> None:
        self._counts: Counts = {}
        self._doubt: Doubt | None = None
        self._bodies: list[KeptRequest] = []

    def add(self, source: str, outcome: str, kept: KeptRequest | None, number: int) -> None:
        """Count requests, and keep one if there is room."""
        self._counts[source, outcome] = self._counts.get((source, outcome), 0) + number
        if kept is not None and len(self._bodies) < MAX_BODIES:
            size_bytes = len(kept.body) + sum([len(each.body) for each in self._bodies])
            if not self._bodies or size_bytes <= MAX_BODIES_BYTES:
                self._bodies.append(kept)

    @property
    def counts_wait(self) -> bool:
        """Whether there is something to count."""
        return bool(self._counts) or self._doubt is not None

    @property
    def in_doubt(self) -> bool:
        """Whether the next batch takes along what may be in already."""
        return self._doubt is not None

    @property
    def bodies_wait(self) -> bool:
        """Whether there is something to keep."""
        return bool(self._bodies)

    def take(self, committer: str) -> tuple[Counts, Doubt | None]:
        """What the next batch of this committer takes along: new counts, or doubtful ones."""
        if self._doubt is None:
            taken, self._counts = self._counts, {}
            return taken, None
        if self._doubt.committer != committer:
            # Its spool was damaged: nothing of it will come any more, and what came nobody can tell. They are counted.
            taken, self._doubt = self._doubt.counts, None
            return taken, None
        return {}, self._doubt

    def take_bodies(self) -> list[KeptRequest]:
        """The requests to keep."""
        taken, self._bodies = self._bodies, []
        return taken

    def arrived(self, doubt: Doubt | None) -> None:
        """The batch that took this along is in."""
        if doubt is not None:
            self._doubt = None

    def failed(self, committer: str, number: int, counts: Counts) -> None:
        """Nobody knows whether the batch that took these along is in."""
        if counts:
            self._doubt = Doubt(committer, number, counts)
