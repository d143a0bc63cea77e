"""Bodies that come in part are bounded all together, and none of the sources can use up the room of the others."""

import contextlib
import socket
from pathlib import Path

import pytest

from gateway.intake import bodies
from tests.intake.served import Served, eventually, fresh, read_all, serving, signed
from tests.support.stores import StoreServer

CONFIG = """
[gateway]
max_body = "64KiB"
body_timeout = "20s"

[store]
url = "{url}"

[sources.br]
adapter = "enviaai"
secrets = ["env:SECRET"]

[sources.open]
adapter = "generic_chat"
unauthenticated = true
"""
PART = b"POST /in/open HTTP/1.1\r\nhost: x\r\ncontent-length: 65000\r\n\r\n" + b"x" * 60_000


def in_two_parts(gateway: Served) -> int:
    """An honest request whose body needs two reads; its status."""
    body = fresh()[:-1] + b',"pad":"' + b"p" * 50_000 + b'"}'
    proof = str(signed(body)["x-enviaai-signature"]).encode()
    head = (
        b"POST /in/br HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-enviaai-signature: %b\r\ncontent-length: %d\r\n\r\n"
    )
    before = gateway.gateway.endpoint.bodies.all.size_bytes
    with gateway.connect() as connection:
        connection.sendall(head % (proof, len(body)) + body[:30_000])
        eventually(lambda: gateway.gateway.endpoint.bodies.all.size_bytes != before)
        connection.sendall(body[30_000:])
        return int(read_all(connection)[9:12])


def test_bodies_in_part_are_bounded(valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One source's unfinished bodies fill its part and get 503; another source's still come through.

    Story: every connection could hold a body of the largest size but one byte, four gigabytes in all."""
    monkeypatch.setattr(bodies, "MAX_ARRIVING_BYTES", 0)  # four bodies of the largest size are the least
    with serving(tmp_path, CONFIG.format(url=valkey.url), {"SECRET": "whs_test"}) as gateway:
        here = gateway.gateway.endpoint
        assert in_two_parts(gateway) == 200
        with contextlib.ExitStack() as kept:
            connections: list[socket.socket] = []
            for _ in range(20):
                connections.append(kept.enter_context(gateway.connect()))
                connections[-1].sendall(PART)
            eventually(lambda: here.stats.answers.get(503, 0) >= 16)
            assert here.bodies.all.size_bytes <= 4 * 65_536
            assert in_two_parts(gateway) == 200
        eventually(lambda: here.bodies.all.size_bytes == 0)
        assert in_two_parts(gateway) == 200
