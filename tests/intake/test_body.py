"""Size, time and encoding of the body, on the wire."""

import contextlib
import time

import pytest

from tests.intake.served import MAX_BODY, Answer, Served, fresh, read_all, signed


def padded(size: int) -> bytes:
    """A body of exactly this size."""
    start = fresh()[:-1] + b',"pad":"'
    return start + b"p" * (size - len(start) - 2) + b'"}'


def chunked(gateway: Served, body: bytes, size: int) -> int:
    """Send in chunks of this size; the status."""
    proof = str(signed(body)["x-enviaai-signature"]).encode()
    head = b"POST /in/br HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n"
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    return gateway.raw(head + b"x-enviaai-signature: " + proof + b"\r\n\r\n" + framed).status


def test_exactly_the_limit_is_accepted(gateway: Served) -> None:
    """The control of the refusals: announced or in chunks, one byte less than too much is fine."""
    body = padded(MAX_BODY)
    assert gateway.post("/in/br", body, signed(body)).status == 200
    for size in (100, MAX_BODY):
        assert chunked(gateway, padded(MAX_BODY), size) == 200


def test_too_large_as_announced(gateway: Served) -> None:
    """Refused by its length, before any of it was sent."""
    before = gateway.requests("br")
    head = f"POST /in/br HTTP/1.1\r\nhost: x\r\ncontent-length: {MAX_BODY + 1}\r\n\r\n"
    answer = gateway.raw(head.encode())
    assert (answer.status, answer.problem(), answer.headers["connection"]) == (413, "too_large", "close")
    assert gateway.requests("br") == before


def test_too_large_in_chunks(gateway: Served) -> None:
    """A chunked body announces nothing: it is counted while it arrives."""
    body = padded(MAX_BODY + 1)
    for size in (100, 10_000, MAX_BODY + 1):
        assert chunked(gateway, body, size) == 413


@pytest.mark.parametrize("is_chunked", [False, True], ids=["announced", "in chunks"])
def test_a_sender_that_listens_last_is_told_too_large(gateway: Served, is_chunked: bool) -> None:
    """Who sends everything before it looks for an answer meets no broken pipe, which it would retry, but the 413.

    Story: Python's urllib raised BrokenPipeError for two megabytes, and never saw the answer."""
    body = b"p" * 8_000_000
    with gateway.connect() as connection:
        if is_chunked:
            connection.sendall(b"POST /in/br HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
            connection.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        else:
            connection.sendall(f"POST /in/br HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode())
            for at in range(0, len(body), 100_000):
                connection.sendall(body[at : at + 100_000])
        answer = Answer(read_all(connection))
    assert (answer.status, answer.problem(), answer.headers["connection"]) == (413, "too_large", "close")


def test_an_endless_body_is_cut_off(gateway: Served) -> None:
    """The gateway does not go on reading what it has refused."""
    with gateway.connect() as connection:
        connection.sendall(b"POST /in/br HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        sent, limit = 0, 50_000_000
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while sent < limit:
                connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                sent += 0x10000
    assert sent < limit


@pytest.mark.parametrize("start", [b"", b"{"])
def test_a_body_that_does_not_come(gateway: Served, start: bytes) -> None:
    """Whoever stops in the middle is answered 408 after the time-out, and the connection ends."""
    before = gateway.requests("br")
    with gateway.connect() as connection:
        connection.sendall(b"POST /in/br HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n" + start)
        found = read_all(connection)
    assert found.startswith(b"HTTP/1.1 408")
    assert b'"code":"body_timeout"' in found
    assert gateway.requests("br") == before


def test_a_dripping_body_has_one_time_out(gateway: Served) -> None:
    """A byte now and then does not start the time anew."""
    with gateway.connect() as connection:
        connection.sendall(b"POST /in/br HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n")
        started_s = time.monotonic()
        connection.settimeout(0.02)
        found = b""
        while not found:
            assert time.monotonic() < started_s + 3
            connection.sendall(b"x")
            try:
                found = connection.recv(65_536)
            except TimeoutError:
                continue
    assert found.startswith(b"HTTP/1.1 408")


def test_a_sender_that_hangs_up_is_not_received(gateway: Served) -> None:
    """Half a body is no request; the gateway goes on."""
    before = gateway.requests("br")
    with gateway.connect() as connection:
        connection.sendall(b"POST /in/br HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf")
    body = fresh()
    assert gateway.post("/in/br", body, signed(body)).status == 200
    assert gateway.requests("br").accepted == before.accepted + 1
    assert gateway.requests("br").received == before.received + 1


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate", "br", "zstd", "gzip, identity", "identity, gzip"])
def test_an_encoded_body(gateway: Served, encoding: str) -> None:
    """Nothing is unpacked: what was signed is what must arrive."""
    body = fresh()
    answer = gateway.post("/in/br", body, {**signed(body), "content-encoding": encoding})
    assert (answer.status, answer.problem()) == (415, "unsupported_encoding")
    assert gateway.post("/in/br", body, {**signed(body), "content-encoding": "identity"}).status == 200


@pytest.mark.parametrize(
    "framing",
    [
        b"content-length: 2\r\ntransfer-encoding: chunked\r\n",
        b"content-length: 2\r\ncontent-length: 3\r\n",
        b"content-length: -2\r\n",
        b"content-length: 2x\r\n",
        b"transfer-encoding: xchunked\r\n",
    ],
)
def test_two_ways_to_read_the_length(gateway: Served, framing: bytes) -> None:
    """What two servers could cut differently is refused, and the connection ends."""
    events = len(gateway.names())
    with gateway.connect() as connection:
        connection.sendall(b"POST /in/open HTTP/1.1\r\nhost: x\r\n" + framing + b"\r\n{}0\r\n\r\n")
        found = read_all(connection)
    assert found.split(b" ", 2)[1] in (b"400", b"501")
    assert len(gateway.names()) == events
