"""Connections that never finish what they say; a process of its own, so that it slows nobody but itself.

``python -m tests.slowloris.attack PORT CONNECTIONS PATIENCE_S``: so many of each kind, which go on for so long. Prints,
as JSON, how long the gateway kept each, and what it said at the end.
"""

import asyncio
import json
import sys
import time

import msgspec

DRIP_S = 1.0

HEAD = b"POST /in/honest HTTP/1.1\r\nhost: x\r\n"
KINDS = {
    "half a head, a header a second": (HEAD, b"x-a: b\r\n"),
    "a body, a byte a second": (HEAD + b"content-length: 100000\r\n\r\n{", b"x"),
    "a chunked body, a byte a second": (HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "nothing at all": (b"", b""),
}
"""What each sends first, and then every second."""


class Kept(msgspec.Struct):
    """How the connections of one kind ended."""

    opened: int = 0
    ended: int = 0
    longest_s: float = 0.0
    statuses: dict[str, int] = {}


async def one(port: int, start: bytes, drip: bytes, kept: Kept, patience_s: float) -> None:
    """One connection, until the gateway ends it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began_s = time.monotonic()
    kept.opened += 1
    said = b""
    try:
        writer.write(start)
        while time.monotonic() - began_s < patience_s:
            try:
                async with asyncio.timeout(DRIP_S):
                    data = await reader.read(65_536)
            except TimeoutError:
                writer.write(drip)
                continue
            said += data
            if not data:
                kept.ended += 1
                break
    except OSError:
        kept.ended += 1
    finally:
        writer.transport.abort()
    kept.longest_s = max(kept.longest_s, time.monotonic() - began_s)
    status = said[9:12].decode() or "without a word"
    kept.statuses[status] = kept.statuses.get(status, 0) + 1


async def attack(port: int, connections: int, patience_s: float) -> dict[str, Kept]:
    """All kinds at once."""
    found = {kind: Kept() for kind in KINDS}
    async with asyncio.TaskGroup() as group:
        for number in range(connections):
            for kind, (start, drip) in KINDS.items():
                group.create_task(one(port, start, drip, found[kind], patience_s))
            if number % 50 == 49:
                await asyncio.sleep(0.05)  # the queue of connections that nobody has taken yet is bounded
    return found


if __name__ == "__main__":
    ended = asyncio.run(attack(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
    print(json.dumps(msgspec.to_builtins(ended)))
