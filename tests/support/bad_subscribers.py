"""Subscribers that misbehave, each in its own way, for ``tests/delivery/test_bad_subscribers.py``."""

import asyncio
import gzip

from tests.support.servers import Connection, Script, response

BOMB = gzip.compress(b"\0" * 20_000_000)
"""Twenty megabytes in twenty kilobytes."""


def saying(*parts: bytes, pause_s: float = 0.0, endless: bool = False) -> Script:
    """Read a request and send these, with a pause after each; ``endless``: the last one for ever. Then close."""

    async def script(connection: Connection) -> None:
        await connection.request()
        for part in parts:
            await connection.write(part)
            await asyncio.sleep(pause_s)
        while endless:
            await connection.write(parts[-1])
            await asyncio.sleep(pause_s)

    return script


def dripping(answer: bytes) -> Script:
    """Answer one byte a second."""
    return saying(*[bytes([byte]) for byte in answer], pause_s=1.0)


async def hang(connection: Connection) -> None:
    """Read, and say nothing."""
    await connection.request()
    await connection.gone()


async def deaf(connection: Connection) -> None:
    """Accept, and not even read."""
    await asyncio.sleep(3_600)


async def close_at_once(connection: Connection) -> None:
    """Accept, and close."""


async def reset_at_once(connection: Connection) -> None:
    """Accept, and reset."""
    connection.reset()


async def reset_in_answer(connection: Connection) -> None:
    """Begin with 200, promise a hundred bytes, and reset after three."""
    await connection.request()
    await connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc")
    await asyncio.sleep(0.02)  # so that the client has read the head
    connection.reset()


async def tls_garbage(connection: Connection) -> None:
    """Answer a TLS hello with what looks like TLS and is none."""
    await connection.some()
    await connection.write(b"\x16\x03\x03\x40\x00" + b"\xff" * 16_384)
    await connection.gone()


async def plain_http(connection: Connection) -> None:
    """Answer a TLS hello with HTTP."""
    await connection.some()
    await connection.write(response("400 Bad Request", b"speak plainly"))
    await connection.gone()


def redirecting(where: str, status: str = "307 Temporary Redirect") -> Script:
    """Send the sender elsewhere."""

    async def script(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.write(response(status, location=where))

    return script


def busy(retry_after: str, status: str = "429 Too Many Requests") -> Script:
    """Ask for patience."""

    async def script(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.write(response(status, retry_after=retry_after))

    return script


def dripping_after(status: str) -> Script:
    """Send a head, and then the body one byte a second."""
    head = f"HTTP/1.1 {status}\r\ncontent-length: 1000\r\n\r\n".encode()
    return saying(head, b"x", pause_s=1.0, endless=True)


def endless_after(status: str) -> Script:
    """Send a head, and then a body without an end."""
    head = f"HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    return saying(head, b"4000\r\n" + b"z" * 0x4000 + b"\r\n", endless=True)
