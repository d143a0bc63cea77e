"""Subscribers that do not speak HTTP, break off, hang, drip or never end."""

import asyncio
import gzip
import time

import pytest

from gateway.delivery.attempt import ANSWER_BYTES
from tests.support.attempting import HOST, attempt, hang, post, reset_before, sending
from tests.support.servers import Connection, Script, answering, response, serving


async def garbage(connection: Connection) -> None:
    """Answers in another protocol."""
    await connection.request()
    await connection.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    await connection.gone()


async def endless_head(connection: Connection) -> None:
    """Sends headers for ever."""
    await connection.request()
    await connection.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        await connection.write(b"x-more: " + b"y" * 8192 + b"\r\n")


async def two_lengths(connection: Connection) -> None:
    """States two lengths."""
    await connection.request()
    await connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab")
    await connection.gone()


async def broken_chunks(connection: Connection) -> None:
    """Begins with 200 and goes on with what is no chunk."""
    await connection.request()
    await connection.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
    await connection.gone()


@pytest.mark.parametrize("script", [garbage, endless_head, two_lengths, broken_chunks])
def test_what_is_not_http_is_a_protocol_failure(script: Script) -> None:
    """An answer that cannot be read is a failure that says so."""
    assert attempt(script)[0].cause == "protocol"


async def close_before(connection: Connection) -> None:
    """Closes instead of answering."""
    await connection.request()


async def close_in_head(connection: Connection) -> None:
    """Closes within the status line."""
    await connection.request()
    await connection.write(b"HTTP/1.1 20")


async def reset_in_body(connection: Connection) -> None:
    """Begins with 200, promises a hundred bytes, and resets after three."""
    await connection.request()
    await connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc")
    await asyncio.sleep(0.02)
    connection.reset()


async def close_in_body(connection: Connection) -> None:
    """Begins with 200, promises a hundred bytes, and closes after three."""
    await connection.request()
    await connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc")


async def close_in_chunks(connection: Connection) -> None:
    """Begins with 200 and closes before the last chunk."""
    await connection.request()
    await connection.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n")


@pytest.mark.parametrize(
    "script", [reset_before, close_before, close_in_head, reset_in_body, close_in_body, close_in_chunks]
)
def test_an_answer_that_breaks_off_is_not_delivered(script: Script) -> None:
    """When in doubt the event is sent again: a connection that ends before its answer does is a failure."""
    outcome, _ = attempt(script)
    assert (outcome.delivered, outcome.cause) == (False, "reset")


def test_a_failing_answer_that_breaks_off_keeps_its_status() -> None:
    """The status says what matters; of the body what came is kept."""

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.write(b"HTTP/1.1 500 Oops\r\ncontent-length: 100\r\n\r\nabc")

    outcome, _ = attempt(script)
    assert (outcome.cause, outcome.status, outcome.answer) == ("http_500", 500, b"abc")


async def drip_head(connection: Connection) -> None:
    """Sends its head a byte at a time."""
    await connection.request()
    for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n":
        await connection.write(bytes([byte]))
        await asyncio.sleep(0.1)


async def only_continue(connection: Connection) -> None:
    """Says "go on" for ever."""
    await connection.request()
    while True:
        await connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("script", [hang, drip_head, only_continue])
def test_no_answer_in_time_is_a_timeout(script: Script) -> None:
    """The deadline is for the whole answer's head; no trickle extends it."""
    outcome, _ = attempt(script, timeout_s=0.3)
    assert (outcome.delivered, outcome.cause) == (False, "timeout")
    assert 0.3 <= outcome.duration_s < 0.8


@pytest.mark.parametrize(("status", "delivered"), [("200 OK", True), ("500 Oops", False)])
def test_a_dripping_body_is_given_half_a_second(status: str, delivered: bool) -> None:
    """The status counts; of a body that drips what has come in half a second is kept, then the connection is closed."""
    ended = []

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.write(f"HTTP/1.1 {status}\r\ncontent-length: 1000\r\n\r\n".encode())
        try:
            while True:
                await connection.write(b"x")
                await asyncio.sleep(0.05)
        finally:
            ended.append(True)

    async def scenario() -> None:
        async with serving(script) as server, sending(f"http://{HOST}:{server.port}/", timeout_s=10.0) as sender:
            outcome = await post(sender)
            assert outcome.delivered == delivered
            assert 0.4 < outcome.duration_s < 1.5
            assert outcome.answer == b"" if delivered else 3 <= len(outcome.answer) <= 12
            deadline_s = time.monotonic() + 5
            while not ended and time.monotonic() < deadline_s:
                await asyncio.sleep(0.01)
            assert ended

    asyncio.run(scenario())


@pytest.mark.parametrize("status", ["200 OK", "500 Oops"])
def test_an_endless_body_is_cut_at_its_cap(status: str) -> None:
    """An endless body costs 64 KiB and what the sockets buffer, and ends the connection."""

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.write(f"HTTP/1.1 {status}\r\n\r\n".encode())
        while True:
            await connection.write(b"x" * 65_536)

    outcome, server = attempt(script)
    assert outcome.delivered == (status == "200 OK")
    assert outcome.duration_s < 0.5
    assert len(outcome.answer) == (0 if outcome.delivered else ANSWER_BYTES)
    assert server.sent_bytes < 32 * 1024 * 1024


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_a_compressed_answer_is_never_unpacked(coding: str) -> None:
    """A bomb stays the small thing it was on the wire."""
    bomb = gzip.compress(b"\0" * 10_000_000)
    outcome, server = attempt(answering(response("500 Oops", bomb, content_encoding=coding)))
    assert outcome.answer == bomb[:ANSWER_BYTES]
    assert "accept-encoding" not in server.requests[0].headers
