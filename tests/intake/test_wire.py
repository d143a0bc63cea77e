"""HTTP as it comes on the socket: what is ambiguous, too much or broken is refused in its turn, with a problem."""

import contextlib
import json
import logging
import re
import socket
import time
from collections.abc import Iterator

import pytest

from gateway.intake import wire
from gateway.intake.heads import MAX_HEAD_BYTES, MAX_HEADERS, MAX_TARGET_BYTES
from tests.intake.served import Answer, Served, eventually, fresh, read_all, serving, signed
from tests.support.stores import running

POST = b"POST /in/open HTTP/1.1\r\nhost: x\r\n"
LENGTH = b"content-length: 2\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
LAST = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"

TOKEN = b"token-of-the-operator-0123456789"

CONFIG = """
[gateway]
admin_token = "env:TOKEN"
header_timeout = "400ms"
body_timeout = "400ms"
idle_timeout = "800ms"

[store]
url = "{url}"

[sources.br]
adapter = "enviaai"
secrets = ["env:SECRET"]

[sources.open]
adapter = "generic_chat"
unauthenticated = true
"""


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway with short deadlines."""
    directory = tmp_path_factory.mktemp("edge")
    env = {"SECRET": "whs_test", "TOKEN": TOKEN.decode()}
    with running("valkey") as server, serving(directory, CONFIG.format(url=server.url), env) as made:
        yield made


def genuine(*, close: bool = False, extra: bytes = b"") -> bytes:
    """A request that is accepted."""
    body = fresh()
    proof = str(signed(body)["x-enviaai-signature"]).encode()
    ending = b"connection: close\r\n" if close else b""
    return (
        b"POST /in/br HTTP/1.1\r\nhost: x\r\nx-enviaai-signature: %b\r\n%b%bcontent-length: %d\r\n\r\n"
        % (proof, ending, extra, len(body))
        + body
    )


def statuses(found: bytes) -> list[int]:
    """The statuses of all answers in a connection's bytes."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", found)]


def exchange(gateway: Served, *parts: bytes) -> bytes:
    """Send, and read until the gateway ends the connection."""
    with gateway.connect() as connection:
        for part in parts:
            connection.sendall(part)
        return read_all(connection)


def one_answer(connection: socket.socket) -> bytes:
    """Read to the end of a JSON object."""
    found = b""
    while not found.endswith(b"}"):
        data = connection.recv(65_536)
        assert data
        found += data
    return found


