"""The queue before a committer: bounded in bytes, and fair between sources.

Each source has a line of its own, in the order in which its requests came; the sources take turns. So what a source
sends waits for at most one request of each other in a batch, however many those have in line.

The bound is shared by a dynamic threshold (Choudhury and Hahne, 1998): a source may have as many bytes in line as are
still free. One flooding source takes half of the room, two take a third each, and some is always left for the others.
"""

from collections import deque
from collections.abc import Sized
from typing import Generic, Protocol, TypeVar

from gateway.errors import IntakeFull


class Waiting(Protocol):
    """What the queue looks at in a piece of work."""

    @property
    def events(self) -> Sized:
        """What it brings; a batch is bounded in their number."""
        ...

    @property
    def size_bytes(self) -> int:
        """What it weighs; batch and queue are bounded in it."""
        ...

    @property
    def since_s(self) -> float:
        """When it came."""
        ...


W = TypeVar("W", bound=Waiting)


class _Line(Generic[W]):
    __slots__ = ("size_bytes", "works")

    def __init__(self) -> None:
        self.works: deque[W] = deque()
        self.size_bytes = 0


class FairQueue(Generic[W]):
    """Lines of sources that take turns."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lines: dict[str, _Line[W]] = {}
        self._turns: deque[_Line[W]] = deque()
        """The lines in which somebody waits; the first has its turn."""
        self._length = 0
        self.size_bytes = 0

    def __len__(self) -> int:
        return self._length

    def push(self, source: str, work: W) -> None:
        """Put it at the end of its source's line. Raises ``IntakeFull``."""
        line = self._lines.get(source)
        if line is None:
            line = self._lines[source] = _Line()
        size_bytes = work.size_bytes
        # A request alone always fits, if the queue as a whole has room: its size is bounded elsewhere.
        free_bytes = self._max_bytes - self.size_bytes - size_bytes
        if free_bytes < 0 or (line.works and line.size_bytes + size_bytes > free_bytes):
            raise IntakeFull(f"the queue before the store is full, or the part of it that {source} may fill")
        if not line.works:
            self._turns.append(line)
        line.works.append(work)
        line.size_bytes += size_bytes
        self.size_bytes += size_bytes
        self._length += 1

    def take(self, max_events: int, max_bytes: int) -> list[W]:
        """The next batch: at least one, if there is one, and as many more as fit."""
        taken: list[W] = []
        events = size_bytes = 0
        turns = self._turns
        while turns:
            line = turns[0]
            work = line.works[0]
            if taken and (events + len(work.events) > max_events or size_bytes + work.size_bytes > max_bytes):
                break  # and it is the first of the next batch
            taken.append(self._pop(line))
            events += len(work.events)
            size_bytes += work.size_bytes
            if line.works:
                turns.rotate(-1)
            else:
                turns.popleft()
        return taken

    def take_since(self, until_s: float) -> list[W]:
        """All that came at ``until_s`` or before."""
        taken: list[W] = []
        for line in self._turns:
            while line.works and line.works[0].since_s <= until_s:
                taken.append(self._pop(line))
        self._turns = deque(line for line in self._turns if line.works)
        return taken

    def _pop(self, line: _Line[W]) -> W:
        work = line.works.popleft()
        line.size_bytes -= work.size_bytes
        self.size_bytes -= work.size_bytes
        self._length -= 1
        return work
