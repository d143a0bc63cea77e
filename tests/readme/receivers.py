"""The README's receivers as programs, and the real sender to try them with."""

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import NamedTuple

from gateway.config import SubscriberSettings
from gateway.delivery.attempt import Sender
from gateway.delivery.guard import Guard
from gateway.delivery.outcome import Outcome
from tests.readme.document import Document

SECRET, OTHER_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_plJ3nmyCDGBKInavdOK15jsl"
WITHIN_S = 20.0

_TYPES = (r"^import type .*$", r"(?<=const event): GatewayEvent(?= =)", r"(?<=new Set)<string>")
"""What makes the TypeScript receiver one: taken out, it is JavaScript for any Node.js."""


class Receiver(NamedTuple):
    """A program from the README that listens."""

    port: int
    printed: Callable[[], list[str]]
    """Its lines after the first."""


def python(document: Document, folder: Path) -> list[str]:
    """The command that runs the Python receiver."""
    (folder / "receiver.py").write_text(document.block("python", "# receiver.py").text)
    return [sys.executable, "-W", "error", "receiver.py"]


def typescript(document: Document, folder: Path) -> list[str]:
    """The command that runs the TypeScript receiver, its types taken out."""
    code = document.block("ts", "// receiver.ts").text
    for pattern in _TYPES:
        code, count = re.subn(pattern, "", code, flags=re.MULTILINE)
        assert count == 1, f"the receiver has no {pattern}"
    (folder / "receiver.mjs").write_text(code)
    return ["node", "receiver.mjs"]


def go(document: Document, folder: Path) -> list[str]:
    """The command that runs the Go receiver; it is formatted, vetted and built first, without a network."""
    (folder / "receiver.go").write_text(document.block("go", "// receiver.go").text)
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOPROXY": "off", "GO111MODULE": "off"}
    for command in (["gofmt", "-l", "receiver.go"], ["go", "vet", "receiver.go"], ["go", "build", "receiver.go"]):
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=110)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), " ".join(command)
    return ["./receiver"]


@contextmanager
def listening(command: list[str], folder: Path) -> Iterator[Receiver]:
    """Run it on a free port until the block ends; it ends with us, however we end."""
    output, errors = folder / "output", folder / "errors"
    with output.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "gateway.simulator.tether", "--", *command, "0"],
            cwd=folder,
            env={**os.environ, "WEBHOOK_SECRET": SECRET},
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
        )
    assert process.stdin is not None
    try:
        deadline_s = time.monotonic() + WITHIN_S
        while "\n" not in output.read_text():
            assert process.poll() is None, errors.read_text()
            assert time.monotonic() < deadline_s, "it does not listen"
            time.sleep(0.02)
        port = re.search(r"(\d+)\D*$", output.read_text().splitlines()[0])
        assert port is not None
        yield Receiver(int(port[1]), lambda: output.read_text().splitlines()[1:])
        assert process.poll() is None, errors.read_text()
        assert errors.read_text() == ""
    finally:
        process.stdin.close()
        process.wait(30)


def deliver(
    port: int, event_id: str, body: bytes, *, secrets: tuple[str, ...] = (SECRET,), age_s: float = 0.0
) -> Outcome:
    """One delivery as the gateway makes it, signed ``age_s`` ago."""

    async def once() -> Outcome:
        own = (ip_network("127.0.0.0/8"),)
        settings = SubscriberSettings(
            name="app", url=f"http://127.0.0.1:{port}/hooks", secrets=secrets, allow_networks=own
        )
        sender = Sender(settings, Guard(), wall_ms=lambda: int((time.time() - age_s) * 1000), monotonic=time.monotonic)
        try:
            return await sender.send(event_id, body, attempt=1, attempts_left=9)
        finally:
            await sender.close()

    return asyncio.run(once())
