"""Bodies: read whole, bounded each and all together, and what is left of a refused one thrown away.

That they arrive in time is the connection's to see to (``wire``).
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec

from gateway import problems
from gateway.errors import IntakeFull
from gateway.intake.refusal import Refusal

Receive = Callable[[], Awaitable[Any]]

LINGER_BYTES = 16 * 1024 * 1024
LINGER_S = 5.0
LINGER_IDLE_S = 1.0
"""How much of a body that was refused for its size is still taken in and thrown away, for how long in all, and how long
after the last of it. Many senders look for an answer only when they have sent everything, and a connection that is
closed before makes of the 413 a broken pipe, which they retry."""

MAX_ARRIVING_BYTES = 64 * 1024 * 1024
"""Of bodies that came in part, all together. A source may use as much of it as is free. The last bytes of each, fewer
than ``wire.WAKE_BYTES``, still wait in its connection and are not counted."""


class Arriving(msgspec.Struct):
    """Bodies that came in part, of one source or of all."""

    size_bytes: int = 0


class Bodies:
    """What is being read."""

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._max_arriving_bytes = max(MAX_ARRIVING_BYTES, 4 * max_body_bytes)
        self.all = Arriving()

    async def read(self, arriving: Arriving, headers: Iterable[tuple[bytes, bytes]], receive: Receive) -> bytes | None:
        """The whole body, counted while it arrives: a chunked one announces nothing. ``None`` if it never ends."""
        limit = self._max_body_bytes
        for name, value in headers:
            if name == b"content-length":
                if value.isdigit() and int(value) > limit:
                    raise Refusal(problems.TOO_LARGE, f"at most {limit} bytes", more_comes=True)
            elif name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
                raise Refusal(problems.UNSUPPORTED_ENCODING, "send the body as it is, without compression")
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk: bytes = message.get("body", b"")
        more_comes = message.get("more_body", False)
        if len(chunk) > limit:
            raise Refusal(problems.TOO_LARGE, f"at most {limit} bytes", more_comes=more_comes)
        return chunk if not more_comes else await self._read_on(arriving, receive, chunk)

    async def _read_on(self, arriving: Arriving, receive: Receive, chunk: bytes) -> bytes | None:
        """The rest of a body of which a part has come. All such parts together are bounded, and those of a source."""
        chunks: list[bytes] = []
        limit = self._max_body_bytes
        size = 0
        more_comes = True
        try:
            while True:
                chunks.append(chunk)
                size += len(chunk)
                arriving.size_bytes += len(chunk)
                self.all.size_bytes += len(chunk)
                if size > limit:
                    raise Refusal(problems.TOO_LARGE, f"at most {limit} bytes", more_comes=more_comes)
                if not more_comes:
                    return b"".join(chunks)
                free_bytes = self._max_arriving_bytes - self.all.size_bytes
                if arriving.size_bytes > max(free_bytes, 0) + limit:
                    raise IntakeFull("too many bodies are on their way")
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                chunk = message.get("body", b"")
                more_comes = message.get("more_body", False)
        finally:
            arriving.size_bytes -= size
            self.all.size_bytes -= size


async def throw_away(receive: Receive) -> None:
    """Take in what a sender who does not listen yet goes on sending, within bounds."""
    size = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while size < LINGER_BYTES:
                async with asyncio.timeout(LINGER_IDLE_S):
                    message = await receive()
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
