"""``gateway replay`` against a real gateway, with a subscriber that notes what it gets; one gateway is killed."""

import json
import os
import pty
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from tests.cli.running import GATEWAY, WHSEC, Running, gateway

DEADLINE_S = 30.0
EVENTS = 12


class Noting(ThreadingHTTPServer):
    """Answers everything the same and notes the headers and bodies."""

    daemon_threads = True

    def __init__(self, status: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = status
        self.seen: list[tuple[dict[str, str], bytes]] = []

    @property
    def replayed(self) -> list[tuple[dict[str, str], bytes]]:
        """What came marked as a replay."""
        return [each for each in self.seen if "gateway-replay" in each[0]]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Noting

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the library's name
        pass


@contextmanager
def noting(status: int = 204) -> Iterator[Noting]:
    """Such a server, until the block ends."""
    server = Noting(status)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def until(condition: Callable[[], Any]) -> Any:
    """Wait for something to be true, and return it."""
    end_s = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < end_s, "it did not come about in time"
        time.sleep(0.05)
    return value


def toml(port: int) -> str:
    """One source, one subscriber."""
    text = '[store]\ndurability = "fsync"\n[sources.br]\nadapter = "enviaai"\nsecrets = ["env:S"]\n'
    text += f'[subscribers.crm]\nurl = "http://127.0.0.1:{port}/"\nsecrets = ["env:W"]\n'
    return text + 'allow_networks = ["127.0.0.0/8"]\n'


def deliver(running: Running, count: int) -> None:
    """Have events logged and delivered for the first time."""
    for seed in range(count):
        running.send("message.received__documented" if seed % 3 else "message.read__documented", seed)
    until(lambda: running.ledger()["subscribers"]["crm"]["delivered"] == count)


@pytest.fixture(scope="module")
def server() -> Iterator[Noting]:
    """The subscriber of all tests but one."""
    with noting() as started:
        yield started


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, server: Noting) -> Iterator[Running]:
    """A gateway that has delivered some events."""
    with gateway(tmp_path_factory.mktemp("replay"), toml(server.server_address[1])) as started:
        deliver(started, EVENTS)
        yield started


def test_a_replay_is_shown_first_and_then_followed_to_its_end(running: Running, server: Noting) -> None:
    """Without --yes nothing is sent; with it every event comes again, signed, and the ledger stays as it was."""
    before = running.ledger()
    first = {headers["webhook-id"]: body for headers, body in server.seen}
    server.seen.clear()
    done = running.gateway("replay", "--subscriber", "crm", "--all")
    assert done.code == 1
    assert f"{EVENTS} events would be sent again" in done.out
    assert "--yes" in done.err
    assert running.gateway("replay", "list", "--json").objects == []
    done = running.gateway("replay", "--subscriber", "crm", "--since", "1h", "--yes")
    assert (done.code, f"is done: {EVENTS} delivered, 0 failed" in done.out) == (0, True), done.err
    assert {headers["webhook-id"]: body for headers, body in server.seen} == first
    (replay,) = running.gateway("replay", "list", "--json").objects
    for headers, body in server.seen:
        assert headers["gateway-replay"] == replay["id"]
        Webhook(WHSEC).verify(body, headers)
    assert {**running.ledger(), "at": ""} == {**before, "at": ""}
    assert "0 unaccounted" in running.gateway("audit").out


