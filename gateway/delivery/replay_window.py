"""The events of a replay that are in hand, in log order, and what is counted when they leave: pure."""

from collections import deque

import msgspec

from gateway.store.replays import FAILURES, Replay, ReplayFailure


class Item(msgspec.Struct, eq=False):
    """One event of the window, or the end of a page, which is handled at once."""

    seq: int
    handled: bool = False
    is_event: bool = True
    attempts: int = 0
    expired: int = 0
    failure: ReplayFailure | None = None
    """Of a handled event: why it was not delivered."""


class Window:
    """One replay's window. The record's position follows the handled beginning, and counts go with it."""

    def __init__(self, record: Replay) -> None:
        self._record = record
        self._items: deque[Item] = deque()
        self.partition = 0
        """Of all that is in the window."""

    def add(self, seq: int) -> Item:
        """An event that is to be handed on."""
        item = Item(seq)
        self._items.append(item)
        return item

    def add_page_end(self, seq: int, expired: int) -> None:
        """What came up to ``seq`` was read; so many of it the log no longer held."""
        self._items.append(Item(seq, handled=True, is_event=False, expired=expired))

    def settle(self) -> tuple[int, int]:
        """Move the position over what is handled, and count it. Returns how many items left, and how many events."""
        record, items = self._record, self._items
        left = events = 0
        while items and items[0].handled:
            item = items.popleft()
            left += 1
            record.positions[self.partition] = item.seq
            record.expired += item.expired
            if item.is_event:
                events += 1
                self._count(item)
        return left, events

    def _count(self, item: Item) -> None:
        record = self._record
        record.matched += 1
        record.attempts += item.attempts
        if item.failure is not None:
            record.failed += 1
            if record.is_open:  # else its end has said why already
                record.last_error = f"{item.failure.cause}: {item.failure.detail}"
            record.failures = (*record.failures, item.failure)[:FAILURES]
        elif record.spec.requeues:
            record.requeued += 1
        else:
            record.delivered += 1
