"""When the store cannot take it: 503 and a time to come again, and by itself back to 200."""

import threading
import time
from pathlib import Path

import pytest

from gateway.intake import committer as committer_module
from gateway.store import housekeeping as housekeeping_module
from tests.intake.served import Served, eventually, fresh, serving, signed
from tests.support.stores import running

CONFIG = """
[store]
url = "{url}"
spool = ""
[sources.br]
adapter = "enviaai"
secrets = ["env:SECRET"]
"""
ENV = {"SECRET": "whs_test"}


def send(gateway: Served, body: bytes) -> int:
    """A genuine request; a refusal must be ours, and must say when to come again."""
    answer = gateway.post("/in/br", body, signed(body))
    if answer.status != 200:
        assert (answer.status, answer.problem(), answer.headers["retry-after"]) == (503, "unavailable", "5")
    return answer.status


def test_a_store_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed under load: every request is answered, 200 only if it is in the log afterwards, and 200 again when the
    store is back, without a restart of the gateway."""
    monkeypatch.setattr(committer_module, "GIVE_UP_S", 0.3)
    acknowledged: list[str] = []
    statuses: list[int] = []
    stop = threading.Event()

    def load(gateway: Served) -> None:
        while not stop.is_set():
            body = fresh()
            answer = gateway.post("/in/br", body, signed(body))
            statuses.append(answer.status)
            if answer.status == 200:
                acknowledged.append(answer.json["events"][0]["id"])

    with running("valkey") as server, serving(tmp_path, CONFIG.format(url=server.url), ENV) as gateway:
        threads = [threading.Thread(target=load, args=(gateway,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(2):
                eventually(lambda: statuses[-20:] == [200] * 20)
                server.kill()
                eventually(lambda: statuses[-4:] == [503] * 4)
                server.start()
                eventually(lambda: statuses[-20:] == [200] * 20)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert set(statuses) == {200, 503}
        names = gateway.names()
        assert len(names) == len(set(names))
        assert set(acknowledged) <= set(names)
        assert gateway.ledger().unaccounted == 0


def test_a_forgery_is_told_so_while_the_store_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """401 needs no store: its count is kept until there is one."""
    monkeypatch.setattr(committer_module, "GIVE_UP_S", 0.1)
    with running("valkey") as server, serving(tmp_path, CONFIG.format(url=server.url), ENV) as gateway:
        server.kill()
        assert gateway.post("/in/br", b"{}").status == 401
        assert send(gateway, fresh()) == 503
        server.start()
        eventually(lambda: send(gateway, fresh()) == 200)
        eventually(lambda: gateway.requests("br").rejected == 1)


def test_a_store_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that hangs, as on a dead disk, costs a provider no more than the time we give it."""
    monkeypatch.setattr(committer_module, "GIVE_UP_S", 0.3)
    with running("valkey") as server, serving(tmp_path, CONFIG.format(url=server.url), ENV) as gateway:
        body = fresh()
        assert send(gateway, fresh()) == 200
        server.pause()
        started_s = time.monotonic()
        assert send(gateway, body) == 503
        assert time.monotonic() - started_s < 2
        server.resume()
        # What was told to come again may be in the log by now: then it is a duplicate, and it is there once.
        eventually(lambda: send(gateway, body) == 200)
        assert len(gateway.names()) == 2
        assert gateway.ledger().unaccounted == 0


def test_a_slow_store_is_not_a_slow_body(tmp_path: Path) -> None:
    """The time for the body ends with the body: a request that is all there waits for its fsync as long as we wait."""
    config = '[gateway]\nbody_timeout = "100ms"\n' + CONFIG
    statuses: list[int] = []
    with running("valkey") as server, serving(tmp_path, config.format(url=server.url), ENV) as gateway:
        assert send(gateway, fresh()) == 200
        server.pause()
        started_s = time.monotonic()
        waiting = threading.Thread(target=lambda: statuses.append(send(gateway, fresh())))
        waiting.start()
        eventually(lambda: time.monotonic() > started_s + 0.4)
        assert statuses == []
        server.resume()
        waiting.join()
        assert statuses == [200]


def test_a_store_that_is_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 85 % of its memory nothing new comes in, before the store itself refuses; with room it opens again."""
    monkeypatch.setattr(housekeeping_module, "LOOK_S", 0.02)
    with running("valkey") as server, serving(tmp_path, CONFIG.format(url=server.url), ENV) as gateway:
        assert send(gateway, fresh()) == 200
        used = int(gateway.run(gateway.gateway.store.info("memory"))["used_memory"])
        server.ask("CONFIG", "SET", "maxmemory", int(used / 0.9))
        eventually(lambda: send(gateway, fresh()) == 503)
        assert server.ask("INFO", "errorstats").get("errorstat_OOM") is None
        events = len(gateway.names())
        assert send(gateway, fresh()) == 503
        assert len(gateway.names()) == events
        assert gateway.run(gateway.gateway.here.readiness())["memory"]
        server.ask("CONFIG", "SET", "maxmemory", used * 2)
        eventually(lambda: send(gateway, fresh()) == 200)
        assert gateway.run(gateway.gateway.here.readiness()) == {}


def test_a_store_that_became_careless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody changed its configuration and the connections were cut: no 200 that a power cut could take back."""
    monkeypatch.setattr(committer_module, "GIVE_UP_S", 0.3)
    with running("valkey") as server, serving(tmp_path, CONFIG.format(url=server.url), ENV) as gateway:
        assert send(gateway, fresh()) == 200
        server.ask("CONFIG", "SET", "appendfsync", "everysec")
        server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        eventually(lambda: send(gateway, fresh()) == 503)
        events = server.ask("XLEN", "{0}:log")
        assert send(gateway, fresh()) == 503
        assert server.ask("XLEN", "{0}:log") == events
        assert "appendfsync always" in gateway.run(gateway.gateway.here.readiness())["store"]
        server.ask("CONFIG", "SET", "appendfsync", "always")
        eventually(lambda: send(gateway, fresh()) == 200)
