"""The parent of several workers: starts them, watches them, replaces them, and ends after them.

It runs the embedded store, so that a worker's end is not the store's. It answers no request and knows nothing of them;
whatever happens to it, the workers notice (``child.py``), and what was acknowledged is on disk.
"""

import asyncio
import contextlib
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import structlog

from gateway.config import Config
from gateway.store.embedded import EmbeddedStore
from gateway.workers.early import Early

log = structlog.get_logger("gateway.workers")

STOP_S = 10.0
"""How long workers may take to stop; with the store after them the parent is gone 15 s after a SIGTERM."""

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 30.0
"""Before a worker that ended is started again: each time twice as long, until one has lived for ``LIVED_S``."""
LIVED_S = 60.0

READY_S = 60.0
"""How long one that takes another's place may take to serve: a start waits for a store for 10 s, and says so itself."""


class WorkerFailed(Exception):
    """A worker cannot serve. It has said why; ``code`` is its exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"a worker ended with exit code {code}")
        self.code = code


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker must know to begin."""

    config_path: str
    role: str
    socket_fd: int
    worker: int
    workers: int
    folder: str


class Worker:
    """One process."""

    def __init__(self, number: int, process: asyncio.subprocess.Process) -> None:
        self.number = number
        self.process = process
        self.said: dict[str, Any] = {}
        """What it said when it served; empty before."""
        self.serves = False
        self._is_to_reload = False
        self.since_s = asyncio.get_running_loop().time()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    async def ready(self) -> bool:
        """Wait until it serves; ``False`` if it ended before."""
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if line:
            self.said = msgspec.json.decode(line)
            self.serves = True
            if self._is_to_reload:
                self.reload()
        return bool(line)

    async def ready_in_time(self) -> bool:
        """The same, but one that hangs is ended after ``READY_S``."""
        try:
            async with asyncio.timeout(READY_S):
                return await self.ready()
        except TimeoutError:
            log.error("workers.killed", worker=self.number, pid=self.pid, why=f"it did not serve within {READY_S:g} s")
            self.tell(signal.SIGKILL)
            return False

    def reload(self) -> None:
        """Have it read the configuration again, as soon as it listens: before that the signal would be its end."""
        self._is_to_reload = not self.serves
        if self.serves:
            self.tell(signal.SIGHUP)

    def tell(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    async def end(self, within_s: float) -> None:
        """SIGTERM, and SIGKILL for one that stays."""
        self.tell(signal.SIGTERM)
        try:
            async with asyncio.timeout(within_s):
                await self.process.wait()
        except TimeoutError:
            log.error("workers.killed", worker=self.number, pid=self.pid, why=f"it did not end within {within_s:g} s")
            self.tell(signal.SIGKILL)
            await self.process.wait()


class Parent:
    """All workers of one gateway."""

    def __init__(self, config: Config, role: str, bound: socket.socket, workers: int) -> None:
        """``bound`` listens already."""
        self._config = config
        self._role = role
        self._bound = bound
        self._workers = workers
        self._store = EmbeddedStore(config.store) if config.store.data_dir else None
        self._folder = Path()
        self._serving: list[Worker] = []
        """By number, the one that serves or is to serve."""
        self._started: list[Worker] = []
        """All that may not have ended, those that are on their way out included."""
        self._changing = [asyncio.Lock() for _ in range(workers)]
        self._started_all = asyncio.Event()
        """Set once each worker has served."""
        self._is_to_roll = False
        self._rolling: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopping = asyncio.Event()

    async def run(self, early: Early, ready: Callable[[list[dict[str, Any]]], None]) -> None:
        """Run until a signal. ``ready`` is given what each worker said once all serve.

        Raises ``StoreUnavailable`` and ``WorkerFailed``.
        """
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, self._stopping.set)
        early.act(stop=self._stopping.set, reload=self._reload, roll=self._roll)
        self._folder = Path(tempfile.mkdtemp(prefix="gateway-workers-"))
        stop = self._task(self._stopping.wait())
        try:
            await _first(self._task(self._work(ready)), stop)
        finally:
            self._stopping.set()
            await self._end()

    async def _work(self, ready: Callable[[list[dict[str, Any]]], None]) -> None:
        store = self._task(self._store.start()) if self._store is not None else None
        if store is not None and not self._config.store.spool:
            await store  # else the workers take requests while it loads
        self._serving = [await self._spawn(number) for number in range(self._workers)]
        keeping = [self._task(self._keep(number)) for number in range(self._workers)]
        await asyncio.gather(self._task(self._announce(ready)), *keeping, *([store] if store is not None else []))

    async def _spawn(self, number: int) -> Worker:
        orders = Orders(
            config_path=str(self._config.path),
            role=self._role,
            socket_fd=self._bound.fileno(),
            worker=number,
            workers=self._workers,
            folder=str(self._folder),
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "gateway.workers.child"),
            stdin=asyncio.subprocess.PIPE,  # closes when we end, however we end
            stdout=asyncio.subprocess.PIPE,
            pass_fds=(self._bound.fileno(),),
            start_new_session=True,  # a terminal's Ctrl-C is for the parent, which tells the workers
        )
        worker = Worker(number, process)
        self._started = [worker, *[each for each in self._started if each.process.returncode is None]]
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(orders) + b"\n")
        return worker

    async def _announce(self, ready: Callable[[list[dict[str, Any]]], None]) -> None:
        await self._started_all.wait()
        ready([worker.said for worker in self._serving])
        if self._is_to_roll:
            self._roll()

    async def _keep(self, number: int) -> None:
        """Start a worker again when it ends by itself.

        Raises ``WorkerFailed`` for one that gives up while the gateway starts: the next would, too. A killed one says
        nothing about the next.
        """
        pause_s = FIRST_PAUSE_S
        while True:
            worker = self._serving[number]
            if not worker.serves and await self._ready(worker):
                log.info("workers.started", worker=number, pid=worker.pid)
                if all(each.serves for each in self._serving):
                    self._started_all.set()
            code = await worker.process.wait()
            async with self._changing[number]:
                if self._serving[number] is not worker:
                    continue  # replaced on purpose
                if code > 0 and not self._started_all.is_set() and not worker.serves:
                    raise WorkerFailed(code)
                lived_s = asyncio.get_running_loop().time() - worker.since_s
                pause_s = FIRST_PAUSE_S if lived_s >= LIVED_S else pause_s
                log.error("workers.ended", worker=number, pid=worker.pid, code=code, starts_again_in_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                try:
                    successor = await self._spawn(number)
                except OSError as error:  # no memory for one more: the others serve on, and it is tried again
                    log.error("workers.not_started", worker=number, why=str(error))
                    continue
                self._serving[number] = successor

    async def _ready(self, worker: Worker) -> bool:
        # A first start may bring the store to another format, however long that takes.
        return await (worker.ready_in_time() if self._started_all.is_set() else worker.ready())

    def _reload(self) -> None:
        if not self._stopping.is_set():
            for worker in self._started:
                worker.reload()

    def _roll(self) -> None:
        if self._stopping.is_set():
            return  # there is no socket any more to give to new ones
        if not self._started_all.is_set():
            self._is_to_roll = True
        elif self._rolling is None or self._rolling.done():
            self._rolling = self._task(self._replace_all())
        else:
            log.warning("workers.no_roll", why="the workers are being replaced already")

    async def _replace_all(self) -> None:
        """Replace one worker after the other; each new one serves before the old one stops."""
        for number in range(len(self._serving)):
            async with self._changing[number]:
                old = self._serving[number]
                try:
                    new = await self._spawn(number)
                except OSError as error:
                    log.error("workers.not_replaced", worker=number, pid=old.pid, why=str(error))
                    return
                if not await new.ready_in_time():
                    code = await new.process.wait()
                    log.error("workers.not_replaced", worker=number, pid=old.pid, code=code, why="the new one ended")
                    return
                self._serving[number] = new
                await old.end(STOP_S)
                log.info("workers.replaced", worker=number, pid=new.pid, before=old.pid)
        log.info("workers.rolled", workers=len(self._serving))

    async def _end(self) -> None:
        self._bound.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*[worker.end(STOP_S) for worker in self._started])
        if self._store is not None:
            await self._store.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _task(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _first(*tasks: "asyncio.Task[Any]") -> None:
    """Wait for the first to end; raise what it raised."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def run(
    config: Config,
    role: str,
    bound: socket.socket,
    workers: int,
    early: Early,
    ready: Callable[[list[dict[str, Any]]], None],
) -> None:
    """Run a gateway of so many workers until a signal. Raises ``StoreUnavailable`` and ``WorkerFailed``."""
    await Parent(config, role, bound, workers).run(early, ready)
