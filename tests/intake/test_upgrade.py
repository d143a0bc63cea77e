"""An offer to go on in another protocol is declined by answering as if it had not been made."""

import json

import pytest

from tests.intake.served import Served, fresh, read_all, signed

OFFER = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n"
"""What curl --http2 and Java's client send over plain HTTP."""
LAST = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


def request(body: bytes, offer: bytes, *, in_chunks: bool) -> bytes:
    """A genuine request with these headers in the middle."""
    head = b"POST /in/br HTTP/1.1\r\nhost: x\r\n" + offer
    head += b"x-enviaai-signature: " + str(signed(body)["x-enviaai-signature"]).encode() + b"\r\n"
    if in_chunks:
        return head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return head + b"content-length: %d\r\n\r\n%b" % (len(body), body)


def statuses(gateway: Served, parts: list[bytes]) -> list[bytes]:
    """Send these bytes, one part after another; the status of each answer."""
    with gateway.connect() as connection:
        for part in parts:
            connection.sendall(part)
        found = read_all(connection)
    return [
        line.split(b" ")[1] for line in found.replace(b"}HTTP/", b"}\r\nHTTP/").split(b"\r\n") if b"HTTP/1.1 " in line
    ]


@pytest.mark.parametrize("offer", [b"", OFFER, b"connection: upgrade\r\nupgrade: websocket\r\n"])
@pytest.mark.parametrize("in_chunks", [False, True], ids=["length", "chunks"])
def test_the_body_behind_an_offer_counts(gateway: Served, offer: bytes, *, in_chunks: bool) -> None:
    """The whole body is read, however it comes, and the connection goes on.

    Story: the parser took the end of the head for the end of the request, so a genuine request got 401."""
    before = gateway.requests("br")
    whole = request(fresh(), offer, in_chunks=in_chunks)
    assert statuses(gateway, [whole, LAST]) == [b"200", b"200"]
    whole = request(fresh(), offer, in_chunks=in_chunks)
    assert statuses(gateway, [whole[at : at + 1] for at in range(len(whole))] + [LAST]) == [b"200", b"200"]
    both = request(fresh(), offer, in_chunks=in_chunks) + request(fresh(), offer, in_chunks=in_chunks)
    assert statuses(gateway, [both + LAST]) == [b"200", b"200", b"200"]
    assert gateway.requests("br").accepted == before.accepted + 4


def test_an_offer_without_a_body(gateway: Served) -> None:
    """A page asked for with an offer is answered, and so is what follows it."""
    asked = b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + OFFER + b"\r\n"
    assert statuses(gateway, [asked, LAST]) == [b"200", b"200"]


def test_an_offer_hides_no_forgery(gateway: Served) -> None:
    """The control: what is proven is the body behind the offer, not an empty one."""
    body = fresh()
    forged = request(body, OFFER, in_chunks=False).replace(body, body[:-1] + b" ")
    assert statuses(gateway, [forged, LAST]) == [b"401", b"200"]
    assert json.loads(body)
