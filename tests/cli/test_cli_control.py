"""The verbs that steer a running gateway: pause, resume, subscribers, reload, trace; a real one, with real requests."""

import contextlib
import itertools
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.enviaai import ADAPTER as ENVIAAI
from tests.cli.running import SOURCE, Running, gateway, subscriber

DEADLINE_S = 20.0


def until(condition: Callable[[], Any]) -> Any:
    """Wait for something to be true, and return it."""
    end_s = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < end_s, "it did not come about in time"
        time.sleep(0.05)
    return value


def toml(port: int, *, source: str = "", **subscribers: str) -> str:
    """A configuration with the source ``br`` and these subscribers, each with lines of its own."""
    text = f'[store]\ndurability = "fsync"\n[sources.br]\nadapter = "enviaai"\nsecrets = ["env:S"]\n{source}\n'
    for name, lines in subscribers.items():
        text += f'[subscribers.{name}]\nurl = "http://127.0.0.1:{port}/"\nsecrets = ["env:W"]\n'
        text += f'allow_networks = ["127.0.0.0/8"]\n{lines}\n'
    return text


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Where a subscriber takes everything."""
    with subscriber() as listening:
        yield listening


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Running]:
    """A gateway with the subscriber ``up``, and ``calls`` that wants messages sent out on WhatsApp."""
    where = """types = ["message.*"]\nwhere = 'event.channel == "whatsapp" && event.data.direction == "outbound"'"""
    with gateway(tmp_path_factory.mktemp("control"), toml(port, up="", calls=where)) as started:
        yield started


def ask(running: Running, method: str, path: str) -> httpx.Response:
    """The API's answer to the operator."""
    token = (running.folder / "data" / "admin_token").read_text().strip()
    headers = {"authorization": f"Bearer {token}"}
    return httpx.request(method, f"{running.url}{path}", headers=headers, trust_env=False)


def line(running: Running, name: str) -> dict[str, int]:
    """One subscriber's line of the account; empty before it has one."""
    found: dict[str, int] = running.ledger()["subscribers"].get(name, {})
    return found


def test_a_paused_subscriber_waits_and_resume_drains(running: Running) -> None:
    """Pending rises while it is paused, everywhere it says why, and after resume all is delivered."""
    done = running.gateway("pause", "up", "--why", "moving house")
    assert done.code == 0, done.err
    until(lambda: _logged(running, "delivery.paused") == 1)
    before = line(running, "up")["delivered"]
    for seed in range(5):
        running.send("message.received__documented", 1_000 + seed)
    until(lambda: line(running, "up")["pending"] == 5)
    assert line(running, "up")["delivered"] == before
    assert "moving house" in running.gateway("status").out
    [up] = [each for each in running.gateway("subscribers", "list", "--json").objects if each["name"] == "up"]
    assert (up["state"], up["paused"], up["origin"]) == ("paused", "moving house", "file")
    [resumed] = running.gateway("resume", "up", "--json").objects
    assert resumed["paused"] is None
    until(lambda: line(running, "up")["pending"] == 0)
    assert line(running, "up")["delivered"] == before + 5
    assert running.ledger()["unaccounted"] == 0


def _logged(running: Running, event: str) -> int:
    """How often the gateway's log tells this."""
    return (running.folder / "serve.log").read_text().count(f'"event":"{event}"')


def test_trace_says_why_an_event_came_and_why_not(running: Running) -> None:
    """Delivered to one; for the other the clause that said no; and a type that it does not ask for."""
    identity = running.send("message.received__documented", 50)
    until(lambda: line(running, "up")["pending"] == 0 and line(running, "calls")["pending"] == 0)
    [found] = running.gateway("trace", identity, "--json").objects
    received, logged = found["steps"]
    assert (received["what"], logged["what"]) == ("received", "logged")
    by_name = {each["subscriber"]: each for each in found["subscribers"]}
    assert received["at"] <= logged["at"] <= by_name["up"]["attempts"][0]["began_at"]
    assert (by_name["up"]["state"], by_name["up"]["certain"]) == ("delivered", True)
    assert by_name["calls"]["state"] == "filtered"
    (no,) = [step for step in by_name["calls"]["steps"] if step["what"] == "not_matched"]
    assert no["words"] == 'where said no: event.data.direction == "outbound"'
    text = running.gateway("trace", identity).out
    assert "proven by" in text
    assert "outbound" in text
    other = running.send("instance.connected__documented", 51)
    [found] = running.gateway("trace", other, "--subscriber", "calls", "--json").objects
    assert "does not ask for channel.connected" in json.dumps(found["subscribers"])
    assert running.gateway("trace", "evt_aaaaaaaa").code == 1
    assert running.gateway("trace", identity, "--subscriber", "nobody").code == 1


