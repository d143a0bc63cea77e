"""How workers take connections from one socket, and how one of them leaves without refusing any.

One queue of new connections for all, and not one for each worker (``SO_REUSEPORT``): then those in the queue of a
worker that died would wait until another is started in its place, and those in the queue of one that closes it are
refused. The price is fairness. libuv takes all that wait at once, so that of 64 connections that came at once one of
two workers got 39, and once all 64 (measured, a bare handler); here each takes one connection a turn of its loop: 33,
38 and 56 of 64. With ``SO_REUSEPORT`` it was 34 and 47, as the kernel's hash falls.

A worker that is to end takes no more connections, and answers on those it has for a short time yet, saying that each
answer is the connection's last. Else a request that was already on its way on an idle connection would be refused.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

DRAIN_S = 3.0
"""How long connections without a request are kept for one that may be on its way."""

PAUSE_S = 1.0
"""After an accept failed for want of files."""


class Server(uvicorn.Server):
    """Without uvicorn's own signal handling, which ends the process before the gateway has handed over."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Signals are the caller's."""
        yield


class SharingServer(Server):
    """One of several on the same socket."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections, one a turn."""
        assert sockets is not None
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.Protocol:
            made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]  # as uvicorn does
                config=self.config, server_state=self.server_state, app_state={}, _loop=loop
            )
            return made

        await self.lifespan.startup()
        self.servers: list[Any] = [Acceptor(each, protocol) for each in sockets]
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, answer on those there are, end."""
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        until_s = loop.time() + DRAIN_S
        while self.server_state.connections and loop.time() < until_s:
            for connection in self.server_state.connections:
                _let_go(connection)
            await asyncio.sleep(0.01)
        await super().shutdown(sockets)


class Acceptor:
    """Takes connections from a listening socket that others listen on as well."""

    def __init__(self, listening: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = listening
        self._protocol = protocol
        self._making: set[asyncio.Task[Any]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._listen()

    def close(self) -> None:
        """Take no more."""
        if self._pause is not None:
            self._pause.cancel()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())

    async def wait_closed(self) -> None:
        """Wait for those that were taken last."""
        await asyncio.gather(*self._making, return_exceptions=True)

    def _listen(self) -> None:
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            taken, _ = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker was faster, or the sender is gone
        except OSError:  # no more files: those that wait stay in the queue, perhaps for another worker
            self._loop.remove_reader(self._socket.fileno())
            self._pause = self._loop.call_later(PAUSE_S, self._listen)
            return
        taken.setblocking(False)
        task = self._loop.create_task(self._make(taken))
        self._making.add(task)
        task.add_done_callback(self._making.discard)

    async def _make(self, taken: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, taken)
        except OSError:  # gone already
            taken.close()


def _let_go(connection: Any) -> None:
    """The next answer on this connection is its last."""
    if isinstance(connection.app, _LastAnswer):
        return
    connection.app = _LastAnswer(connection.app)
    cycle = connection.cycle
    if cycle is not None and not cycle.response_started:
        cycle.keep_alive = False


class _LastAnswer:
    """An ASGI app that says of each answer that the connection ends with it."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def tell(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        await self._app(scope, receive, tell)
