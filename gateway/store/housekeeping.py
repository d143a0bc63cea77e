"""What the store needs done now and then: retention, expiry of quarantine, and a look at its memory.

An entry of the log goes when it is older than ``retention``, or when the log is larger than ``retention_bytes``; and in
both cases only if no subscriber needs it any more, which ``lua/trim.lua`` looks up in the same step. So retention never
costs an undelivered event; a store that fills all the same stops the intake before it is full. A clock that jumps ahead
makes nothing old (``age_clock.py``).
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import structlog

from gateway.age_clock import AgeClock
from gateway.config import StoreSettings
from gateway.errors import NotDurable, StoreError
from gateway.store.connection import Store
from gateway.store.layout import Keys
from gateway.store.ledger import subscribers_of
from gateway.store.log import page_of, received_ms
from gateway.store.wanted import Wanted

log = structlog.get_logger("gateway.store")

LOOK_S = 1.0
TRIM_S = 5.0
PAGE = 200
"""Entries a trim step looks at, fewer if they are large: a few hundred microseconds of the store's time."""

MAX_PAGES = 200
"""Steps of one round; the rest waits for the next."""

FULL = 0.85
"""The part of ``maxmemory`` at which the intake stops, so that deliveries can still be settled and the store
drained."""


class Housekeeping:
    """One process's share of the housekeeping. Doing it twice does no harm."""

    def __init__(
        self,
        store: Store,
        keys: Sequence[Keys],
        *,
        wall_ms: Callable[[], int],
        monotonic: Callable[[], float],
        is_configured: Callable[[str], bool] = lambda _: True,
        delivers: bool = True,
    ) -> None:
        """``is_configured``: whether there is a subscriber of this name now, for this process.

        One that nobody has had in its configuration for long (``wanted.py``) keeps its place, but no longer holds the
        log back: it may come back as long as retention lasts, and what it has missed by then is ``discarded``.

        ``delivers``: whether this process delivers; then it warns of those that only another gateway has.
        """
        self._store = store
        self._keys = keys
        self._age_clock = AgeClock(wall_ms=wall_ms, monotonic=monotonic)
        self._is_configured = is_configured
        self._wanted = Wanted(store, keys[0], monotonic=monotonic)
        self._delivers = delivers
        self._told: set[str] = set()
        """Subscribers of others that were warned of."""
        self._tasks: list[asyncio.Task[None]] = []
        self.has_room = True
        self._wall_ms = wall_ms
        self.unheard: tuple[int, StoreError] | None = None
        """Since when (ms) the looks at the store have failed, and why the latest did; ``None`` after one that did not.
        Known without a webhook, and without a spool."""

    async def start(self, settings: StoreSettings) -> None:
        """Look at the memory once, then go on in the background."""
        with contextlib.suppress(StoreError):  # the next look is a second away
            await self.look()
        self._tasks = [
            asyncio.create_task(self._every(LOOK_S, self.look), name="store"),
            asyncio.create_task(self._every(TRIM_S, lambda: self.trim(settings)), name="retention"),
        ]

    async def stop(self) -> None:
        """End the background work."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _every(self, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
                self.unheard = None
            except StoreError as error:
                self.unheard = (self._wall_ms() if self.unheard is None else self.unheard[0], error)
                log.debug("store.housekeeping", why=str(error))
            except Exception:  # a defect in one round must not end them all: the store would fill without a word
                log.exception("store.housekeeping")

    async def look(self) -> None:
        """Stop the intake while the store is nearly full or no longer durable, let it go on when that is over.

        Durability is read at every connection; this is for a setting that somebody changes on the running server.
        """
        try:
            await self._store.check_durability()
        except NotDurable as error:
            if self.has_room:
                log.error("store.not_durable", why=str(error), intake="stopped")
            self.has_room = False
            return
        await self.look_at_memory()

    async def look_at_memory(self) -> None:
        """Stop the intake at 85 % of ``maxmemory``, let it go on below."""
        info = await self._store.info("memory")
        limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
        room = limit == 0 or used < FULL * limit
        if room != self.has_room:
            log.warning("store.memory", used_bytes=used, maxmemory_bytes=limit, intake="open" if room else "stopped")
        self.has_room = room

    async def trim(self, settings: StoreSettings) -> int:
        """Remove what retention allows. Returns how many log entries went."""
        retention_ms = int(settings.retention_s * 1000)
        now_ms = self._age_clock.now_ms()
        oldest_ms = now_ms - retention_ms
        seconds, _ = await self._store.call("TIME")
        # The age of what is in quarantine is by the store's clock: it goes when it is old by both.
        oldest_kept_ms = min(now_ms, int(seconds) * 1000) - retention_ms
        removed = 0
        known = await subscribers_of(self._store, self._keys)
        every = {name for names in known for name in names}
        waits_for = await self._wanted.round(every, {name for name in every if self._is_configured(name)})
        self._tell_of_theirs()
        limit_bytes = settings.retention_bytes // len(self._keys)
        for keys, names in zip(self._keys, known, strict=True):
            removed += await self._trim_log(keys, names & waits_for, len(names), oldest_ms, limit_bytes)
            await self._store.call("XTRIM", keys.quarantine, "MINID", max(0, oldest_kept_ms))
        if removed:
            log.info("store.trim", entries=removed)
        return removed

    def _tell_of_theirs(self) -> None:
        """A partition is delivered by one process, to whom that one knows: nobody else would say what is missing."""
        for name in sorted(self._wanted.theirs() - self._told) if self._delivers else ():
            self._told.add(name)
            why = "another gateway on this store has it, this one does not: what this one delivers, it does not get"
            log.warning("store.unknown_subscriber", subscriber=name, why=why)

    async def _trim_log(self, keys: Keys, names: set[str], known: int, oldest_ms: int, limit_bytes: int) -> int:
        wanted = [keys.state, keys.log, keys.subs]
        for name in sorted(names):
            each = keys.subscriber(name)
            wanted += (each.sub, each.parked, each.held, each.dead)
        # What the slowest subscriber has not read is needed: a log it holds back is not read over and over in vain.
        cursors = await self._store.many([("HGET", keys.subscriber(name).sub, "cursor") for name in names])
        last = f"{min(int(cursor or 0) for cursor in cursors)}-0" if cursors else "+"
        page_events = await page_of(self._store, keys, PAGE)
        removed, after = 0, 0
        for _ in range(MAX_PAGES):
            excess = int(await self._store.call("HGET", keys.state, "log_bytes") or 0) - limit_bytes
            page = await self._store.call("XRANGE", keys.log, f"{after + 1}-0", last, "COUNT", page_events)
            seqs = []
            for entry_id, fields in page:
                old = received_ms(fields[1]) < oldest_ms
                if not old and excess <= 0:
                    break
                seqs.append(int(entry_id.partition(b"-")[0]))
                excess -= len(fields[1]) + len(fields[3])
            if not seqs:
                break
            gone = await self._store.script("trim", wanted, [known, *seqs])
            if gone < 0:  # somebody has just subscribed, and may want all there is: the next round knows it
                break
            removed += gone
            after = seqs[-1]
            await asyncio.sleep(0)
        return removed
