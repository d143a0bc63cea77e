"""Child processes that speak in JSON lines and leave when their standard input closes."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import msgspec

STOP_WITHIN_S = 20.0
"""How long a child may take to leave before it is killed: longer than the gateway's own promise of 15 s."""
_TAIL_LINES = 12
_LINE_BYTES = 4 * 1024 * 1024


class Failed(Exception):
    """A child did not start, or ended before its time. The message shows its last words."""


class Child:
    """One process, started by ``start``. ``lines`` are its standard output; its standard error goes to ``log``."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self.process = process
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        # Always read, whether or not anybody listens: a child that writes into a full pipe would never get to leave.
        self._pump = asyncio.create_task(self._read())

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.returncode is None

    async def lines(self) -> AsyncIterator[bytes]:
        """Its standard output, line by line, until it closes. For one reader."""
        while line := await self._lines.get():
            yield line

    async def first(self, timeout_s: float) -> bytes:
        """Its next line that is a JSON object. Raises ``Failed`` if it ends, or says nothing in time."""
        try:
            async with asyncio.timeout(timeout_s):
                async for line in self.lines():
                    if line.startswith(b"{"):
                        return line
                await self.process.wait()
        except TimeoutError:
            raise Failed(self.words(f"said nothing for {timeout_s:g} s")) from None
        raise Failed(self.words(f"ended with exit code {self.process.returncode}"))

    def words(self, what: str) -> str:
        """A sentence about this child and the last lines it wrote on standard error."""
        try:
            tail = self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        except OSError:
            tail = []
        said = "\n".join(f"  | {line}" for line in tail) or "  | (it wrote nothing)"
        return f"the {self.name} {what}; its last lines:\n{said}"

    async def stop(self, timeout_s: float = STOP_WITHIN_S) -> bool:
        """Close its standard input and wait; kill it if it stays. Whether it left by itself."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            async with asyncio.timeout(timeout_s):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            return False
        finally:
            self._pump.cancel()
        return True

    async def _read(self) -> None:
        assert self.process.stdout is not None
        try:
            async for line in self.process.stdout:
                self._lines.put_nowait(line)
        finally:
            self._lines.put_nowait(b"")


async def start(
    name: str,
    command: Sequence[str],
    log: Path,
    *,
    instructions: msgspec.Struct | None = None,
    environment: Mapping[str, str | None] | None = None,
) -> Child:
    """Start a process in a session of its own (the terminal's Ctrl-C is ours to hear) and tell it what to do.

    ``environment`` is laid over our own; ``None`` takes a variable away. Raises ``Failed`` if it ends at once.
    """
    merged = {**os.environ, **(environment or {})}
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env={name: value for name, value in merged.items() if value is not None},
            start_new_session=True,
            limit=_LINE_BYTES,
        )
    child = Child(name, process, log)
    if instructions is not None:
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(instructions) + b"\n")
        try:
            await process.stdin.drain()
        except ConnectionError:
            await process.wait()
            raise Failed(child.words(f"ended with exit code {process.returncode}")) from None
    return child


def python_module(module: str, *arguments: str) -> list[str]:
    """The command that runs ``module`` with our own interpreter; ``-P``: not from whatever folder we stand in."""
    return [sys.executable, "-P", "-m", module, *arguments]


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._started_s = time.monotonic()

    def __call__(self) -> float:
        return time.monotonic() - self._started_s
