"""Honest senders at a steady pace, and how long each waited for its 200.

``python -m tests.slowloris.honest PORT``: a process of its own, so that nothing else that is measured keeps it from its
clock. (Counting a gateway's 4,000 open files took 7 ms, five times a second: seen from the same process, that was the
p99.) It says ``ready``; every line it is given from then on ends a lap, and it prints, as JSON, what was noticed in it.
"""

import asyncio
import contextlib
import gc
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable
from statistics import quantiles

import msgspec

from tests.intake.served import fresh, signed

SENDERS = 8
PER_S = 200.0
PATIENCE_S = 30.0
LAP_BYTES = 16 * 1024 * 1024
"""A lap's times in one line."""


class Served(msgspec.Struct):
    """What they noticed."""

    took_s: list[float] = []
    refused: int = 0
    """Requests not answered 200."""

    @property
    def p99_s(self) -> float:
        """Of a hundred, the slowest but one."""
        return quantiles(self.took_s, n=100)[98]


class Honest:
    """The process, as the one who started it sees it."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child

    async def beside(self, work: Awaitable[None]) -> Served:
        """What they notice while something else goes on."""
        await self._lap()
        await work
        return await self._lap()

    async def _lap(self) -> Served:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(b"\n")
        async with asyncio.timeout(PATIENCE_S):
            return msgspec.json.decode(await self._child.stdout.readline(), type=Served)


@contextlib.asynccontextmanager
async def honest(port: int) -> AsyncIterator[Honest]:
    """Honest senders at work; they end with the block."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.slowloris.honest", f"{port}", stdin=PIPE, stdout=PIPE, limit=LAP_BYTES
    )
    try:
        assert child.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            said = await child.stdout.readline()
        assert said == b"ready\n", "honest senders could not begin"
        yield Honest(child)
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


async def send(port: int) -> None:
    """Send until standard input ends; a lap for each of its lines."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    found = Served()
    senders = [asyncio.create_task(_sender(port, found, number / PER_S)) for number in range(SENDERS)]
    print("ready", flush=True)
    while await lines.readline():
        print(msgspec.json.encode(found).decode(), flush=True)
        found.took_s, found.refused = [], 0
    for sender in senders:
        sender.cancel()
    await asyncio.gather(*senders, return_exceptions=True)


async def _sender(port: int, found: Served, offset_s: float) -> None:
    while True:  # who loses the connection comes again
        writer: asyncio.StreamWriter | None = None
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await _send_on(reader, writer, found, time.monotonic() + offset_s)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            found.refused += 1
            await asyncio.sleep(SENDERS / PER_S)
        finally:
            if writer is not None:
                writer.transport.abort()


async def _send_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, found: Served, due_s: float) -> None:
    while True:
        due_s = max(due_s + SENDERS / PER_S, time.monotonic() - 1)
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        body = fresh()
        proof = str(signed(body)["x-enviaai-signature"]).encode()
        head = b"POST /in/honest HTTP/1.1\r\nhost: x\r\nx-enviaai-signature: %b\r\ncontent-length: %d\r\n\r\n"
        began_s = time.monotonic()
        writer.write(head % (proof, len(body)) + body)
        async with asyncio.timeout(PATIENCE_S):
            answer = await reader.readuntil(b"}]}")
        found.took_s.append(time.monotonic() - began_s)
        found.refused += not answer.startswith(b"HTTP/1.1 200")


if __name__ == "__main__":
    gc.collect()
    gc.freeze()  # the collector's look at what has been imported would be a pause that nobody but us makes
    asyncio.run(send(int(sys.argv[1])))
