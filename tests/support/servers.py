"""Small servers on the loopback address that behave exactly as badly as a test says."""

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Received:
    """One HTTP request, as it came."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self.head = head
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = lines[0].split(" ")
        self.pairs = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        self.headers = dict(self.pairs)
        self.body = body


class Connection:
    """One accepted connection, from the server's side."""

    def __init__(self, server: "Server", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer

    async def request(self) -> Received:
        """Read one request. Raises ``IncompleteReadError`` when the client has no more."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = await self._reader.readexactly(int(length[1])) if length else b""
        received = Received(head[:-4], body)
        self._server.requests.append(received)
        return received

    async def write(self, data: bytes) -> None:
        """Send bytes. Raises ``ConnectionError`` once the client has gone."""
        self._writer.write(data)
        await self._writer.drain()
        self._server.sent_bytes += len(data)

    async def some(self) -> bytes:
        """Read whatever comes first."""
        return await self._reader.read(65_536)

    async def gone(self) -> None:
        """Wait until the client ends the connection."""
        while await self._reader.read(65_536):
            pass

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        raw: socket.socket = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Script = Callable[[Connection], Awaitable[None]]
"""What a server does with one connection; when it returns, the connection is closed."""


class Server:
    """What a server has seen."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connections = 0
        self.requests: list[Received] = []
        self.sent_bytes = 0


@asynccontextmanager
async def serving(
    script: Script, tls: ssl.SSLContext | None = None, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Server]:
    """Serve on the loopback address, on a free port, until the block ends; then every connection is closed."""
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        server.connections += 1
        try:
            if tls is not None:
                await writer.start_tls(tls)
            await script(Connection(server, reader, writer))
            writer.close()
            await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the test is over
        finally:
            handlers.discard(task)
            writer.transport.abort()

    listener = await asyncio.start_server(handle, host, port)
    server = Server(listener.sockets[0].getsockname()[1])
    try:
        yield server
    finally:
        listener.close()
        for task in list(handlers):
            task.cancel()
        while handlers:
            await asyncio.wait(handlers)
        # An aborted transport closes its socket in the loop's next turn, one inside TLS in the turn after that.
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def answering(answer: bytes) -> Script:
    """Answer every request with these bytes and keep the connection."""

    async def script(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.write(answer)

    return script


def response(status: str, body: bytes = b"", **headers: str) -> bytes:
    """An HTTP/1.1 answer with its length; ``_`` in a header's name stands for ``-``."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


OK = response("200 OK")


@asynccontextmanager
async def refusing() -> AsyncIterator[int]:
    """A port of 127.0.0.1 where nobody listens, held so that nobody else can."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@asynccontextmanager
async def full_backlog() -> AsyncIterator[int]:
    """A port of 127.0.0.1 whose queue is full: further connections are neither made nor refused."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        try:
            for _ in range(4):
                one = socket.socket()
                one.setblocking(False)
                one.connect_ex(listener.getsockname())
                waiting.append(one)
            yield listener.getsockname()[1]
        finally:
            for one in waiting:
                one.close()
