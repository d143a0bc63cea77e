"""Bodies that come byte by byte cost as little as can be, and are answered like any other."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from gateway.intake import wire
from gateway.intake.connections import Connections, Limits
from gateway.intake.noise import Noise
from gateway.intake.wire import Edge, Protocol

SHORT = 50
HEAD = b"POST /in/x HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"


class App:
    """It reads, and answers with what it read."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        """What it was woken with."""

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            self.parts.append(message["body"])
            more = message["more_body"]
        body = b"".join(self.parts)
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})


async def drip(app: App, pieces: list[bytes]) -> bytes:
    """Send a body in these pieces, each when the one before has arrived; the answer."""
    edge = Edge(Connections(Limits()), Noise(), {})
    config = uvicorn.Config(app, lifespan="off", log_config=None)
    config.load()
    made: list[Protocol] = []

    def protocol() -> Protocol:
        made.append(edge.protocol(config, ServerState(), {}))
        return made[0]

    async def until(holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.001)

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
        writer.write(HEAD % sum(map(len, pieces)))
        sent = 0
        for piece in pieces:
            await until(lambda: bool(made) and made[0].body_bytes == sent and made[0].running is not None)  # noqa: B023  # waited for at once
            writer.write(piece)
            sent += len(piece)
        answer = await asyncio.wait_for(reader.readuntil(pieces[-1]), 20)
        writer.close()
        await until(lambda: len(edge.connections) == 0)
    return answer


@pytest.mark.parametrize("enough", [wire.WAKE_BYTES, 1], ids=["enough for a look", "the control"])
def test_a_byte_wakes_nobody(enough: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short body is looked at when it is whole, in however many pieces it came.

    The control: where one byte is enough, each wakes the one who reads."""
    monkeypatch.setattr(wire, "WAKE_BYTES", enough)
    app = App()
    answer = asyncio.run(drip(app, [b"x"] * (SHORT - 1) + [b"!"]))
    assert answer.endswith(b"\r\n\r\n" + b"x" * (SHORT - 1) + b"!")
    assert len(app.parts) == 1 if enough > SHORT else len(app.parts) > SHORT / 2


def test_a_long_body_is_taken_while_it_comes() -> None:
    """So that the connection holds no more of it than that, and whoever counts it can say when it is too much."""
    app = App()
    pieces = [b"x" * wire.WAKE_BYTES] * 3 + [b"!"]
    assert asyncio.run(drip(app, pieces)).endswith(b"".join(pieces))
    assert [len(part) for part in app.parts] == [wire.WAKE_BYTES] * 3 + [1]
