"""The subscribers: HTTP servers that remember what they took and when, and sometimes refuse."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from tests.crashes.verdict import Delivered

Mood = Literal["good", "busy", "refusing", "hanging", "resetting", "breaking off", "redirecting"]
"""What it does with an event, but for those it refuses by chance. Whoever does not answer 2xx has not taken it."""

OK = b"HTTP/1.1 204 No Content\r\n\r\n"
REFUSED = b"HTTP/1.1 422 Unprocessable Entity\r\ncontent-length: 0\r\n\r\n"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
ELSEWHERE = b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n"
HALF = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc"


class Subscriber:
    """One of them."""

    def __init__(self, failing: float, chance: random.Random) -> None:
        """``failing`` is the part of all attempts that is answered 503; it may be changed."""
        self.failing = failing
        self._chance = chance
        self.port = 0
        self.delivered: list[Delivered] = []
        self.refused = 0
        self.mood: Mood = "good"
        self.replayed = 0
        """Deliberate repetitions that it took."""

    def answer(self, event_id: str, *, replay: bool = False) -> bytes | None:
        """Take an event, or not; ``None``: say nothing."""
        if self.mood != "good" or (self.failing and self._chance.random() < self.failing):
            self.refused += 1
            if self.mood == "hanging":
                return None
            others = {"refusing": REFUSED, "redirecting": ELSEWHERE, "resetting": b"", "breaking off": HALF}
            return others.get(self.mood, BUSY)
        if replay:
            self.replayed += 1
        else:
            self.delivered.append(Delivered(time.monotonic(), event_id))
        return OK


class _Connection(asyncio.Protocol):
    def __init__(self, subscriber: Subscriber, open_ones: "set[asyncio.Transport]") -> None:
        self._subscriber = subscriber
        self._open = open_ones
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._open.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower() + b"\r\n"
            length = int(_header(head, b"content-length"))
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            replay = b"\r\ngateway-replay:" in head
            answer = self._subscriber.answer(_header(head, b"webhook-id").decode(), replay=replay)
            if answer is not None:
                self._transport.write(answer)
            if answer in (b"", HALF):
                self._transport.abort()
                return


def _header(head: bytes, name: bytes) -> bytes:
    return head.split(b"\r\n" + name + b":", 1)[1].split(b"\r\n", 1)[0].strip()


@asynccontextmanager
async def subscribing(subscriber: Subscriber) -> AsyncIterator[Subscriber]:
    """Serve on a free port until the block ends."""
    open_ones: set[asyncio.Transport] = set()
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(subscriber, open_ones), "127.0.0.1", 0, backlog=512
    )
    subscriber.port = server.sockets[0].getsockname()[1]
    try:
        yield subscriber
    finally:
        server.close()
        for transport in list(open_ones):
            transport.abort()
        await server.wait_closed()
