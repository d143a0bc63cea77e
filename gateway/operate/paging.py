"""How much to read at a time: few entries first, then as many as fit a size, because one entry may be a megabyte."""

from collections.abc import Sequence

from gateway.store.log import Entry

FIRST = 16
MOST = 500
LEAST = 4
PAGE_BYTES = 2 * 1024 * 1024
ANSWER_BYTES = 8 * 1024 * 1024
"""Where an answer ends, though more items were asked for: it has a ``next``."""


class PageSize:
    """The number of entries to ask for next, learnt from the pages before."""

    def __init__(self) -> None:
        self.limit = FIRST

    def saw(self, sizes_bytes: Sequence[int]) -> None:
        """Take the sizes of a page's entries into account."""
        if not sizes_bytes:
            return
        mean = max(1, sum(sizes_bytes) // len(sizes_bytes))
        # At most fourfold: a few small entries say little about those to come.
        self.limit = max(LEAST, min(MOST, self.limit * 4, PAGE_BYTES // mean))


def size_of(entry: Entry) -> int:
    """Bytes of a log entry."""
    return len(entry.event_json) + len(entry.raw_json)
