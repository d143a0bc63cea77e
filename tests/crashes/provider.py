"""The provider: sends at a rate, sends again whatever was not answered 200, and knows what was answered."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import time
from collections import deque
from collections.abc import Callable

import msgspec

from adapters.contract import Request, Source
from adapters.enviaai import ADAPTER
from gateway.intake.pipeline import Events, receive

SOURCE = Source(name="enviaai-br", secrets=(b"the-secret-of-the-crashing-provider",))
CASE = "message.received__documented"
CONNECTIONS = 64
ANSWER_S = 10.0
PATIENCE_S = 0.5
"""So much of the rate may wait for its 200 before new requests are held back."""
STEP_S = 0.005


class Message(msgspec.Struct, frozen=True):
    """One request, ready to be sent again and again."""

    event_id: str
    wire: bytes


class Provider:
    """Sends to wherever ``port`` says the gateway is (``None``: nowhere now)."""

    def __init__(
        self,
        *,
        rate: float,
        first: int,
        port: Callable[[], int | None],
        make: "Callable[[int], Message] | None" = None,
        heard: Callable[[float, str], None] = lambda _sent_s, _status: None,
    ) -> None:
        """``make`` makes the messages, else ``make_message``; ``heard`` is told of each 200: when its request was sent,
        and the event's status."""
        self._make_message = make or make_message
        self._heard = heard
        self._rate = rate
        self._next = first
        self._port = port
        self._again: deque[Message] = deque()
        self._stopping = False
        self.messages: dict[str, Message] = {}
        """Everything ever made, by event id."""
        self.acknowledged: dict[str, list[str]] = {}
        """Event id → the statuses it was answered with."""
        self.refused = 0
        """Answers other than 200, and connections that ended without one."""
        self._fresh: deque[Message] = deque()
        self._workers: list[asyncio.Task[None]] = []
        self._maker: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to send."""
        self._maker = asyncio.create_task(self._make(), name="maker")
        self._workers = [asyncio.create_task(self._work(), name="provider") for _ in range(CONNECTIONS)]

    async def stop(self, within_s: float) -> None:
        """Make no new requests, and go on until every one is acknowledged, or the time is over."""
        self._stopping = True
        if self._maker is not None:
            await self._maker
        _, pending = await asyncio.wait(self._workers, timeout=within_s)
        for worker in pending:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    @property
    def waiting(self) -> int:
        """Requests that are not acknowledged yet."""
        return len(self.messages) - len(self.acknowledged)

    async def resend(self, event_ids: list[str]) -> list[str]:
        """Send acknowledged ones once more; the status of each."""
        found = []
        link = _Link()
        for event_id in event_ids:
            port = self._port()
            assert port is not None
            status, body = await link.ask(port, self.messages[event_id].wire)
            found.append(json.loads(body)["status"] if status == 200 else str(status))
        link.close()
        return found

    async def _work(self) -> None:
        link = _Link()
        try:
            while True:
                port = self._port()
                message = self._take() if port is not None else None
                if port is None or message is None:
                    if self._stopping and not self.waiting:
                        return
                    await asyncio.sleep(0.005)
                    continue
                sent_s = time.monotonic()
                try:
                    async with asyncio.timeout(ANSWER_S):
                        status, body = await link.ask(port, message.wire)
                except (OSError, asyncio.IncompleteReadError, TimeoutError):
                    link.close()
                    status, body = 0, b""
                if status == 200:
                    (event,) = json.loads(body)["events"]
                    assert event["id"] == message.event_id
                    self.acknowledged.setdefault(message.event_id, []).append(event["status"])
                    self._heard(sent_s, event["status"])
                else:
                    self.refused += 1
                    await asyncio.sleep(0.02)
                    self._again.append(message)
        finally:
            link.close()

    async def _make(self) -> None:
        """Make requests at the rate, whether the gateway is there or not, as long as not too many wait."""
        due, before_s = 0.0, time.monotonic()
        while not self._stopping:
            await asyncio.sleep(STEP_S)
            now_s = time.monotonic()
            due += (now_s - before_s) * self._rate
            before_s = now_s
            due = min(due, self._rate * PATIENCE_S - self.waiting)
            while due >= 1:
                due -= 1
                message = self._make_message(self._next)
                self._next += 1
                self.messages[message.event_id] = message
                self._fresh.append(message)

    def _take(self) -> Message | None:
        """What to send now: first what was not answered."""
        queue = self._again or self._fresh
        return queue.popleft() if queue else None


def make_message(number: int) -> Message:
    """A signed request, another for every number."""
    body = ADAPTER.sample(CASE, number)
    signature = hmac.digest(SOURCE.secrets[0], body, hashlib.sha256).hex()
    header = b"sha256=" + signature.encode()
    outcome = receive(Request(((b"x-enviaai-signature", header),), body), SOURCE, ADAPTER, {}, 0)
    assert isinstance(outcome, Events)
    head = f"POST /in/{SOURCE.name} HTTP/1.1\r\nhost: gateway\r\ncontent-length: {len(body)}\r\nx-enviaai-signature: "
    return Message(outcome.events[0].event.id, head.encode() + header + b"\r\n\r\n" + body)


class _Link:
    """A connection to the gateway, made anew when that moved."""

    def __init__(self) -> None:
        self._port = 0
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, port: int, wire: bytes) -> tuple[int, bytes]:
        """Send a request; status and body of its answer."""
        # One that was closed while nothing was under way on it refuses nobody: any client with a pool looks first.
        is_closed = self._reader is None or self._reader.at_eof()
        if self._writer is None or is_closed or port != self._port:
            self.close()
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
            self._port = port
        assert self._reader is not None
        self._writer.write(wire)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
        body = await self._reader.readexactly(length)
        if b"connection: close" in head:
            self.close()
        return int(head.split(b" ", 2)[1]), body

    def close(self) -> None:
        """Let go of the connection."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.transport.abort()
        self._reader = self._writer = None
