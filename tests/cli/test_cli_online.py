"""The verbs that ask a running gateway: a real one, with a subscriber that takes all and one that is not there."""

import asyncio
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.tail import parse_stream
from tests.cli.running import GATEWAY, Done, Running, gateway, run, subscriber
from tests.support.servers import answering, response, serving

DEADLINE_S = 20.0


def until(condition: Callable[[], Any]) -> Any:
    """Wait for something to be true, and return it."""
    end_s = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < end_s, "it did not come about in time"
        time.sleep(0.05)
    return value


def _unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway to which three events came; two of them are dead letters of the subscriber ``down``."""
    with subscriber() as port:
        toml = '[store]\ndurability = "fsync"\n[sources.br]\nadapter = "enviaai"\nsecrets = ["env:S"]\n'
        for name, target, types in (("up", port, "*"), ("down", _unused_port(), "message.received")):
            toml += f'[subscribers.{name}]\nurl = "http://127.0.0.1:{target}/"\nsecrets = ["env:W"]\nretry = []\n'
            toml += f'types = ["{types}"]\nallow_networks = ["127.0.0.0/8"]\n'
        with gateway(tmp_path_factory.mktemp("online"), toml) as started:
            for seed in (1, 2):
                started.send("message.received__documented", seed)
            started.send("message.read__documented", 3)
            until(lambda: _settled(started.ledger()))
            yield started


def _settled(ledger: dict[str, Any]) -> bool:
    lines = ledger["subscribers"]
    return ledger["events"]["logged"] >= 3 and bool(lines) and not any(line["pending"] for line in lines.values())


def test_status_shows_the_equation(running: Running) -> None:
    """The answer to the question, the sums, and each source and subscriber with its state."""
    done = running.gateway("status")
    assert done.code == 0, done.err
    assert "Is anything lost? No" in done.out
    assert "3 received" in done.out
    assert [word for word in ("br", "up", "down", "valkey") if word not in done.out] == []


def test_status_as_json_is_the_ledger(running: Running) -> None:
    """One object: what GET /api/ledger answers, and apart from it the replays."""
    [ledger] = running.gateway("status", "--json").objects
    assert ledger.pop("replays")["states"] == {}
    assert {**ledger, "at": ""} == {**running.ledger(), "at": ""}


def test_audit_counts_the_same(running: Running) -> None:
    """Recounted from the log, the account is the same, and one object too."""
    done = running.gateway("audit", "--json")
    assert done.code == 0, done.err
    [ledger] = done.objects
    assert {**ledger, "at": ""} == {**running.ledger(), "at": ""}
    assert "unaccounted 0" in running.gateway("audit").out


def test_events_are_searched(running: Running) -> None:
    """By type, source and time; the newest first, or from the beginning on; one canonical event a line."""
    newest = running.gateway("events", "--json").objects
    assert [event["source"] for event in newest] == ["br", "br", "br"]
    assert running.gateway("events", "--json", "--oldest-first").objects == newest[::-1]
    assert running.gateway("events", "--json", "--limit", "2").objects == newest[:2]
    [read] = running.gateway("events", "--json", "--type", "message.read").objects
    assert read["type"] == "message.read"
    assert len(running.gateway("events", "--json", "--since", "10m", "--type", "message.*").objects) == 3
    assert running.gateway("events", "--json", "--until", "yesterday").objects == []
    assert "message.read" in running.gateway("events").out


def test_a_time_that_is_none_is_a_mistake_of_usage(running: Running) -> None:
    """The API says what a time looks like, and the verb exits 2."""
    done = running.gateway("events", "--since", "soon")
    assert done.code == 2
    assert "15m" in done.err


def test_one_event_is_shown_by_the_beginning_of_its_id(running: Running) -> None:
    """Canonical, raw and deliveries; a unique beginning is enough."""
    [event] = running.gateway("events", "--json", "--type", "message.read").objects
    [shown] = running.gateway("show", event["id"][:14], "--json").objects
    assert shown["event"]["id"] == event["id"]
    assert shown["raw"]["event"] == "message.read"
    assert {delivery["subscriber"] for delivery in shown["deliveries"]} == {"up", "down"}
    text = running.gateway("show", event["id"]).out
    assert event["provenance"]["raw_sha256"] in text
    assert running.gateway("show", "evt_aaaaaaaa").code == 1


def test_dead_letters_are_listed_and_shown(running: Running) -> None:
    """With subscriber, cause and the last answer."""
    items = running.gateway("dead", "list", "--json").objects
    assert [(item["subscriber"], item["cause"]) for item in items] == [("down", "connect")] * 2
    assert running.gateway("dead", "list", "--subscriber", "up", "--json").objects == []
    assert running.gateway("dead", "list", "--cause", "timeout", "--json").objects == []
    assert "down" in running.gateway("dead", "list").out
    assert running.gateway("dead", "show", items[0]["event_id"][:14], "--json").objects == [items[0]]
    assert "connect" in running.gateway("dead", "show", items[0]["event_id"]).out
    assert running.gateway("dead", "show", "evt_aaaa").code == 1


def test_bulk_actions_say_first_what_they_would_do(running: Running) -> None:
    """Without --yes and without a terminal nothing changes, and the exit code says so."""
    done = running.gateway("dead", "drop", "--all")
    assert done.code == 1
    assert "2 dead letters would be given up for good: 2 of down" in done.out
    assert "--yes" in done.err
    trial = running.gateway("dead", "retry", "--subscriber", "down", "--dry-run", "--json")
    assert (trial.code, trial.objects[0]["matched"], trial.objects[0]["moved"]) == (0, 2, 0)
    assert len(running.gateway("dead", "list", "--json").objects) == 2


def test_dead_letters_are_tried_again_and_given_up(running: Running) -> None:
    """Retried they fail and die again; dropped they count as discarded; the equation holds."""
    retried = running.gateway("dead", "retry", "--cause", "connect", "--yes", "--json")
    assert (retried.code, retried.objects[0]["moved"]) == (0, 2), retried.err
    until(lambda: running.ledger()["subscribers"]["down"]["dead"] == 2)
    [first, _] = running.gateway("dead", "list", "--json").objects
    assert "1 dead letter is given up for good" in running.gateway("dead", "drop", first["event_id"], "--yes").out
    ledger = running.ledger()
    assert (ledger["subscribers"]["down"]["discarded"], ledger["unaccounted"]) == (1, 0)
    assert running.gateway("dead", "drop", first["event_id"], "--yes").code == 1


def test_tail_prints_events_as_they_come(running: Running) -> None:
    """Each new event of the types asked for is one line, at once, also into a pipe; others are none."""
    process = subprocess.Popen(
        [*GATEWAY, "tail", "--json", "--type", "message.failed"],
        cwd=running.folder,
        env={**os.environ, "GATEWAY_URL": running.url},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    try:
        seen = b""
        seed = 100

        def line() -> bytes:
            nonlocal seen, seed
            seed += 1
            running.send("message.received__documented", seed + 1_000)
            running.send("message.failed__documented", seed)  # until the verb listens, nobody hears it
            seen += process.stdout.read() or b"" if process.stdout else b""
            return seen if b"\n" in seen else b""

        event = json.loads(until(line).split(b"\n")[0])
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()
    assert event["type"] == "message.failed"
    assert event["raw"]["event"] == "message.failed"


@pytest.mark.parametrize("token", ["wrong", ""])
def test_a_wrong_token_is_a_mistake_of_the_configuration(running: Running, token: str) -> None:
    """Exit 3, with the option that names another; an empty variable is no token."""
    done = running.gateway("status", "--token", token) if token else running.gateway("status")
    assert (done.code, "--token" in done.err) == ((3, True) if token else (0, False))


def test_a_stranger_at_the_address_is_told_apart(tmp_path: Path) -> None:
    """Something that answers but is no gateway: exit 4."""
    with subscriber() as port:
        done = run("status", "--url", f"http://127.0.0.1:{port}", "--token", "x", cwd=tmp_path)
    assert done.code == 4
    assert "does not answer like a gateway" in done.err


def test_status_without_the_store_says_what_is_known(tmp_path: Path) -> None:
    """Exit 4, in words and as JSON: since when, why, what the spool holds; never a number of the account."""
    store = f'[store]\nurl = "redis://127.0.0.1:{_unused_port()}"\nspool_bytes = "16MiB"\n'
    with gateway(tmp_path, store + '[sources.br]\nadapter = "enviaai"\nsecrets = ["env:S"]\n') as started:
        started.send("message.received__documented", 1)
        said = started.gateway("status")
        done = started.gateway("status", "--json")
        assert (said.code, said.out) == (4, "")
        assert "the store is away since" in said.err
        [told] = done.objects
        assert (done.code, list(told)) == (4, ["store_away"])
        away = told["store_away"]
        assert away["since"] in said.err
        assert away["why"] in said.err
        assert (away["refused"], away["spool"]["requests"], away["spool"]["limit_bytes"]) == (None, 1, 16 * 1024**2)
    gone = run("status", "--json", "--url", started.url, "--token", "x", cwd=tmp_path)
    assert (gone.code, gone.out) == (4, "")


def test_streams_are_read_as_the_standard_says() -> None:
    """Comments and retry lines are passed over, data lines joined, an id stays until the next."""
    lines = [
        "retry: 2000",
        "",
        ": still here",
        "",
        "id: a",
        "data: 1",
        "data: 2",
        "",
        "event: gap",
        "data:3",
        "",
        "id: b",
        "",
    ]
    assert list(parse_stream(lines)) == [("a", "message", "1\n2"), ("a", "gap", "3")]


def test_send_calls_a_503_refused(running: Running) -> None:
    """The gateway did answer, though for a provider it is as good as no answer."""

    async def send() -> Done:
        async with serving(answering(response("503 Service Unavailable"))) as server:
            url = f"http://127.0.0.1:{server.port}"
            words = ("send", "br", "message.failed", "--url", url)
            return await asyncio.to_thread(run, *words, cwd=running.folder)

    done = asyncio.run(send())
    assert (done.code, "→ 503 refused · " in done.out) == (1, True), done