REFUSED: dict[str, tuple[bytes, int, str]] = {
    "length and chunks": (POST + LENGTH + CHUNKED + b"\r\n{}", 400, "malformed"),
    "chunks and length": (POST + CHUNKED + LENGTH + b"\r\n{}", 400, "malformed"),
    "two lengths": (POST + LENGTH + b"content-length: 3\r\n\r\n{}", 400, "malformed"),
    "two equal lengths": (POST + LENGTH + LENGTH + b"\r\n{}", 400, "malformed"),
    "a list of lengths": (POST + b"content-length: 2, 2\r\n\r\n{}", 400, "malformed"),
    "a signed length": (POST + b"content-length: +2\r\n\r\n{}", 400, "malformed"),
    "an empty length": (POST + b"content-length:\r\n\r\n{}", 400, "malformed"),
    "an endless length": (POST + b"content-length: 99999999999999999999999\r\n\r\n{}", 400, "malformed"),
    "a coding before chunks": (POST + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, "malformed"),
    "two codings": (POST + b"transfer-encoding: gzip\r\n" + CHUNKED + b"\r\n0\r\n\r\n", 400, "malformed"),
    "chunked twice": (POST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n", 400, "malformed"),
    "a coding after chunks": (POST + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400, "malformed"),
    "an unknown coding": (POST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n", 400, "malformed"),
    "an empty coding": (POST + b"transfer-encoding:\r\n\r\n{}", 400, "malformed"),
    "a coding with a tab": (POST + b"transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400, "malformed"),
    "a coding with a blank": (POST + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n", 400, "malformed"),
    "chunks in HTTP/1.0": (
        b"POST /in/open HTTP/1.0\r\nhost: x\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
        400,
        "malformed",
    ),
    "a negative chunk": (POST + CHUNKED + b"\r\n-1\r\n\r\n", 400, "malformed"),
    "a chunk in 0x": (POST + CHUNKED + b"\r\n0x2\r\n{}\r\n0\r\n\r\n", 400, "malformed"),
    "a chunk with a blank": (POST + CHUNKED + b"\r\n2 \r\n{}\r\n0\r\n\r\n", 400, "malformed"),
    "a chunk too large": (POST + CHUNKED + b"\r\nffffffffffffffffff\r\n{}", 400, "malformed"),
    "a chunk without an end": (POST + CHUNKED + b"\r\n2\r\n{}0\r\n\r\n", 400, "malformed"),
    "a chunk without a size": (POST + CHUNKED + b"\r\n\r\n", 400, "malformed"),
    "bare LF in an extension": (POST + CHUNKED + b"\r\n2;a\n{}\r\n0\r\n\r\n", 400, "malformed"),
    "bare CR in an extension": (POST + CHUNKED + b"\r\n2;a\rb\r\n{}\r\n0\r\n\r\n", 400, "malformed"),
    "chunks with bare LF": (POST + CHUNKED + b"\r\n2\n{}\n0\n\n", 400, "malformed"),
    "a length as trailer": (POST + CHUNKED + b"\r\n0\r\ncontent-length: 5\r\n\r\n", 400, "malformed"),
    "more extension than body": (POST + CHUNKED + b"\r\n2;" + b"x" * 200_000, 400, "malformed"),
    "more trailer than body": (POST + CHUNKED + b"\r\n0\r\n" + b"x" * 200_000, 400, "malformed"),
    "bare LF": (b"POST /in/open HTTP/1.1\nhost: x\ncontent-length: 2\n\n{}", 400, "malformed"),
    "bare LF in a header": (POST + b"a: b\n" + LENGTH + b"\r\n{}", 400, "malformed"),
    "bare CR in a header": (POST + b"a: b\r" + LENGTH + b"\r\n{}", 400, "malformed"),
    "a folded line": (POST + b"a: b\r\n c\r\n\r\n", 400, "malformed"),
    "a line folded to the first": (b"POST /in/open HTTP/1.1\r\n a: b\r\nhost: x\r\n\r\n", 400, "malformed"),
    "NUL in a value": (POST + b"a: b\0c\r\n\r\n", 400, "malformed"),
    "a control in a value": (POST + b"a: \x01\r\n\r\n", 400, "malformed"),
    "NUL in a name": (POST + b"a\0b: c\r\n\r\n", 400, "malformed"),
    "a blank in a name": (POST + b"a b: c\r\n\r\n", 400, "malformed"),
    "a blank after a name": (POST + b"a : c\r\n\r\n", 400, "malformed"),
    "a tab after a name": (POST + b"a\t: c\r\n\r\n", 400, "malformed"),
    "an empty name": (POST + b": c\r\n\r\n", 400, "malformed"),
    "a name that is no ASCII": (POST + b"\xffa: c\r\n\r\n", 400, "malformed"),
    "a line without a colon": (POST + b"abc\r\n\r\n", 400, "malformed"),
    "no host": (b"POST /in/open HTTP/1.1\r\n" + LENGTH + b"\r\n{}", 400, "malformed"),
    "two hosts": (POST + b"host: x\r\n" + LENGTH + b"\r\n{}", 400, "malformed"),
    "an absolute target": (b"POST http://y/in/open HTTP/1.1\r\nhost: x\r\n" + LENGTH + b"\r\n{}", 400, "malformed"),
    "an authority": (b"CONNECT y:80 HTTP/1.1\r\nhost: x\r\n\r\n", 400, "malformed"),
    "an asterisk": (b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", 400, "malformed"),
    "a fragment": (b"POST /in/open#a HTTP/1.1\r\nhost: x\r\n\r\n", 400, "malformed"),
    "NUL in the target": (b"POST /in/\0 HTTP/1.1\r\nhost: x\r\n\r\n", 400, "malformed"),
    "a target that is no ASCII": (b"POST /in/\xff HTTP/1.1\r\nhost: x\r\n\r\n", 400, "malformed"),
    "a blank in the target": (b"POST /in/ open HTTP/1.1\r\nhost: x\r\n\r\n", 400, "malformed"),
    "HTTP/0.9": (b"GET /\r\n\r\n", 505, "http_version"),
    "HTTP/0.9 by name": (b"GET / HTTP/0.9\r\nhost: x\r\n\r\n", 505, "http_version"),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nhost: x\r\n\r\n", 505, "http_version"),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\nhost: x\r\n\r\n", 505, "http_version"),
    "HTTP/2's preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http_version"),
    "a version in small letters": (b"GET / http/1.1\r\nhost: x\r\n\r\n", 400, "malformed"),
    "an unknown method": (b"FOO /in/open HTTP/1.1\r\nhost: x\r\n\r\n", 501, "unknown_method"),
    "a method in small letters": (b"post /in/open HTTP/1.1\r\nhost: x\r\n\r\n", 400, "malformed"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "malformed"),
    "an answer": (b"HTTP/1.1 200 OK\r\n\r\n", 400, "malformed"),
    "one header too many": (POST + b"a: b\r\n" * MAX_HEADERS + b"\r\n", 431, "head_too_large"),
    "a header too large": (POST + b"a: " + b"b" * MAX_HEAD_BYTES + b"\r\n\r\n", 431, "head_too_large"),
    "headers too large together": (
        POST + (b"a: " + b"b" * 1_000 + b"\r\n") * (MAX_HEAD_BYTES // 1_000 + 1) + b"\r\n",
        431,
        "head_too_large",
    ),
    "a head without an end": (POST + b"a: " + b"b" * 500_000, 431, "head_too_large"),
    "a name without an end": (POST + b"b" * 500_000, 431, "head_too_large"),
    "blank lines without an end": (b"\r\n" * MAX_HEAD_BYTES, 431, "head_too_large"),
    "a target too long": (
        b"POST /in/open?" + b"b" * MAX_TARGET_BYTES + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        431,
        "head_too_large",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(edge: Served, case: str) -> None:
    """With a problem and the end of the connection; nothing of it is received, and nothing after it is read."""
    request, status, code = REFUSED[case]
    before = edge.requests("open")
    found = exchange(edge, request + (b"" if len(request) > 5_000 else genuine()))
    assert statuses(found) == [status]
    answer = Answer(found)
    assert answer.problem() == code
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-request-id"].startswith("req_")
    assert edge.requests("open") == before


@pytest.mark.parametrize("case", ["length and chunks", "a chunk without an end", "an unknown method", "HTTP/2.0"])
def test_a_refusal_waits_for_its_turn(edge: Served, case: str) -> None:
    """What was sent before is answered before: else the sender takes the refusal for the answer to that.

    Story: the text "Invalid HTTP request received" came at once, and the answer to the request before never."""
    request, status, _ = REFUSED[case]
    assert statuses(exchange(edge, genuine() + request)) == [200, status]
    assert statuses(exchange(edge, genuine() + genuine() + request)) == [200, 200, status]


ACCEPTED: dict[str, bytes] = {
    "a plain request": POST + LENGTH + b"\r\n{}",
    "chunks": POST + CHUNKED + b"\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunks by another spelling": POST + b"Transfer-Encoding: Chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a chunk's extension": POST + CHUNKED + b'\r\n2;a=b;c="d"\r\n{}\r\n0\r\n\r\n',
    "a trailer": POST + CHUNKED + b"\r\n2\r\n{}\r\n0\r\nx-a: b\r\n\r\n",
    "an empty line before": b"\r\n" + POST + LENGTH + b"\r\n{}",
    "as many headers as may be": POST + b"a: b\r\n" * (MAX_HEADERS - 2) + LENGTH + b"\r\n{}",
    "a large head": POST + b"a: " + b"b" * (MAX_HEAD_BYTES - 200) + b"\r\n" + LENGTH + b"\r\n{}",
    "a long target": b"POST /in/open?"
    + b"b" * (MAX_TARGET_BYTES - 14)
    + b" HTTP/1.1\r\nhost: x\r\n"
    + LENGTH
    + b"\r\n{}",
    "a value that is no ASCII": POST + b"a: \xff\x80\r\n" + LENGTH + b"\r\n{}",
    "HTTP/1.0": b"POST /in/open HTTP/1.0\r\n" + LENGTH + b"\r\n{}",
    "an expectation": POST + b"expect: 100-continue\r\n" + LENGTH + b"\r\n{}",
}


@pytest.mark.parametrize("in_bytes", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("case", ACCEPTED)
def test_the_controls(edge: Served, case: str, in_bytes: bool) -> None:
    """What is within the bounds is received, however it is cut."""
    request = ACCEPTED[case]
    if in_bytes and len(request) > 1_000:
        parts = [request[at : at + 700] for at in range(0, len(request), 700)]
    else:
        parts = [request[at : at + 1] for at in range(len(request))] if in_bytes else [request]
    with edge.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            connection.sendall(part)
        answer = one_answer(connection)
    expected = [100, 200] if case == "an expectation" else [200]
    assert statuses(answer) == expected


def test_a_large_request_after_others_in_one_piece(edge: Served) -> None:
    """What a connection brought before does not count for the next head or body."""
    many = b"".join(genuine() for _ in range(10))
    large = genuine(extra=b"a: " + b"b" * (MAX_HEAD_BYTES - 500) + b"\r\n")
    assert statuses(exchange(edge, many + large[:20_000], large[20_000:] + LAST)) == [200] * 12


def test_a_trailer_is_no_header(edge: Served) -> None:
    """A proof that comes behind the body is none: who is in front of us may not have looked at it."""
    body = fresh()
    proof = str(signed(body)["x-enviaai-signature"]).encode()
    head = b"POST /in/br HTTP/1.1\r\nhost: x\r\n" + CHUNKED + b"\r\n%x\r\n%b\r\n0\r\n" % (len(body), body)
    found = exchange(edge, head + b"x-enviaai-signature: " + proof + b"\r\n\r\n" + LAST)
    assert statuses(found) == [401, 200]
    eventually(lambda: edge.kept("rejected", "br"))
    assert all(name != "x-enviaai-signature" for name, _ in edge.kept("rejected", "br")[0].meta.headers)


def test_an_expectation_is_refused_before_the_body(edge: Served) -> None:
    """Who asks first is told at once that there is no such source, or that the body is too large."""
    with edge.connect() as connection:
        connection.sendall(b"POST /in/no HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n")
        assert statuses(connection.recv(65_536)) == [404]


def test_few_requests_may_be_sent_ahead(edge: Served) -> None:
    """As many as may be are answered; one more ends the connection, after their answers."""
    with_one_running = wire.MAX_AHEAD + 1
    requests = b"".join(genuine() for _ in range(with_one_running))
    assert statuses(exchange(edge, requests + LAST)) == [*[200] * with_one_running, 503]
    assert statuses(exchange(edge, requests[: len(requests)] + b""))[:with_one_running] == [200] * with_one_running


def test_a_sender_that_leaves_while_requests_wait(
    edge: Served, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is answered, nothing is raised, and the gateway goes on.

    Story: uvloop raised RuntimeError, with a traceback, where the second of them was answered."""
    caplog.set_level(logging.ERROR, "uvicorn.error")
    for _ in range(20):
        with edge.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.sendall(genuine() * 3 + POST + b"content-length: 100000\r\n\r\n" + b"x" * 90_000)
    assert statuses(exchange(edge, genuine(close=True))) == [200]
    assert "defect" not in capsys.readouterr().out
    assert not caplog.records


def test_nothing_is_read_after_a_last_request(edge: Served) -> None:
    """What stands behind ``connection: close`` is no request."""
    before = edge.requests("br").accepted
    assert statuses(exchange(edge, genuine(close=True) + genuine())) == [200]
    assert edge.requests("br").accepted == before + 1


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"POST /in/op", "header_timeout"),
        (POST + b"a: ", "header_timeout"),
        (POST + b"content-length: 999\r\n\r\n{", "body_timeout"),
        (
            b"POST /api/subscribers HTTP/1.1\r\nhost: x\r\nauthorization: Bearer "
            + TOKEN
            + b"\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{",
            "body_timeout",
        ),
        (POST + CHUNKED + b"\r\n2\r\n{}\r\n", "body_timeout"),
    ],
)
@pytest.mark.parametrize("drips", [False, True])
def test_who_is_late(edge: Served, sent: bytes, code: str, drips: bool) -> None:
    """Head and body have each one deadline, which no further byte moves; 408, and the connection ends."""
    before, began_s = edge.requests("open"), time.monotonic()
    with edge.connect() as connection:
        connection.sendall(sent)
        connection.settimeout(0.05)
        found = b""
        while b"}" not in found:
            assert time.monotonic() < began_s + 5
            try:
                data = connection.recv(65_536)
                assert data
                found += data
            except TimeoutError:
                if drips and b"transfer" not in sent:
                    connection.sendall(b"x")
    assert statuses(found) == [408]
    assert json.loads(found.partition(b"\r\n\r\n")[2])["code"] == code
    assert time.monotonic() - began_s > 0.2  # of 0.4
    assert edge.requests("open") == before


def test_what_comes_after_a_refusal_is_thrown_away(edge: Served) -> None:
    """Who was told 408 and then sends the rest all the same is not received: he was told that he was not.

    Story: without this, the end of the head made it a request, which was accepted, and nobody was answered."""
    before, request = edge.requests("br"), genuine()
    with edge.connect() as connection:
        connection.sendall(request[:30])
        assert statuses(read_all(connection)) == [408]
        connection.sendall(request[30:])
        eventually(lambda: len(edge.gateway.edge.connections) == 0)
    assert statuses(exchange(edge, genuine(close=True))) == [200]
    assert edge.requests("br").accepted == before.accepted + 1


def test_who_goes_on_sending_after_a_refusal_is_cut_off(edge: Served) -> None:
    """What is thrown away is bounded."""
    with edge.connect() as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert statuses(read_all(connection)) == [400]
        sent, limit = 0, 50_000_000
        with contextlib.suppress(OSError):
            while sent < limit:
                connection.sendall(b"x" * 0x10000)
                sent += 0x10000
    assert sent < limit


def closed_after_s(connection: socket.socket) -> float:
    """How long until the gateway ends a connection without a word."""
    began_s = time.monotonic()
    assert read_all(connection) == b""
    return time.monotonic() - began_s


def test_who_says_nothing(edge: Served) -> None:
    """A new connection has as long as a head; one that was used has ``idle_timeout``."""
    with edge.connect() as connection:
        at_first_s = closed_after_s(connection)
    with edge.connect() as connection:
        connection.sendall(genuine())
        assert statuses(one_answer(connection)) == [200]
        assert at_first_s > 0.2
        assert closed_after_s(connection) > 0.4


def test_who_goes_on_sending_after_the_answer(edge: Served) -> None:
    """A body whose request is refused already is thrown away, but not for ever."""
    with edge.connect() as connection:
        connection.sendall(b"POST /in/no HTTP/1.1\r\nhost: x\r\n" + CHUNKED + b"\r\n")
        sent, limit = 0, 50_000_000
        while sent < limit:
            try:
                connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            except OSError:
                break
            sent += 0x10000
    assert sent < limit
