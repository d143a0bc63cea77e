"""Somebody sets the clock: of the gateway and of its store, under load."""

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import redis

from gateway.store.embedded import socket_path
from tests.crashes.provider import SOURCE, make_message
from tests.crashes.run import SECRET
from tests.power.wall_clock import WallClock
from tests.support.gateways import GatewayProcess

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the shim is for Linux"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="cc is not installed (Debian: build-essential)"),
]

JUMPS_S = [1, -1, -1, 1, 3_600, -3_600, -3_600, 3_600, -31_536_000, 31_536_000, 31_536_000]
"""There and back, and the other way round; it ends a year ahead."""
EVENTS = 3

CONFIG = """
[gateway]
log_level = "warning"
[store]
url = "embedded:./data"
retention = "1h"
[sources.{source}]
adapter = "enviaai"
secrets = ["env:PROVIDER"]
[subscribers.away]
url = "http://127.0.0.1:9/"
secrets = ["env:SUBSCRIBER"]
allow_networks = ["127.0.0.0/8"]
start = "beginning"
retry = ["1s"]
max_lag = "1d"
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder under a short path, as sockets want it."""
    with tempfile.TemporaryDirectory(prefix="gateway-clock-") as made:
        yield Path(made)


@pytest.mark.long
def test_a_clock_that_is_set_loses_nothing(folder: Path) -> None:
    """By a second, an hour, a year, gateway and store together: every event answered 200 stays in the log, in
    the order it came, none is given up for its age, and the account adds up.

    The control: with ages by the bare wall clock all of it is given up (``max_lag``)."""
    clock = WallClock(folder)
    gateway = GatewayProcess(folder, {"PROVIDER": SOURCE.secrets[0].decode(), "SUBSCRIBER": SECRET, **clock.env})
    (folder / "gateway.toml").write_text(CONFIG.format(source=SOURCE.name))
    acknowledged: list[str] = []

    def send() -> None:
        for _ in range(EVENTS):
            message = make_message(len(acknowledged))
            head, _, body = message.wire.partition(b"\r\n\r\n")
            signature = head.rsplit(b": ", 1)[1].decode()
            answer = gateway.post(SOURCE.name, body, {"x-enviaai-signature": signature})
            assert answer.status_code == 200, answer.text
            acknowledged.append(message.event_id)

    try:
        gateway.start()
        assert gateway.verb("pause", "away")[0] == 0
        send()
        with redis.Redis(unix_socket_path=str(socket_path(folder / "data"))) as client:
            ahead_s = 0
            for jump_s in JUMPS_S:
                ahead_s += jump_s
                clock.set(ahead_s)
                deadline_s = time.monotonic() + 30
                while abs(client.time()[0] - time.time() - ahead_s) > 1.5:  # it remembers a reading
                    assert time.monotonic() < deadline_s, "the store's clock was not set"
                send()
            # Ages are looked at every five seconds.
            deadline_s = time.monotonic() + 6
            while time.monotonic() < deadline_s:
                line = gateway.ledger()["subscribers"]["away"]
                assert (line["pending"] + line["dead"], line["discarded"]) == (len(acknowledged), 0)
                time.sleep(0.2)
            log = client.xrange("{0}:log")
        assert [entry[0] for entry in log] == [f"{seq}-0".encode() for seq in range(1, len(acknowledged) + 1)]
        assert [msgspec.json.decode(entry[1][b"e"])["id"] for entry in log] == acknowledged
        assert gateway.verb("audit")[1][0]["unaccounted"] == 0
        assert gateway.terminate() == 0
    finally:
        gateway.close()
