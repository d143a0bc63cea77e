"""How a worker takes its leave from the connections it has."""

import asyncio
import socket
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.workers import accepting
from gateway.workers.accepting import SharingServer

ASK = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers everybody."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def asked_while_it_leaves() -> bytes:
    """What a request is answered that comes, on a connection used before, when its worker is ending."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        config = uvicorn.Config(app, http=HttpToolsProtocol, lifespan="off", log_config=None)
        config.load()
        server = SharingServer(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup([listening])
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.getsockname()[1])
        try:
            writer.write(ASK)
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
            leaving = asyncio.create_task(server.shutdown())
            await asyncio.sleep(0)  # it has said no to new connections, and looked at this one
            writer.write(ASK)
            try:
                return await reader.read()
            except ConnectionResetError:
                return b""
            finally:
                await leaving
        finally:
            writer.close()


def test_a_request_that_was_on_its_way_as_its_worker_left_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """And told that the answer is the connection's last. The control: without time to drain, it is refused."""
    answer = asyncio.run(asked_while_it_leaves())
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer
    monkeypatch.setattr(accepting, "DRAIN_S", 0.0)
    assert asyncio.run(asked_while_it_leaves()) == b""