def test_a_replay_to_a_url_is_signed_with_a_secret_made_for_it(running: Running) -> None:
    """It is printed once and verifies; when the replay is done it lies nowhere any more."""
    with noting() as elsewhere:
        url = f"http://127.0.0.1:{elsewhere.server_address[1]}/staging"
        order = ["--to", url, "--allow-network", "127.0.0.0/8", "--type", "message.read", "--yes"]
        done = running.gateway("replay", *order, "--json")
        assert done.code == 0, done.err
        made, ended = done.objects
        assert (ended["state"], ended["delivered"], ended["to"]) == ("done", EVENTS // 3, url)
        assert len(elsewhere.seen) == EVENTS // 3
        for headers, body in elsewhere.replayed:
            Webhook(made["secret"]).verify(body, headers)
            assert json.loads(body)["type"] == "message.read"
    until(lambda: list((running.folder / "data" / "secrets").iterdir()) == [])


def test_a_replay_that_its_target_refuses_ends_with_findings(running: Running) -> None:
    """It stops by itself with the reason, the event is named with its cause, and the exit code says so."""
    [event, *_] = running.gateway("events", "--json").objects
    with noting(410) as gone:
        url = f"http://127.0.0.1:{gone.server_address[1]}/"
        order = ["--to", url, "--allow-network", "127.0.0.0/8", "--secret", "env:W", "--id", event["id"], "--yes"]
        done = running.gateway("replay", *order)
    assert done.code == 1
    assert "stopped by itself: the subscriber answered 410" in done.out
    assert f"{event['id'][:12]}  gone" in done.out


def test_mistakes_are_all_named(running: Running) -> None:
    """Exit 2, one line each; options that belong to --to are refused without it, and those before a word too."""
    wrong = ["--since", "soon", "--rate", "fast", "--where", "event.chanel == 'x'"]
    done = running.gateway("replay", *wrong, "--subscriber", "cmr")
    assert done.code == 2
    for words in ("since", "rate", "event.channel", "(did you mean crm?)"):
        assert words in done.err
    for order, option in (
        (wrong, "--to URL"),
        (["--subscriber", "crm"], "--all"),
        (["--state", "dead"], "--subscriber"),
    ):
        done = running.gateway("replay", *order)
        assert (done.code, option in done.err) == (2, True)
    assert running.gateway("replay", "--all", "--secret", "env:W").code == 2
    assert running.gateway("replay", "--all", "list").code == 2
    assert running.gateway("replay", "--to", "https://169.254.169.254/", "--all", "--yes").code == 2
    assert running.gateway("replay", "show", "rpl_zzzz").code == 1
    assert running.gateway("replay", "--subscriber", "crm", "--until", "yesterday").code == 1


def test_one_that_runs_is_cancelled_and_resumed_by_name(running: Running) -> None:
    """By a unique beginning of its id."""
    order = ["replay", "--subscriber", "crm", "--all", "--rate", "1/s", "--yes", "--detach", "--json"]
    [made] = running.gateway(*order).objects
    name = made["replay"]["id"]
    until(lambda: running.gateway("replay", "show", name, "--json").objects[0]["matched"] >= 1)
    assert running.gateway("replay", "cancel", name[:12], "--json").objects[0]["state"] == "cancelled"
    assert running.gateway("replay", "cancel", name).code == 1
    assert "was cancelled" in running.gateway("replay", "list").out
    assert running.gateway("replay", "resume", name, "--json").objects[0]["state"] == "planned"
    assert running.gateway("replay", "cancel", name).code == 0


def test_ctrl_c_leaves_it_running_and_says_how_to_look_again(running: Running) -> None:
    """On a terminal there is a progress bar; who goes away is told the commands."""
    control, terminal = pty.openpty()
    process = subprocess.Popen(
        [*GATEWAY, "replay", "--subscriber", "crm", "--all", "--rate", "1/s", "--yes"],
        cwd=running.folder,
        env={**os.environ, "GATEWAY_URL": running.url, "COLUMNS": "120", "TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    os.set_blocking(control, False)
    shown = b""

    def read() -> bytes:
        nonlocal shown
        with suppress(OSError):  # nothing yet, or nobody any more
            shown += os.read(control, 65_536)
        return shown

    try:
        until(lambda: b"so far" in read())
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        until(lambda: b"gateway replay cancel" in read())
    finally:
        process.kill()
        process.wait()
        os.close(control)
    found = re.search(rb"gateway replay cancel (rpl_[a-z2-7]+)", shown)
    assert found is not None
    name = found[1].decode()
    assert running.gateway("replay", "show", name, "--json").objects[0]["state"] == "running"
    assert running.gateway("replay", "cancel", name).code == 0


def test_a_replay_survives_a_gateway_that_is_killed(tmp_path: Path) -> None:
    """kill -9 in the middle, another gateway on the same store: it goes on, no event is left out, few come twice."""
    with noting() as server:
        config = toml(server.server_address[1])
        with gateway(tmp_path, config) as first:
            deliver(first, 30)
            order = ["replay", "--subscriber", "crm", "--all", "--rate", "8/s", "--yes", "--detach", "--json"]
            name = first.gateway(*order).objects[0]["replay"]["id"]
            until(lambda: first.gateway("replay", "show", name, "--json").objects[0]["matched"] >= 8)
            os.kill(_pid(first), signal.SIGKILL)
        sent = len(server.replayed)
        assert sent < 30
        with gateway(tmp_path, config) as second:

            def ended() -> Any:
                [item] = second.gateway("replay", "show", name, "--json").objects
                return item if item["state"] == "done" else None

            item = until(ended)
            assert (item["matched"], item["delivered"], item["failed"]) == (30, 30, 0)
            assert "0 unaccounted" in second.gateway("audit").out
        ids = Counter(headers["webhook-id"] for headers, _ in server.replayed)
        assert len(ids) == 30
        assert sum(ids.values()) <= 30 + sent - 8, "what was saved before the end is not sent again"


def _pid(running: Running) -> int:
    """The gateway's own process, which it names in its lease."""
    token = (running.folder / "data" / "admin_token").read_text().strip()
    headers = {"authorization": f"Bearer {token}"}
    status = httpx.get(f"{running.url}/api/status", headers=headers, trust_env=False).json()
    return int(status["store"]["partitions"][0]["owner"].split("/")[3])
