"""What a source may send: a rate of proven requests, and of rejected ones answered at once."""

import math
import time
from pathlib import Path

import pytest

from gateway.intake import endpoint
from gateway.intake.rates import Bucket
from tests.intake.served import fresh, serving, signed
from tests.support.stores import StoreServer

CONFIG = """
[store]
url = "{url}"

[sources.br]
adapter = "enviaai"
secrets = ["env:SECRET"]
rate = "5/m"

[sources.free]
adapter = "enviaai"
secrets = ["env:SECRET"]
"""
ENV = {"SECRET": "whs_test"}


def test_a_bucket() -> None:
    """A second's worth at once, then as the rate has it; a slow rate has at least one."""
    bucket = Bucket(10, 100.0)
    assert [bucket.take(100.0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert bucket.wait_s(100.0) == pytest.approx(0.1)
    assert [bucket.take(100.25) for _ in range(3)] == [True, True, False]
    assert [bucket.take(1_000.0) for _ in range(12)] == [True] * 10 + [False] * 2
    slow = Bucket(1 / 60, 0.0)
    assert [slow.take(0.0), slow.take(30.0), slow.take(60.1)] == [True, False, True]
    assert slow.retry_after_s(60.1) == 60


def test_a_rate(valkey: StoreServer, tmp_path: Path) -> None:
    """Beyond it 429, which says when to come again; not received, counted by source, and no call of the store."""
    with serving(tmp_path, CONFIG.format(url=valkey.url), ENV) as gateway:

        def send(source: str) -> tuple[int, str]:
            body = fresh()
            answer = gateway.post(f"/in/{source}", body, signed(body))
            return answer.status, answer.headers.get("retry-after", "")

        assert send("br")[0] == 200
        commits = gateway.gateway.committers[0].batches
        status, retry_after = send("br")
        assert status == 429
        assert 0 < int(retry_after) <= math.ceil(60 / 5)
        assert [send("free")[0] for _ in range(5)] == [200] * 5  # the control: another source
        assert gateway.gateway.committers[0].batches == commits + 5
        assert (gateway.requests("br").received, gateway.gateway.endpoint.stats.limited) == (1, {"br": 1})
        # A reload that changes nothing gives nothing away.
        gateway.run(gateway.gateway.reloader.reload_quietly("test"))
        assert send("br")[0] == 429


def test_forgeries_use_nothing_up(valkey: StoreServer, tmp_path: Path) -> None:
    """Whoever knows the path cannot use up the provider's rate: only what is proven counts."""
    with serving(tmp_path, CONFIG.format(url=valkey.url), ENV) as gateway:
        for _ in range(20):
            assert gateway.post("/in/br", fresh(), signed(b"something else")).status == 401
        body = fresh()
        assert gateway.post("/in/br", body, signed(body)).status == 200
        assert gateway.requests("br").rejected == 20
        # Once the rate is used up, a forgery is refused before it is looked at.
        assert gateway.post("/in/br", fresh(), signed(b"something else")).status == 429
        assert gateway.requests("br").rejected == 20


def test_a_flood_of_forgeries_waits(valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a rate a forger waits for each answer, gets the same 401, and every request is counted."""
    monkeypatch.setattr(endpoint, "REJECTED_PER_S", 3.0)
    monkeypatch.setattr(endpoint, "REJECTED_WAIT_S", 0.3)
    with serving(tmp_path, CONFIG.format(url=valkey.url), ENV) as gateway:

        def forged_s() -> float:
            began_s = time.monotonic()
            assert gateway.post("/in/free", b"{}", signed(b"-")).status == 401
            return time.monotonic() - began_s

        took = [forged_s() for _ in range(5)]
        assert max(took[:2]) < 0.3 <= took[4]
        body, began_s = fresh(), time.monotonic()
        assert gateway.post("/in/free", body, signed(body)).status == 200
        assert time.monotonic() - began_s < 0.3  # who proves himself does not wait
        assert gateway.requests("free").rejected == 5
