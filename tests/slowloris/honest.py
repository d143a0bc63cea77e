"""Honest senders at a steady pace, and how long each waited for its 200."""

import asyncio
import time
from statistics import quantiles

import msgspec

from tests.intake.served import fresh, signed

SENDERS = 8
PER_S = 200.0
PATIENCE_S = 30.0


class Served(msgspec.Struct):
    """What they noticed."""

    took_s: list[float] = []
    refused: int = 0
    """Requests not answered 200."""

    @property
    def p99_s(self) -> float:
        """Of a hundred, the slowest but one."""
        return quantiles(self.took_s, n=100)[98]


async def send(port: int, stop: asyncio.Event) -> Served:
    """Send until told to stop."""
    found = Served()
    async with asyncio.TaskGroup() as group:
        for number in range(SENDERS):
            group.create_task(_sender(port, stop, found, number / PER_S))
    return found


async def _sender(port: int, stop: asyncio.Event, found: Served, offset_s: float) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    due_s = time.monotonic() + offset_s
    try:
        while not stop.is_set():
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
    except (OSError, asyncio.IncompleteReadError, TimeoutError):
        found.refused += 1
    finally:
        writer.transport.abort()