def test_a_subscriber_is_made_tried_and_deleted(running: Running, port: int) -> None:
    """Without the file: its secret is told once, it is delivered to, and after delete --forget nothing is left."""
    url = f"http://127.0.0.1:{port}/made"
    made = running.gateway("subscribers", "create", "made", url, "--set", 'allow_networks=["127.0.0.0/8"]', "--json")
    assert made.code == 0, made.err
    [answer] = made.objects
    assert answer["secret"].startswith("whsec_")
    assert answer["subscriber"]["settings"]["secrets"][0].startswith("file:secrets/made.")
    running.send("message.received__documented", 70)
    until(lambda: line(running, "made").get("delivered", 0) == 1)
    [shown] = running.gateway("subscribers", "show", "made", "--json").objects
    assert (shown["origin"], shown["state"]) == ("api", "up_to_date")
    assert answer["secret"] not in json.dumps(running.gateway("subscribers", "list", "--json").objects)
    tried = running.gateway("subscribers", "test", "made", "--json")
    assert (tried.code, tried.objects[0]["delivered"], tried.objects[0]["status"]) == (0, True, 204)
    assert running.gateway("subscribers", "delete", "made").code == 1, "without --yes and a terminal nothing happens"
    gone = running.gateway("subscribers", "delete", "made", "--forget", "--yes", "--json")
    assert gone.objects[0]["forgotten"] is True, gone.err
    assert "made" not in running.ledger()["subscribers"]
    assert list((running.folder / "data" / "secrets").iterdir()) == []
    assert running.gateway("subscribers", "show", "made").code == 1
    refused = running.gateway("subscribers", "delete", "up", "--yes")
    assert (refused.code, "defined in gateway.toml" in refused.err) == (1, True)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("resume", "calsl"), 1, "there is no subscriber calsl (did you mean calls?); there are: calls, up"),
        (("resume", ""), 2, "'' is no subscriber\ngateway subscribers list names them"),
        (("pause", "up/.."), 2, "'up/..' is no subscriber\n"),
        (("show", ""), 2, "'' is no event\ngateway events names them"),
        (("replay", "show", "."), 2, "'.' is no replay\ngateway replay list names them"),
        (("dead", "list", "--subscriber", "call"), 1, "there is no subscriber call (did you mean calls?)"),
        (("events", "--source", "brr"), 1, "there is no source brr (did you mean br?); there are: br"),
        (("tail", "--type", "nope"), 2, "no event has the type nope"),
        (("dead", "retry", "--cause", "nope", "--yes"), 1, "no dead letter has the cause nope; there are"),
        (("tail", "--source", "brr"), 1, "there is no source brr (did you mean br?); there are: br"),
    ],
)
def test_a_wrong_name_is_told_with_the_one_that_was_meant(
    running: Running, words: tuple[str, ...], code: int, told: str
) -> None:
    """And one that is no name leads to no other path of the API."""
    done = running.gateway(*words)
    assert (done.code, told in done.err) == (code, True), done.err


def test_every_mistake_of_a_new_subscriber_is_told(running: Running) -> None:
    """One refusal, each field with what to write."""
    done = running.gateway(
        "subscribers", "create", "bad", "http://user:pw@x/", "--type", "nothing", "--set", "order=no"
    )
    assert done.code == 2
    for field in ("url", "types[0]", "order"):
        assert f"{field}: " in done.err


def test_advice_names_the_option_of_the_command(running: Running) -> None:
    """Whoever makes a subscriber or a replay for http is told of --allow-network, and of his mistake alone."""
    made = running.gateway("subscribers", "create", "near", "http://10.1.1.1/")
    sent = running.gateway("replay", "--all", "--to", "http://10.1.1.1/", "--dry-run")
    for done in (made, sent):
        assert (done.code, done.err.count("--allow-network 10.1.1.1/32")) == (2, 1), done.err
    named = running.gateway("subscribers", "create", "Bad_Name", "https://a.example/")
    assert (named.code, "has a name that" in named.err, "secrets" in named.err) == (2, True, False), named.err


def test_a_paused_subscriber_is_told_once(running: Running) -> None:
    """Its line of the table has the state, and the problem below it the reason and the command."""
    running.gateway("pause", "up", "--why", "mending it")
    try:
        said = running.gateway("status").out
    finally:
        running.gateway("resume", "up")
    assert (said.count("mending it"), said.count("gateway resume up")) == (1, 1), said


def test_a_url_without_its_beginning_is_told_so(running: Running) -> None:
    """Not in the words of a library, and nobody is told to start a gateway that runs."""
    done = running.gateway("status", "--url", "127.0.0.1:8473")
    assert (done.code, done.err) == (
        2,
        "--url 127.0.0.1:8473 lacks its beginning: write http:// or https:// before it\n",
    )


