"""The desk: every question an operator can ask, in one place, for the API, the pages and the metrics alike."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Literal

import msgspec

from gateway import problems
from gateway.config import Config
from gateway.errors import StoreError, StoreUnavailable
from gateway.intake.spool_folder import FolderView
from gateway.operate.absence import not_looked_up, store_away
from gateway.operate.audit import Audit
from gateway.operate.auditing import run_audit
from gateway.operate.causes import list_causes
from gateway.operate.changes import Actor, ChangePage, list_changes
from gateway.operate.cursor import read_log_cursor, write_log_cursor
from gateway.operate.dead import list_dead, move_dead
from gateway.operate.deliveries import list_deliveries
from gateway.operate.kept import list_kept
from gateway.operate.masking import mask_event, mask_raw
from gateway.operate.processes import Process
from gateway.operate.refusals import Refused
from gateway.operate.search import Filter, Gap, Order, Result, check_source, find, follow, search, shown
from gateway.operate.sight import Away, Sight, no_others, nothing_spooled, nothing_told
from gateway.operate.states import delivery_states
from gateway.operate.status import read_status
from gateway.operate.trace import trace
from gateway.operate.trace_views import CausePage, DeliveryFilter, DeliveryPage, Trace
from gateway.operate.views import DeadMoved, DeadOrder, DeadPage, EventDetail, EventPage, KeptPage, Status
from gateway.store.connection import Store
from gateway.store.layout import Keys
from gateway.store.ledger import Ledger, make_ledger
from gateway.store.log import PartitionLog
from gateway.store.quarantine import Shelf

MAX_FOLLOWERS = 32

Followed = AsyncGenerator[tuple[str, msgspec.Raw | Gap | None], None]
"""Cursor, and what lies before it: an event, a gap, or nothing but the news that the line still stands."""


class Desk:
    """Answers; changes nothing but by ``move_dead``. Everything raises ``StoreUnavailable`` where the store is away."""

    def __init__(
        self,
        *,
        config: Config,
        store: Store,
        keys: Sequence[Keys],
        logs: Sequence[PartitionLog],
        wall_ms: Callable[[], int],
        here: Callable[[], Process],
        away: Callable[[], Away | None] = lambda: None,
        plight: Callable[[], Awaitable[str]] = nothing_told,
        takes: Callable[[], bool | None] = lambda: None,
        spooled: Callable[..., Awaitable[FolderView]] = nothing_spooled,
        others: Callable[[], Awaitable[tuple[list[Process], list[int]]]] = no_others,
    ) -> None:
        """``here`` and ``others``: what only this process knows, and only the other workers;
        ``away``: since when and why the store is not used; ``plight``: what the machine tells of it then;
        ``takes``: whether the spool would take a request;
        ``spooled``: what is in the spool."""
        self.sight = Sight(
            config=config,
            store=store,
            keys=keys,
            logs=logs,
            wall_ms=wall_ms,
            here=here,
            away=away,
            plight=plight,
            takes=takes,
            spooled=spooled,
            others=others,
        )
        self._closing = asyncio.Event()
        self._followers = 0
        self._status: Status | None = None
        self._status_ms = 0
        self._audit: asyncio.Task[Audit] | None = None

    def close(self) -> None:
        """End what followers are reading, so that a server can stop."""
        self._closing.set()

    async def ledger(self) -> Ledger:
        """The account of this moment."""
        try:
            return make_ledger(await self.sight.accounts(), self.sight.wall_ms())
        except StoreError as error:
            raise await store_away(self.sight, error) from error

    async def status(self, *, max_age_ms: int = 0, within_s: float | None = None) -> Status:
        """Sources, subscribers, store and open problems at a glance. Raises ``StoreAway``.

        With ``max_age_ms`` one that was read so short a time ago will do: many who look then cost as much as one.
        A store that has not told all ``within_s`` counts as away.
        """
        now_ms = self.sight.wall_ms()
        if self._status is None or not 0 <= now_ms - self._status_ms < max_age_ms:
            try:
                async with asyncio.timeout(within_s):
                    self._status, self._status_ms = await read_status(self.sight), now_ms
            except StoreError as error:
                raise await store_away(self.sight, error) from error
            except TimeoutError as error:
                late = StoreUnavailable("the store did not answer")
                late.__cause__ = error
                raise await store_away(self.sight, late) from error
        return self._status

    async def audit(self) -> Audit:
        """Count everything again. Whoever asks while a count is under way gets that one's answer."""
        if self._audit is None or self._audit.done():
            self._audit = asyncio.create_task(run_audit(self.sight), name="audit")
            self._audit.add_done_callback(_look_at)
        return await asyncio.shield(self._audit)

    async def search(self, wanted: Filter, order: Order, after: str | None, limit: int) -> Result:
        """Events of the log. Raises ``Refused`` for a cursor that is none."""
        boundary = None if after is None else read_log_cursor(after, len(self.sight.logs))
        return await search(self.sight, wanted, order, boundary, limit)

    async def events(self, wanted: Filter, order: Order, after: str | None, limit: int, *, raw: bool) -> EventPage:
        """Events of the log as whole canonical events, login credentials masked. Raises ``Refused``."""
        await check_source(self.sight, wanted)
        result = await self.search(wanted, order, after, limit)
        return EventPage(
            items=[shown(found, raw=raw) for found in result.found],
            next=write_log_cursor(result.boundary) if result.more else None,
        )

    async def event(self, name: str) -> EventDetail:
        """One event, by its id or a unique beginning of it. Raises ``Refused``."""
        try:
            found = await find(self.sight, name)
            entry = found.entry
            return EventDetail(
                event=mask_event(msgspec.json.decode(entry.event_json)),
                raw=mask_raw(found.head.type, msgspec.json.decode(entry.raw_json)),
                partition=found.partition,
                sequence=entry.seq,
                deliveries=await delivery_states(self.sight, found),
            )
        except StoreUnavailable as error:
            raise await not_looked_up(self.sight, error) from error

    async def follow(self, wanted: Filter, after: str | None) -> Followed:
        """Events as they come, from a cursor or from now, each with its cursor; ``None`` after a quiet while.

        Raises ``Refused`` where ``after`` is no cursor, or too many follow already, before the first is given.
        """
        if self._followers >= MAX_FOLLOWERS:
            raise Refused(problems.UNAVAILABLE, f"{MAX_FOLLOWERS} follow already; try again when one has gone")
        await check_source(self.sight, wanted)
        logs = self.sight.logs
        boundary = [await log.last() for log in logs] if after is None else read_log_cursor(after, len(logs))
        followed = self._follow(wanted, boundary)
        await anext(followed)  # from here on it counts, and is sure to be taken off the count
        return followed

    async def _follow(self, wanted: Filter, boundary: list[int]) -> Followed:
        self._followers += 1
        try:
            yield write_log_cursor(boundary), None
            async for behind, what in follow(self.sight, boundary, wanted, self._closing):
                yield write_log_cursor(behind), what if what is None or isinstance(what, Gap) else shown(what, raw=True)
        finally:
            self._followers -= 1

    async def trace(self, name: str) -> Trace:
        """One event's life, by its id or a unique beginning of it. Raises ``Refused``."""
        try:
            return await trace(self.sight, name)
        except StoreUnavailable as error:
            raise await not_looked_up(self.sight, error) from error

    async def deliveries(
        self, subscriber: str | None, state: DeliveryFilter | None, after: str | None, limit: int
    ) -> DeliveryPage:
        """Deliveries that are not settled, and dead letters. Raises ``Refused``."""
        return await list_deliveries(self.sight, subscriber, state, after, limit)

    async def causes(self, subscriber: str | None) -> CausePage:
        """Dead letters by cause, the commonest first. Raises ``Refused``."""
        return await list_causes(self.sight, subscriber)

    async def dead(self, subscriber: str | None, cause: str | None, after: str | None, limit: int) -> DeadPage:
        """Dead letters, the latest first. Raises ``Refused``."""
        return await list_dead(self.sight, subscriber, cause, after, limit)

    async def move_dead(self, word: Literal["retry", "drop"], order: DeadOrder, who: Actor) -> DeadMoved:
        """Try dead letters again with a fresh schedule, or give them up. Raises ``Refused``."""
        return await move_dead(self.sight, word, order, who)

    async def changes(self, after: str | None, limit: int) -> ChangePage:
        """Who changed what, the newest first. Raises ``Refused``."""
        return await list_changes(self.sight, after, limit)

    async def kept(self, shelf: Shelf, after: str | None, limit: int) -> KeptPage:
        """Quarantine or the rejected, the newest first. Raises ``Refused``."""
        return await list_kept(self.sight, shelf, after, limit)


def _look_at(task: "asyncio.Task[Audit]") -> None:
    """Whoever asked may have hung up; then nobody else looks at how it ended."""
    if not task.cancelled():
        task.exception()
