"""The spool: takes batches over while the store cannot, on a disk of its own.

While the store is away, loading, full or not durable, the committer hands its batches to the spool instead, and the
provider is answered 200 once they are fsynced here. As long as anything waits here, what comes goes here too, so that
order holds; ``intake/draining.py`` commits it when the store is back, and then the committer goes back to the store.

All writing is done by one thread. What gathers while it waits for the disk goes together with the next fsync.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec
import structlog

from gateway.errors import SpoolError, SpoolRefused, SpoolUnreadable
from gateway.intake.spool_database import Held
from gateway.intake.spool_file import SUFFIX, NewRow, SpoolFile, new_row
from gateway.store.embedded import lasting_folder
from gateway.store.log import Batch

log = structlog.get_logger("gateway.spool")

P = ParamSpec("P")
T = TypeVar("T")

PACE_S = 1.0
"""The longest that a batch waits for the drainer, so that this one catches up."""

PACE_TIMES = 4
"""So many bytes are drained for each that is taken in meanwhile: the backlog shrinks whatever comes, as long as no wait
ends at ``PACE_S``. Where waits do, each partition takes in about a batch in that time, and the backlog shrinks only if
the drainer gets through more than those."""


class Spool:
    """The spool, as one process uses it."""

    def __init__(
        self,
        folder: Path,
        *,
        limit_bytes: int,
        partitions: int = 0,
        make_name: Callable[[], str],
        wall_ms: Callable[[], int],
        has_room: Callable[[], bool],
        replaced: Callable[[], None] = lambda: None,
    ) -> None:
        """``partitions``: how many there are now; ``make_name``: a name that no file of the folder ever had;
        ``has_room``: whether the store may still grow.

        ``replaced`` is called when the file was damaged: from then on batches must come from other committers.
        """
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._partitions = partitions
        self._make_name = make_name
        self._wall_ms = wall_ms
        self._has_room = has_room
        self._replaced = replaced
        self._thread = ThreadPoolExecutor(1, "spool")
        self._coming: list[tuple[NewRow, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self._committers: set[str] = set()
        """Whose batches the file may hold."""
        self._retired: set[str] = set()
        """Whose batches a damaged one may hold."""
        self._progress = asyncio.Event()
        self.file: SpoolFile | None = None
        """This process's own."""
        self.own = Held()
        """What waits in it, what is being written included."""
        self._refused_bytes = 0
        """Of the batch that was refused last, for its size; what is as large would be refused, too."""
        self.elsewhere = Held()
        """What waits in all other files, as far as the drainer has looked."""
        self.must_wait = True
        """Whether other files hold what must be committed first."""
        self.store_is_open = False
        """Whether the store was there once, and is ours."""
        self._ahead_bytes = 0
        """By how much more was drained, since that began, than what was taken in meanwhile asks for."""
        self.is_draining = False
        self.wake = asyncio.Event()
        """Set when there is something to drain."""
        self.broken = ""
        """Why nothing can be written at the moment; empty if it can."""
        self._taken_requests = 0
        """Since the store is away."""
        self._drained_requests = 0
        self._drained_since_ms: int | None = None
        """Since the first was drained of what waits, or waited until now; ``None``: none was."""
        self.away_since_ms: int | None = None
        self.away_why = ""

    async def run(self, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Do what blocks in the spool's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*args, **named))

    async def open(self) -> None:
        """Make this process's file, unless there is one. Where that fails it says so, and is tried again when it is
        needed.
        """
        async with self._opening:
            if self.file is not None:
                return
            try:
                self.file = await self.run(self._make_file)
                self.broken = ""
            except SpoolRefused as error:
                if str(error) != self.broken:
                    log.error("spool.broken", why=str(error))
                self.broken = str(error)

    def _make_file(self) -> SpoolFile:
        try:
            lasting_folder(self.folder)
            self.folder.chmod(0o700)
        except OSError as error:
            raise SpoolRefused(f"cannot use the folder {self.folder}: {error.strerror or error}") from None
        return SpoolFile.create(self.folder / (self._make_name() + SUFFIX), self._partitions)

    @property
    def held(self) -> Held:
        """What waits in all files."""
        return self.own + self.elsewhere

    @property
    def takes(self) -> bool:
        """Whether a request would be taken in now."""
        room = self.held.bytes + max(1, self._refused_bytes) <= self.limit_bytes
        return self.file is not None and not self.broken and room

    @property
    def diverts(self) -> bool:
        """Whether a batch must come here now, and not go to the store."""
        return bool(self.own.rows) or self.must_wait or not self.store_is_open or not self._has_room()

    def opened(self) -> None:
        """The store is there, and ours."""
        self.store_is_open = True
        self.wake.set()

    def lost(self, why: str) -> None:
        """The store cannot be used."""
        self.away_why = why
        self.is_drained()
        if self.away_since_ms is None:
            self.away_since_ms, self._taken_requests = self._wall_ms(), 0
            log.error("spool.takes_over", why=why)

    def found(self) -> None:
        """The store can be used."""
        if self.away_since_ms is not None:
            log.info(
                "spool.store_is_back",
                away_s=(self._wall_ms() - self.away_since_ms) / 1000,
                taken=self._taken_requests,
                **self._numbers(),
            )
        self.away_since_ms, self.away_why = None, ""

    def _numbers(self) -> dict[str, int]:
        return {"requests": self.held.requests, "bytes": self.held.bytes}

    async def put(self, partition: int, committer: str, number: int, batch: Batch) -> None:
        """Keep a batch; it is fsynced when this returns. Raises ``SpoolRefused``: full, or the disk refuses."""
        if self.file is None:
            await self.open()
        if self.file is None:
            raise SpoolRefused(self.broken)
        if committer in self._retired:
            raise SpoolRefused("the file with the batches before it was damaged")
        self._committers.add(committer)
        row = new_row(partition, committer, number, batch, self._wall_ms())
        part = held_of(row)
        if self.held.bytes + part.bytes > self.limit_bytes:
            self._refused_bytes = part.bytes
            raise SpoolRefused(f"the spool holds {self.held.bytes} bytes; spool_bytes allows {self.limit_bytes}")
        self._refused_bytes = 0
        self.own += part
        if self.is_draining:
            self._ahead_bytes -= PACE_TIMES * part.bytes
        done = asyncio.get_running_loop().create_future()
        self._coming.append((row, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="spool")
        await done
        self._taken_requests += row.requests

    async def _write(self) -> None:
        while self._coming:
            file, coming, self._coming = self.file, self._coming, []
            assert file is not None  # put() has seen to it
            try:
                await self.run(file.append, [row for row, _ in coming])
            except Exception as error:  # whatever it is, who waits must hear of it
                # All or none of it is there. A disk may fail when it was done: then it will be drained, and is counted.
                # What was in a file that is no longer ours is not counted any more.
                if not await self._has(file, coming[0][0]) and file is self.file:
                    for row, _ in coming:
                        self.own -= held_of(row)
                for _, done in coming:
                    done.set_exception(SpoolRefused(f"not kept: {error}"))
                if not self.broken:
                    log.error("spool.broken", why=str(error))
                self.broken = str(error)
                if isinstance(error, SpoolUnreadable):
                    await self.replace(file, error)
            else:
                self.broken = ""
                for _, done in coming:
                    done.set_result(None)
                self.wake.set()

    async def _has(self, file: SpoolFile, row: NewRow) -> bool:
        try:
            return await self.run(file.holds, row)
        except SpoolError:
            return False

    async def replace(self, file: SpoolFile, error: SpoolError) -> None:
        """Set this process's own file aside, which is damaged, and go on with another.

        Whoever mends it puts it back, and what was acknowledged is committed: so its committers may commit nothing more
        that is later, or the store would take what is in it for batches that had been in.
        """
        if file is not self.file:
            return  # writer and drainer both found out
        log.error("spool.unreadable", why=str(error))
        self._retired |= self._committers
        self._committers.clear()
        self._replaced()
        for _, done in self._coming:
            done.set_exception(SpoolRefused(f"not kept: {error}"))
        self._coming.clear()
        self.file, self.own = None, Held()
        await self.run(file.give_up)
        await self.open()

    def recounted(self, file: SpoolFile, counted: Held, held: Held) -> None:
        """Believe what a file was found to hold, unless it is being written, or was since it was ``counted``.

        A disk that failed when it was asked may have kept what was not counted, or not what was: after that no batch
        would go to the store again, or one too early.
        """
        is_writing = self._writer is not None and not self._writer.done()
        if file is self.file and counted is self.own and not is_writing:
            self.own = msgspec.structs.replace(held, aside=0, oldest_ms=None)

    def progress(self, size_bytes: int, requests: int = 1) -> None:
        """A batch of this size was committed or put aside, and is no longer counted here."""
        if self._drained_since_ms is None:
            self._drained_since_ms = self._wall_ms()
        self._drained_requests += requests
        # A step of the drainer ends for many at once, and what comes until the next one ends lives on that. When little
        # is left, little may be saved: else there would be something for as long as the savings last.
        self._ahead_bytes = min(self._ahead_bytes + size_bytes, self.own.bytes + self.elsewhere.bytes)
        self.is_draining = True
        self._progress.set()

    async def pace(self) -> None:
        """Wait while the drainer gets ahead, at most ``PACE_S``; returns at once where nothing is drained."""
        try:
            async with asyncio.timeout(PACE_S):
                while self.is_draining and self.diverts and self._ahead_bytes < 0:
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            self._ahead_bytes = 0

    def is_drained(self) -> None:
        """Nothing waits any longer, or it is not to be drained now."""
        self.is_draining, self._ahead_bytes = False, 0
        self._progress.set()

    def emptied(self) -> None:
        """Nothing is left in this process's files, and no others hold what must be committed first: say it once."""
        if self._drained_since_ms is not None:
            took_s = (self._wall_ms() - self._drained_since_ms) / 1000
            log.info("spool.drained", requests=self._drained_requests, took_s=took_s)
        self._drained_requests, self._drained_since_ms = 0, None

    async def close(self) -> None:
        """Let go of the file; what waits in it stays there."""
        if self._writer is not None:
            await self._writer
        if self.file is not None:
            await self.run(close_file, self.file)
        self.file = None
        self._thread.shutdown()


def held_of(row: NewRow) -> Held:
    """What a row is of what the file holds."""
    return Held(rows=1, requests=row.requests, events=row.events, bytes=len(row.payload))


def close_file(file: SpoolFile) -> None:
    """Close a file, and delete it if nothing is in it."""
    try:
        held = file.held()
        empty = not held.rows and not held.aside
    except SpoolError:
        empty = False
    file.close(remove=empty)