class Load:
    """Requests, one after the other, until it is told to stop."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.statuses: Counter[int] = Counter()
        self._seeds = itertools.count(100_000)
        self._stop = threading.Event()
        self._lock = threading.Lock()

    def run(self) -> None:
        """Send distinct events."""
        with httpx.Client(trust_env=False) as client:
            while not self._stop.is_set():
                body = ENVIAAI.sample("message.received__documented", next(self._seeds))
                answer = client.post(f"{self.running.url}/in/br", content=body, headers=ENVIAAI.sign(body, SOURCE, 0))
                with self._lock:
                    self.statuses[answer.status_code] += 1

    @contextlib.contextmanager
    def going(self) -> Iterator["Load"]:
        """Send while the block runs, and a little before and after."""
        threads = [threading.Thread(target=self.run) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            until(lambda: self.statuses[200] > 20)
            yield self
            done = self.statuses[200]
            until(lambda: self.statuses[200] > done + 20)
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()


def reload_all_ways(running: Running, port: int) -> None:
    """By the verb, with a mistake, and by SIGHUP; each time it is seen what changed and what did not."""
    tmp_path = running.folder
    file = tmp_path / "gateway.toml"
    again = toml(
        port, source='[sources.second]\nadapter = "enviaai"\nsecrets = ["env:S"]', up="concurrency = 4", new=""
    )
    file.write_text(again)
    plan = running.gateway("reload", "--dry-run", "--json").objects[0]
    assert {(each["what"], each["change"]) for each in plan["changes"]} == {
        ("sources.second", "added"),
        ("subscribers.new", "added"),
        ("subscribers.old", "removed"),
        ("subscribers.up", "changed"),
    }
    assert httpx.post(f"{running.url}/in/second", content=b"{}", trust_env=False).status_code == 404
    assert running.gateway("reload").code == 1, "without --yes and a terminal it only shows"
    assert running.gateway("reload", "--yes", "--json").objects[0]["dry_run"] is False
    assert httpx.post(f"{running.url}/in/second", content=b"{}", trust_env=False).status_code == 401
    until(lambda: line(running, "new"))
    file.write_text(again + '\n[sources.third]\nadapter = "enviaai"\nsecret = ["env:S"]\n[nothing]\n')
    assert running.gateway("reload", "--yes").code == 3, "the verb reads the same file to find the gateway"
    answer = ask(running, "POST", "/api/reload")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    mistakes = answer.json()["mistakes"]
    assert {each["at"] for each in mistakes} == {"gateway.toml:22", "gateway.toml:23"}
    assert "did you mean secrets?" in answer.text
    assert str(tmp_path) not in answer.text
    assert httpx.post(f"{running.url}/in/third", content=b"{}", trust_env=False).status_code == 404
    more = toml(port, up="", new="", hup="").replace("[store]", '[gateway]\nlog_level = "debug"\n[store]')
    file.write_text(more)
    os.kill(_serving(running), signal.SIGHUP)
    until(lambda: line(running, "hup"))
    assert running.gateway("reload", "--dry-run", "--json").objects[0]["restart"] == ["gateway.log_level"]


def test_reloads_under_load_refuse_no_request_and_lose_no_event(tmp_path: Path, port: int) -> None:
    """Sources and subscribers change, by verb and by SIGHUP, a mistake changes nothing; every answer is 200."""
    first = toml(port, up="", old="")
    with gateway(tmp_path, first) as running:
        load = Load(running)
        with load.going():
            reload_all_ways(running, port)
        until(lambda: line(running, "up")["pending"] == 0)
        assert set(load.statuses) == {200}
        ledger = running.ledger()
        assert ledger["events"]["logged"] == load.statuses[200] == ledger["subscribers"]["up"]["delivered"]
        assert ledger["unaccounted"] == 0


def _serving(running: Running) -> int:
    """The gateway's own process id, as it stands in the name of the lease's owner."""
    answer = ask(running, "GET", "/api/status")
    owner: str = answer.json()["store"]["partitions"][0]["owner"]
    return int(owner.split("/")[3])


def test_changes_shows_who_did_what(running: Running) -> None:
    """The newest first, as text and as JSON; a pause of this moment is at the top, with what it was before."""
    assert running.gateway("pause", "up", "--why", "to be seen").code == 0
    assert running.gateway("resume", "up").code == 0
    resumed, paused = running.gateway("changes", "--limit", "2", "--json").objects
    assert (resumed["what"], resumed["before"], resumed["after"]) == (
        "subscriber.resume", {"paused": "to be seen"}, {"paused": None},
    )  # fmt: skip
    assert (paused["who"], paused["role"], paused["subject"]) == ("admin_token", "operate", "up")
    shown = running.gateway("changes", "--limit", "1").out
    assert "subscriber.resume up" in shown
    assert "to be seen" in shown
