"""Draining the spool: what waits in it is committed, in the order in which it came, once the store is back.

Each process drains its own file, and orphans: files whose process has ended, for which it has got the lock. Rows go
under the committer and number they came with, so a crash at any moment repeats batches that the store knows
(``lua/commit.lua``). Many go in one step, with one fsync, each only if the one before it is in.

A row that the store will never take, for what it is (``BatchRefused``), is put aside and holds up no other. Whatever
else the store says (no rights, no room, another server) is no row's fault: they wait, and ``status`` says for what.

Order holds among the processes of one folder too, to about a second: nobody drains a row, nor sends a new batch to the
store, while another file of the folder holds a row that is older by more than ``APART_MS``. A file that makes no
progress although the store is there (its process hangs) is waited for no longer than ``PATIENCE_S``.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec
import structlog

from gateway.errors import BatchRefused, SpoolError, SpoolRefused, SpoolUnreadable, StoreError
from gateway.intake.looking import look_at
from gateway.intake.repeating import parts_of_rows, repeat_first
from gateway.intake.spool import Spool, close_file
from gateway.intake.spool_database import Held
from gateway.intake.spool_file import Row, SpoolFile
from gateway.store.log import PartitionLog

log = structlog.get_logger("gateway.spool")

P = ParamSpec("P")
T = TypeVar("T")

LOOK_S = 0.25
"""How often the folder is looked at, and a store that is away asked."""

NEAR_S = 0.02
"""The same while the store is there and only another file's older rows are waited for. The processes take turns of
about ``APART_MS`` of what came, so after a long outage there are many."""

APART_MS = 1_000
EVER_MS = 1 << 62
"""Later than any clock that jumped says."""
PATIENCE_S = 10.0
CHUNK_ROWS = 256
CHUNK_BYTES = 1024 * 1024
"""What is read from a file at once, and committed in one step: other commands wait for some milliseconds."""


class _Mine:
    """A file that this process drains."""

    def __init__(self, file: SpoolFile) -> None:
        self.file = file
        self.done: set[int] = set()
        """Rows that are committed, and not removed yet."""
        self.is_dirty = True
        """Whether rows were removed since it was made small."""
        self.is_stuck = False
        """Whether they could not be removed when that was tried last."""


class _Peer(msgspec.Struct):
    """A file of another process."""

    held: Held
    oldest_ms: int | None
    since_s: float
    """Since when its oldest row is that one, or the store was away."""


class Drainer:
    """Drains; one a process."""

    def __init__(
        self,
        spool: Spool,
        logs: Sequence[PartitionLog],
        *,
        has_room: Callable[[], bool],
        wall_ms: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        """``logs``: one a partition; ``has_room``: whether the store may still grow."""
        self._spool = spool
        self._logs = logs
        self._has_room = has_room
        self._wall_ms = wall_ms
        self._monotonic = monotonic
        self._own: _Mine | None = None
        self._orphans: dict[Path, _Mine] = {}
        self._peers: dict[Path, _Peer] = {}
        self._refused: dict[Path, tuple[float, str]] = {}
        """Orphans that could not be used: when, and why."""
        self._looked_s = float("-inf")
        self._counted_s = float("-inf")
        """When it was last counted what the others hold; the turns between two looks need only their next rows."""
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False
        self.troubles: dict[str, str] = {}
        """Name of a file → why it is not drained."""

    async def start(self) -> None:
        """Look at the folder once, so that what comes now does not overtake what lies there; then drain."""
        await self._look()
        self._task = asyncio.create_task(self._drain_forever(), name="drainer")

    async def stop(self) -> None:
        """End. What is not drained stays where it is."""
        self._is_stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        for orphan in self._orphans.values():
            if orphan.done:  # the end of the last round was cut off
                await self._remove(orphan)
            await self._spool.run(close_file, orphan.file)

    async def _drain_forever(self) -> None:
        while not self._is_stopping:  # an error at the end of a round hides that it was cancelled
            self._spool.wake.clear()
            try:
                await self._round()
            except SpoolError as error:
                log.error("spool.drain", why=str(error))
            except Exception as error:  # a defect in one round must not leave what waits here for ever
                log.exception("spool.drain")
                self._spool.lost(f"the spool cannot be drained: {error!r}")
            try:
                async with asyncio.timeout(NEAR_S if self._takes_turns() else LOOK_S):
                    await self._spool.wake.wait()
            except TimeoutError:
                pass

    def _takes_turns(self) -> bool:
        """Whether the store is there, and others go first."""
        spool = self._spool
        return spool.diverts and spool.store_is_open and spool.away_since_ms is None and self._has_room()

    async def _round(self) -> None:
        spool = self._spool
        await self._look()
        try:
            while spool.store_is_open and self._has_room():
                if not await self._drain_some():
                    await self._finish()
                    return
                if self._monotonic() - self._looked_s > LOOK_S:
                    await self._look()
        except StoreError as error:
            spool.lost(str(error))
            await asyncio.sleep(LOOK_S / 2)
        finally:  # whatever ended it, no batch waits for us now, and no other process for what is committed
            spool.is_drained()
            await self._remove_done()

    async def _drain_some(self) -> bool:
        """Commit the oldest rows there are, of one file; whether there may be more. Raises ``StoreError``."""
        chosen: tuple[int, _Mine] | None = None
        others = [ms for peer in self._peers.values() if (ms := self._horizon(peer)) is not None]
        for held in self._mine():
            oldest_ms = await self._ask(held, held.file.oldest_ms, held.done)
            if oldest_ms is None:
                continue
            if chosen is None or oldest_ms < chosen[0]:
                others += [chosen[0]] if chosen else []
                chosen = (oldest_ms, held)
            else:
                others.append(oldest_ms)
        if chosen is None:
            return False
        until_ms = min(others, default=EVER_MS) + APART_MS
        read = await self._ask(chosen[1], chosen[1].file.read, chosen[1].done, until_ms, CHUNK_ROWS, CHUNK_BYTES)
        if read is None:
            return True
        rows, damaged = read
        if damaged.rows:
            log.error("spool.put_aside", file=chosen[1].file.path.name, batches=damaged.rows, why="they are damaged")
            self._no_longer_waits(chosen[1], damaged)
        if not rows:
            return bool(damaged.rows)
        partitions: dict[int, list[Row]] = {}
        for row in rows:
            partitions.setdefault(row.partition, []).append(row)
        ends = await asyncio.gather(
            *[self._commit(chosen[1], each) for each in partitions.values()],
            self._remove_meanwhile(chosen[1]),
        )
        failed = [end for end in ends if end is not None]
        if all(isinstance(end, SpoolError) for end in failed):  # the store has answered
            self._spool.found()
        if failed:
            raise failed[0]
        return True

    async def _ask(self, held: _Mine, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T | None:
        """Ask a file; ``None`` if it was damaged: then it is set aside. So is, for a while, an orphan that the disk
        refuses: it must not hold up all others. Raises ``SpoolRefused`` where it is our own.
        """
        try:
            return await self._spool.run(work, *args, **named)
        except SpoolUnreadable as error:
            if held.file is self._spool.file:
                await self._spool.replace(held.file, error)
            elif self._orphans.pop(held.file.path, None) is not None:
                log.error("spool.unreadable", why=str(error))
                await self._spool.run(held.file.give_up)
            return None
        except SpoolRefused as error:
            if self._orphans.pop(held.file.path, None) is None:
                raise
            self._refused[held.file.path] = (self._monotonic(), str(error))
            await self._spool.run(held.file.close)
            return None

    def _has(self, held: _Mine) -> bool:
        """Whether we still have a file; ``_ask`` lets go of those that it cannot ask."""
        return held.file is self._spool.file or self._orphans.get(held.file.path) is held

    def _no_longer_waits(self, held: _Mine, part: Held) -> None:
        if held.file is self._spool.file:
            self._spool.own -= part

    async def _commit(self, held: _Mine, rows: list[Row]) -> Exception | None:
        """Commit rows of one partition in their order; what ended it before the last of them.

        Nothing is raised: it would leave the other partitions to go on alone.
        """
        try:
            parts = parts_of_rows(rows, held.file.partitions, len(self._logs))
            while rows:
                number_in, why_not = await repeat_first(self._logs, rows, parts)
                for row in rows[:number_in]:
                    held.done.add(row.id)
                    self._passed(held, row)
                rows = rows[number_in:]
                if isinstance(why_not, BatchRefused):
                    # It must be out of the way before the next one gets in: then its number would say that it was.
                    row, *rows = rows
                    await self._ask(held, held.file.put_aside, row.id, f"the store does not take it: {why_not}")
                    if not self._has(held):
                        return None  # what is done is still in it, and will be repeated, which changes nothing
                    log.error("spool.put_aside", file=held.file.path.name, batch=row.id, why=str(why_not))
                    self._passed(held, row)
                elif why_not is not None:
                    return why_not
        except Exception as error:
            return error
        return None

    def _passed(self, held: _Mine, row: Row) -> None:
        self._no_longer_waits(held, row.held)
        self._spool.progress(row.held.bytes, row.held.requests)

    async def _remove_meanwhile(self, held: _Mine) -> Exception | None:
        """Remove what the step before has committed, while this one waits for the store; what went wrong."""
        try:
            if held.done:
                await self._remove(held)
        except Exception as error:  # a defect; raised, it would leave the commits to go on alone
            return error
        return None

    async def _remove_done(self) -> None:
        for mine in self._mine():
            if mine.done:
                await self._remove(mine)

    async def _remove(self, held: _Mine) -> None:
        """Remove what is committed, if the disk lets us. Else it is tried again, and by an heir it would be repeated,
        which changes nothing. Of a damaged file, what can be read is drained before.
        """
        done = frozenset(held.done)
        try:
            await self._spool.run(held.file.remove, done)
        except SpoolError as error:
            if not held.is_stuck and self._has(held):  # it is tried many times a second; the writer may replace a file
                log.warning("spool.not_removed", file=held.file.path.name, why=str(error))
            held.is_stuck = True
        else:
            held.done -= done
            held.is_dirty, held.is_stuck = True, False

    async def _finish(self) -> None:
        """Nothing waits in our files, or only what must wait for others. Raises ``StoreError``."""
        spool = self._spool
        await self._remove_done()
        if spool.away_since_ms is not None:
            await self._logs[0].last()  # the spool may have had no room for what would have asked it
            spool.found()
        for path, orphan in list(self._orphans.items()):
            held = await self._ask(orphan, orphan.file.held)
            if held is not None and not held.aside and not await self._waits(orphan) and self._has(orphan):
                del self._orphans[path]  # also with committed rows in it: a full disk lets none go, but the whole file
                await spool.run(orphan.file.close, remove=True)
                log.info("spool.orphan_drained", file=path.name)
        await self._sum_up()
        own = self._own
        if own is not None and spool.own.rows and not own.done:  # some wait for others; or the count went wrong
            counted = spool.own
            found = await self._ask(own, own.file.held)
            if found is not None:
                spool.recounted(own.file, counted, found)
        if own is not None and own.is_dirty and not spool.own.rows and not own.done:
            own.is_dirty = False
            await self._ask(own, own.file.shrink)
        if not spool.diverts:
            spool.is_drained()
            if not any(mine.done for mine in self._mine()):
                spool.emptied()

    def _mine(self) -> list[_Mine]:
        file = self._spool.file
        if file is None:
            self._own = None
        elif self._own is None or self._own.file is not file:
            self._own = _Mine(file)
        return [*([self._own] if self._own else []), *self._orphans.values()]

    async def _look(self) -> None:
        """Adopt what has become an orphan, and see how far the others are."""
        self._looked_s = self._monotonic()
        counted = {path: peer.held for path, peer in self._peers.items()}
        if self._looked_s - self._counted_s >= LOOK_S:
            self._counted_s, counted = self._looked_s, {}
        self._refused = {
            path: (since_s, why)
            for path, (since_s, why) in self._refused.items()
            if self._looked_s - since_s < PATIENCE_S
        }
        found = await self._spool.run(
            look_at,
            self._spool.folder,
            ours={mine.file.path for mine in self._mine()},
            refused={path: why for path, (_, why) in self._refused.items()},
            counted=counted,
        )
        for orphan in found.orphans:
            log.info("spool.orphan", file=orphan.path.name)
            self._orphans[orphan.path] = _Mine(orphan)
        store_is_there = self._spool.away_since_ms is None and self._spool.store_is_open and self._has_room()
        for path, held in found.peers.items():
            known = self._peers.get(path)
            if known is None or known.oldest_ms != held.oldest_ms or not store_is_there:
                found_since_s = self._looked_s
            else:
                found_since_s = known.since_s
            self._peers[path] = _Peer(held, held.oldest_ms, found_since_s)
        for path in self._peers.keys() - found.peers.keys():
            del self._peers[path]
        for name, why in found.troubles.items():
            if self.troubles.get(name) != why:
                log.error("spool.not_drained", file=name, why=why)
        self.troubles = found.troubles
        await self._sum_up()

    async def _sum_up(self) -> None:
        spool = self._spool
        elsewhere = Held()
        waits = False
        for orphan in list(self._orphans.values()):
            held = await self._ask(orphan, orphan.file.held)
            if held is not None:
                waits = waits or await self._waits(orphan)
                elsewhere += held
        for peer in self._peers.values():
            elsewhere += peer.held
            oldest_ms = self._horizon(peer)
            waits = waits or (oldest_ms is not None and oldest_ms < self._wall_ms() - APART_MS)
        spool.elsewhere, spool.must_wait = elsewhere, waits

    async def _waits(self, orphan: _Mine) -> bool:
        """Whether any row in it is still to be committed. By their ids: of a removal that failed some may be gone."""
        return await self._ask(orphan, orphan.file.oldest_ms, orphan.done) is not None

    def _horizon(self, peer: _Peer) -> int | None:
        """When the oldest row of another process's file came that ours must let go first."""
        return None if self._looked_s - peer.since_s > PATIENCE_S else peer.oldest_ms
