"""The simulated providers, against a gateway of a few lines that proves with the real adapters."""

import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adapters.contract import Adapter, NotProven, Request, Source, prove
from adapters.registry import find
from gateway.simulator import loopback, provider, scene
from tests.simulator.players import playing

HOST = "127.0.0.1"


class Receiver:
    """Answers as the gateway does, as far as a provider can tell."""

    def __init__(self, drawn: scene.Secrets) -> None:
        self.requests: list[tuple[str, bool, bytes]] = []
        """(source, whether it was proven, body)"""
        self.busy = 0
        """How many requests to answer 503 first."""
        public = drawn.flexengage_public_pem.encode()
        self.keys = {scene.KEY_URL: public}
        self.sources = {account.source: (account, account.as_source()) for account in scene.accounts(drawn, "")}
        self.sources["receipts"] = (
            self.sources["receipts"][0],
            Source(name="receipts", accounts=(scene.BRAND,), environment="test"),
        )

    def answer(self, path: str, headers: list[tuple[str, str]], body: bytes) -> tuple[int, bytes]:
        if self.busy:
            self.busy -= 1
            return 503, b'{"code":"unavailable","status":503}'
        account, source = self.sources[path.split("/")[2]]
        adapter = find(account.adapter, Path())
        assert isinstance(adapter, Adapter)
        request = Request(tuple((name.lower().encode(), value.encode()) for name, value in headers), body)
        try:
            prove(adapter, request, source, self.keys, time.time_ns() // 1_000_000)
        except NotProven:
            self.requests.append((source.name, False, body))
            return 401, b'{"code":"not_proven","status":401}'
        repeated = any(known == body for _, _, known in self.requests)
        self.requests.append((source.name, True, body))
        try:
            json.loads(body)
        except ValueError:
            return 200, b'{"status":"quarantined","request":"req_1","events":[]}'
        status = b"duplicate" if repeated else b"logged"
        return 200, (
            b'{"status":"%s","request":"req_1","events":[{"id":"evt_%d","type":"other","status":"%s"}]}'
            % (b"duplicate" if repeated else b"accepted", len(self.requests), status)
        )


@contextmanager
def receiving(drawn: scene.Secrets) -> Iterator[tuple[Receiver, str]]:
    receiver = Receiver(drawn)

    class ReceiverHandler(loopback.Handler):
        def do_POST(self) -> None:  # noqa: N802  http.server looks it up by this name
            body = self.rfile.read(int(self.headers["content-length"]))
            self.reply(*receiver.answer(self.path, self.headers.items(), body), "application/json")

    server = loopback.Server(ReceiverHandler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield receiver, f"http://{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def instructions(drawn: scene.Secrets, base_url: str, *, once: bool = True) -> provider.Instructions:
    accounts = tuple(scene.accounts(drawn, base_url))
    return provider.Instructions(accounts=accounts, once=once, rate_per_s=500.0, seed=secrets.randbits(32))


def test_a_round_of_all_five_providers_is_proven_except_where_it_is_meant_not_to_be() -> None:
    """Over real HTTP every request proves but the one with the wrong signature; every outcome is told."""
    drawn = scene.draw_secrets()
    with receiving(drawn) as (receiver, base_url), playing("provider", instructions(drawn, base_url)) as player:
        lines = player.until("finished")
        assert player.cut() == 0
    told = lines[:-1]
    assert lines[-1]["requests"] == len(told) == len(receiver.requests)
    assert {source for source, proven, _ in receiver.requests if proven} == set(receiver.sources)
    assert sum(not proven for _, proven, _ in receiver.requests) == 1
    by_purpose: dict[str, set[str]] = {}
    for line in told:
        by_purpose.setdefault(line["purpose"], set()).add(line["outcome"])
    assert by_purpose == {
        "sample": {"accepted"},
        "retry": {"duplicate"},
        "wrong_signature": {"rejected"},
        "not_json": {"quarantined"},
    }


def test_what_is_answered_503_is_sent_again_with_the_same_body() -> None:
    """A provider repeats what was not taken, and only that; the repetitions are told as such."""
    drawn = scene.draw_secrets()
    with receiving(drawn) as (receiver, base_url):
        receiver.busy = 1
        with playing("provider", instructions(drawn, base_url)) as player:
            lines: list[dict[str, Any]] = [player.line(), player.line()]
    assert [(line["attempt"], line["status"], line["final"]) for line in lines] == [(1, 503, False), (2, 200, True)]
    assert lines[0]["case"] == lines[1]["case"]


def test_nobody_there_is_an_attempt_without_an_answer() -> None:
    """A refused connection is told, not raised."""
    with playing("provider", instructions(scene.draw_secrets(), f"http://{HOST}:1")) as player:
        line = player.line()
    assert (line["status"], line["outcome"], line["final"]) == (None, "unanswered", False)
    assert "ConnectError" in line["detail"]


def test_without_once_it_goes_on_until_its_lifeline_is_cut() -> None:
    """Round follows round; cutting the lifeline ends it between two requests, with a count."""
    drawn = scene.draw_secrets()
    with (
        receiving(drawn) as (receiver, base_url),
        playing("provider", instructions(drawn, base_url, once=False)) as player,
    ):
        seen = 0
        while seen < 120:  # two rounds and more
            seen += player.line()["event"] == "request"
        assert player.cut() == 0
        last = player.until("finished")[-1]
    assert last["requests"] == len(receiver.requests)
