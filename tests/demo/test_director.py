"""What the demo says when a gateway does not start, or is not honest."""

import asyncio
import io
import sys
import time

import pytest
from rich.console import Console

from gateway.simulator import director, stage
from gateway.simulator.children import Failed
from gateway.simulator.screen import PlainScreen

LIAR = """
import json, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
readyz = int(sys.argv[1])
lock, taken = threading.Lock(), [0]
class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args): pass
    def reply(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        if self.path == "/readyz":
            return self.reply(readyz, {"store": "far away"})
        n = taken[0]
        self.reply(200, {
            "requests": {"received": n, "accepted": n, "ignored": 0, "quarantined": 0, "rejected": 0},
            "events": {"produced": n, "logged": n, "duplicate": 0, "spooled": 0},
            "subscribers": {"crm": {"offered": n, "delivered": n, "filtered": 0, "dead": 0, "discarded": 0,
                                    "pending": 0, "unaccounted": 0}},
            "unaccounted": 0,
        })
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        with lock:
            taken[0] += 1
        self.reply(200, {"status": "accepted", "events": [
            {"id": f"evt_{taken[0]}", "type": "message.read", "status": "logged"}]})
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
address = f"127.0.0.1:{server.server_address[1]}"
print(json.dumps({"event": "ready", "listen": address, "dashboard": f"http://{address}/login/x"}), flush=True)
server.serve_forever()
"""
"""Answers 200 to everything, counts every event as delivered, and delivers none."""


def perform(monkeypatch: pytest.MonkeyPatch, *command: str) -> tuple[int, str]:
    monkeypatch.setattr(stage, "gateway_command", lambda: [sys.executable, "-c", *command])
    file = io.StringIO()
    screen = PlainScreen(Console(file=file, color_system=None))
    return asyncio.run(director.perform(screen, once=True, rate_per_s=500.0)), file.getvalue()


def test_a_gateway_that_loses_events_is_found_out_although_its_ledger_adds_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The subscriber's own account is what counts: exit code 1, and the missing events by name."""
    monkeypatch.setattr(director, "ROUND_WITHIN_S", 1.0)
    code, text = perform(monkeypatch, LIAR, "200")
    assert code == 1
    assert "✗ evt_1 was logged and never reached the subscriber" in text
    assert "✗ the ledger counts 0 as requests.rejected" not in text  # everything was accepted, and that is not said
    assert "✓ every event arrived" not in text


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (
            ("import sys; sys.stderr.write('no such store\\n'); sys.exit(3)",),
            "the gateway ended with exit code 3",
        ),
        (("import time; time.sleep(60)",), "the gateway said nothing for 1 s"),
        ((LIAR, "503"), "the gateway was not ready within 1 s (readyz: 503"),
    ],
)
def test_a_gateway_that_does_not_start_is_quoted(
    monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], complaint: str
) -> None:
    """It ends early, says nothing or never gets ready: the demo says which, with its last lines, in bounded time."""
    monkeypatch.setattr(stage, "GATEWAY_WITHIN_S", 1.0)
    began_s = time.monotonic()
    with pytest.raises(Failed) as failed:
        perform(monkeypatch, *command)
    assert str(failed.value).startswith(complaint)
    assert "its last lines:" in str(failed.value)
    if "no such store" in command[0]:
        assert "  | no such store" in str(failed.value)
    assert time.monotonic() - began_s < 10.0
