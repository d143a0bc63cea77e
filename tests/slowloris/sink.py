"""Another process to attack: it takes every connection, reads what comes, and ends it after as long as a gateway would.

What honest senders notice while this is attacked is the machine's, which all of them share, and not the gateway's: no
gateway can do better. ``python -m tests.slowloris.sink`` prints its port and runs until it is killed.
"""

import asyncio

import uvloop

from gateway.intake.connections import Limits


class Sink(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It has as long as a head."""
        asyncio.get_running_loop().call_later(Limits().header_timeout_s, transport.close)


async def serve() -> None:
    """Until killed."""
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0, backlog=2_048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
