"""``gateway demo`` as a user runs it: real processes, real HTTP, a real store; and what happens when one falls."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.simulator.players import alive, eventually

COMMAND = [sys.executable, "-P", "-c", "from gateway.cli import main; main()", "demo"]
PROVIDERS = {"engium", "aivo_engage", "enviaai", "flexengage", "generic_chat"}
WITHIN_S = 60.0


def lines_of(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


@pytest.fixture(scope="module")
def once() -> tuple[list[dict[str, Any]], "subprocess.CompletedProcess[bytes]"]:
    done = subprocess.run([*COMMAND, "--once", "--json"], capture_output=True, timeout=WITHIN_S)
    return lines_of(done.stdout), done


def test_one_round_arrives_whole(once: tuple[list[dict[str, Any]], "subprocess.CompletedProcess[bytes]"]) -> None:
    """Exit code 0, ok, unaccounted 0; every event answered as logged was taken, once, but the login credential."""
    lines, done = once
    assert (done.returncode, done.stderr) == (0, b"")
    ledger = lines[-1]
    assert (ledger["ok"], ledger["unaccounted"]) == (True, 0)
    requests = [line for line in lines if line.get("event") == "request"]
    events = [event for line in requests for event in line["events"]]
    logged = {event["id"] for event in events if event["status"] == "logged"}
    credentials = {event["id"] for event in events if event["type"] == "channel.qr_updated"}
    taken = Counter(line["id"] for line in lines if line.get("event") == "delivery" and line["status"] == 204)
    assert set(taken) == logged - credentials
    assert max(taken.values()) == 1
    assert {line["provider"] for line in requests} == PROVIDERS
    assert len(logged) >= 30


def test_every_term_that_a_healthy_day_has_is_seen(
    once: tuple[list[dict[str, Any]], "subprocess.CompletedProcess[bytes]"],
) -> None:
    """Accepted, quarantined, rejected, duplicate, filtered and a second attempt after a visible failure."""
    lines, _ = once
    ledger = lines[-1]
    for group, name in (
        (ledger["requests"], "accepted"),
        (ledger["requests"], "quarantined"),
        (ledger["requests"], "rejected"),
        (ledger["events"], "logged"),
        (ledger["events"], "duplicate"),
        (ledger["subscribers"]["crm"], "delivered"),
        (ledger["subscribers"]["crm"], "filtered"),
    ):
        assert group[name] > 0, name
    answers = [(line["id"], line["attempt"], line["status"]) for line in lines if line.get("event") == "delivery"]
    refused = {event_id for event_id, attempt, status in answers if (attempt, status) == (1, 500)}
    assert refused
    assert refused <= {event_id for event_id, attempt, status in answers if attempt > 1 and status == 204}
    assert any(event["type"] == "other" for line in lines[:-1] for event in line.get("events", []))


class Running:
    """A demo that goes on, with what it has said so far."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self.said: list[dict[str, Any]] = []

    def until(self, event: str) -> dict[str, Any]:
        """Read on to the next line of that ``event``."""
        assert self.process.stdout is not None
        for text in self.process.stdout:
            self.said.append(json.loads(text))
            if self.said[-1].get("event") == event:
                return self.said[-1]
        raise AssertionError(f"it ended before {event}")

    @property
    def family(self) -> set[int]:
        """The process ids of everything it started, and of what those started."""
        pids = {self.process.pid}
        parents = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(stat.parent.name)] = int(fields[1])
        while more := {pid for pid, parent in parents.items() if parent in pids} - pids:
            pids |= more
        return pids - {self.process.pid}


@contextmanager
def running(*options: str) -> Iterator[Running]:
    process = subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield Running(process)
    finally:
        process.kill()
        process.communicate()


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")


@needs_proc
def test_ctrl_c_ends_it_with_the_equation_and_leaves_nothing_and_a_pipe_gets_plain_text() -> None:
    """What is on its way arrives, the verdict comes last, no process, no file, and never a control character."""
    with running() as demo:
        assert demo.process.stdout is not None
        text = ""
        while "delivered" not in text:
            more = demo.process.stdout.readline().decode()
            assert more, "it ended"
            text += more
        folder = Path(next(line.split()[-1] for line in text.splitlines() if line.startswith("try"))).parent
        family = demo.family
        assert folder.exists()
        assert len(family) >= 6  # key host, subscriber, provider, tether, gateway, store
        demo.process.send_signal(signal.SIGINT)
        output, errors = demo.process.communicate(timeout=WITHIN_S)
    assert (demo.process.returncode, errors) == (0, b"")
    text += output.decode()
    assert not any(ord(character) < 32 and character != "\n" for character in text)
    assert "/login/" in text
    assert "0 unaccounted" in text
    assert text.rstrip().splitlines()[-1] == "✓ every event arrived, nothing is unaccounted for"
    assert not folder.exists()
    assert eventually(lambda: not any(map(alive, family)), 5.0)


@needs_proc
def test_kill_9_leaves_no_process_and_no_secrets_behind() -> None:
    """Nobody is there to clean up, and yet everything goes: players, gateway, store, and the folder."""
    with running("--json") as demo:
        folder = Path(demo.until("ready")["config"]).parent
        demo.until("delivery")
        family = demo.family
        assert len(family) >= 6
        demo.process.kill()
        assert eventually(lambda: not any(map(alive, family)), 20.0)
        assert eventually(lambda: not folder.exists(), 5.0)


@needs_proc
def test_ctrl_c_while_it_starts_ends_it_at_once() -> None:
    """There is nothing to wait for yet: exit code 130, no process left."""
    with running("--json") as demo:
        demo.until("started")
        family = demo.family
        demo.process.send_signal(signal.SIGINT)
        _, errors = demo.process.communicate(timeout=WITHIN_S)
    assert (demo.process.returncode, errors) == (130, b"")
    assert eventually(lambda: not any(map(alive, family)), 5.0)


@needs_proc
def test_a_process_that_falls_ends_the_demo_with_its_name() -> None:
    """Without its subscriber the demo is no demo: it says who ended, and how, and exits 1."""
    with running("--json") as demo:
        demo.until("delivery")
        pid = next(line["pid"] for line in demo.said if line.get("process") == "subscriber")
        family = demo.family
        os.kill(pid, signal.SIGKILL)
        _, errors = demo.process.communicate(timeout=WITHIN_S)
    assert demo.process.returncode == 1
    assert errors.decode().startswith("the subscriber ended with exit code -9; its last lines:")
    assert eventually(lambda: not any(map(alive, family)), 5.0)
