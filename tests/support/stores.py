"""Store servers for tests: the wheel's Valkey and Debian's Redis, started like a careful operator would, or not."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.config import StoreSettings
from gateway.store.connection import Store
from gateway.store.embedded import server_binary

Kind = Literal["valkey", "redis"]

DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
START_DEADLINE_S = 20.0


def missing(kind: Kind) -> str | None:
    """The name of the binary that is not there, if so."""
    return "redis-server" if kind == "redis" and shutil.which("redis-server") is None else None


class StoreServer:
    """A server process on a directory of its own, listening on a unix socket."""

    def __init__(
        self, kind: Kind, directory: Path, lines: tuple[str, ...], env: Mapping[str, str] | None = None
    ) -> None:
        """``lines``: settings; ``env``: more of its environment."""
        self.kind = kind
        self.directory = directory
        self.lines = lines
        self.env = env or {}
        self.socket = directory / "s"
        self.url = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        process = self.launch()
        deadline_s = time.monotonic() + START_DEADLINE_S
        while True:
            try:
                self.ask("PING")
                return
            except (redis.ConnectionError, redis.BusyLoadingError):
                assert process.poll() is None, (self.directory / "log").read_text("utf-8")
                assert time.monotonic() < deadline_s, "the server does not answer"
                time.sleep(0.005)

    def revive(self) -> None:
        """Start it again if it has ended, or is about to."""
        try:
            self.ask("PING")
        except redis.ConnectionError:
            self.stop()
            self.start()

    def launch(self) -> "subprocess.Popen[bytes]":
        """Start it."""
        binary = server_binary() if self.kind == "valkey" else "redis-server"
        self.process = subprocess.Popen(
            [
                *(binary, "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.directory)),
                *("--save", "", "--daemonize", "no", "--logfile", str(self.directory / "log"), *self.lines),
            ],
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
        return self.process

    def ask(self, *command: Any) -> Any:
        """Run one command, as somebody who is not the gateway."""
        with redis.Redis(unix_socket_path=str(self.socket), retry=Retry(NoBackoff(), 0)) as client:
            return client.execute_command(*command)

    def kill(self) -> None:
        """End it as a crash does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """Let it hang: connections stay, nothing is answered."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.kill()

    @asynccontextmanager
    async def store(self, *, url: str | None = None, **settings: Any) -> AsyncIterator[Store]:
        """A client of it, as the gateway has one."""
        opened = Store(StoreSettings(url=self.url, **settings), url or self.url)
        try:
            yield opened
        finally:
            await opened.close()


@contextmanager
def running(kind: Kind, *lines: str, durable: bool = True) -> Iterator[StoreServer]:
    """A server that has ended, and left nothing, when the block has. ``lines`` are further settings."""
    # Not pytest's directories: a socket's path may have about a hundred bytes.
    with tempfile.TemporaryDirectory(prefix="gateway-store-") as directory:
        server = StoreServer(kind, Path(directory), (*(DURABLE if durable else ()), *lines))
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _end_with_parent() -> None:
    """In the child, before exec: end with the tests, whatever ends them."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    if os.getppid() == 1:
        os._exit(1)
