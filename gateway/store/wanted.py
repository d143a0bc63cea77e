"""For whom the log waits: every subscriber that some gateway has in its configuration.

Each gateway says every few seconds whom it wants, and that holds for ``SAID_MS``. Whom nobody speaks for may still be
another gateway's, which is being restarted; and while the store was away, or every gateway was, nobody could speak at
all. So a process lets go of a subscriber only after it has itself listened for ``WAIT_S``, round after round without a
gap, and heard nothing of it.

When an operator deletes a subscriber everybody is told to wait no longer. Whoever has it in its file says so again and
again, and it is waited for all the same.
"""

import math
from collections.abc import Callable, Collection

from gateway.store.connection import Store
from gateway.store.layout import Keys

SAID_MS = 60_000
"""How long a word holds; several rounds of the retention, also of one that has much to trim."""

WAIT_S = 3_600.0
"""How long a process must have heard nothing of a subscriber before it lets go of it."""

GAP_S = SAID_MS / 1000
"""With more than this between two rounds a word may have come and ended unheard: all counts from the beginning."""

DELETED_MS = 2 * SAID_MS
"""How long it is told that a subscriber was deleted: until after the last word for it from before has ended."""

_DELETED = "!"
"""Before a name: it was deleted. No name has it."""


class Wanted:
    """What one process has heard."""

    def __init__(self, store: Store, first: Keys, *, monotonic: Callable[[], float]) -> None:
        """``first``: the keys of the first partition."""
        self._store = store
        self._key = first.wanted
        self._monotonic = monotonic
        self._heard_s: dict[str, float] = {}
        """Name → when it was last heard of, or first known here."""
        self._theirs_s: dict[str, float] = {}
        """Name that is wanted, and not by this process → since when that is so."""
        self._round_s = -math.inf

    async def round(self, known: Collection[str], ours: Collection[str]) -> set[str]:
        """Say that ``ours`` are wanted and hear of whom the others do. Returns those of ``known`` to wait for.

        Raises ``StoreUnavailable``.
        """
        said = await self._store.script("announce", [self._key], [SAID_MS, *sorted(ours)])
        return self._hear(known, {word.decode() for word in said}, ours)

    def theirs(self) -> set[str]:
        """Those that only others want. Whom this process wanted before a change is not meant by its own last word."""
        return {name for name, since_s in self._theirs_s.items() if self._round_s - since_s > SAID_MS / 1000}

    def _hear(self, known: Collection[str], said: Collection[str], ours: Collection[str]) -> set[str]:
        now_s = self._monotonic()
        before = self._heard_s if now_s - self._round_s <= GAP_S else {}
        self._round_s = now_s
        self._theirs_s = {name: self._theirs_s.get(name, now_s) for name in known if name in said and name not in ours}
        self._heard_s = {}
        for name in known:
            if name in said:
                self._heard_s[name] = now_s
            elif _DELETED + name in said:
                self._heard_s[name] = -math.inf
            else:
                self._heard_s[name] = before.get(name, now_s)
        return {name for name, heard_s in self._heard_s.items() if now_s - heard_s < WAIT_S}


async def tell_deleted(store: Store, first: Keys, name: str) -> None:
    """Tell every gateway not to wait for this subscriber, unless one wants it. Raises ``StoreUnavailable``."""
    await store.script("announce", [first.wanted], [DELETED_MS, _DELETED + name])
