"""A small proxy between the gateway and its store, which loses or keeps back replies when a test says so."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

SCRIPT = b"EVALSHA"
"""Of all commands, only scripts are tampered with: what a connection asks for itself always passes."""


class Proxy:
    """What the proxy shall do, and what it saw."""

    def __init__(self, target: Path, socket: Path) -> None:
        self.target = target
        self.url = f"unix://{socket}"
        self.lose_replies = 0
        """So many scripts still reach the server, and their reply is replaced by the end of the connection."""
        self.passing = asyncio.Event()
        """While cleared, replies of scripts are kept back; the client may have gone by the time it is set again."""
        self.passing.set()
        self.deaf = False
        """No reply passes, of whatever command."""
        self.refuse = False
        """New connections end as soon as they are made."""
        self.scripts = 0
        """Scripts that passed on to the server."""
        self.connections = 0
        self._running: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """Cut every connection."""
        for task in self._running:
            task.cancel()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side or a test ends it."""
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        store: asyncio.StreamWriter | None = None
        pumps: list[asyncio.Task[None]] = []
        try:
            if self.refuse:
                return
            upstream, store = await asyncio.open_unix_connection(str(self.target))
            link = _Link(self)
            pumps = [
                asyncio.create_task(link.requests(reader, store)),
                asyncio.create_task(link.replies(upstream, writer)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except (OSError, asyncio.CancelledError):
            pass  # the server is away, or the test cuts
        finally:
            for end in (writer, store):  # first, since a second cut ends the waiting below
                if end is not None:
                    end.transport.abort()
            for pump in pumps:
                pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*pumps, return_exceptions=True)
            self._running.discard(task)

    async def close(self) -> None:
        """End all connections and wait until they have."""
        self.cut()
        await asyncio.gather(*self._running, return_exceptions=True)


class _Link:
    """One connection and the one behind it."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._script = False

    async def requests(self, reader: asyncio.StreamReader, store: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 20):
            scripts = data.count(SCRIPT)
            self._proxy.scripts += scripts
            self._script = self._script or scripts > 0
            store.write(data)
            await store.drain()

    async def replies(self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await upstream.read(1 << 20):
            if self._proxy.deaf:
                continue
            if self._script:
                if self._proxy.lose_replies:
                    self._proxy.lose_replies -= 1
                    return
                await self._proxy.passing.wait()
            self._script = False
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def proxied(target: Path) -> AsyncIterator[Proxy]:
    """A proxy before the unix socket ``target``; it and its connections have ended when the block has."""
    with tempfile.TemporaryDirectory(prefix="gateway-proxy-") as directory:
        socket = Path(directory) / "s"
        proxy = Proxy(target, socket)
        server = await asyncio.start_unix_server(proxy.accept, str(socket))
        try:
            yield proxy
        finally:
            server.close()
            await proxy.close()
            with contextlib.suppress(OSError):
                await server.wait_closed()
