"""The command as a function, and a real gateway for the verbs that ask one."""

import contextlib
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import httpx
import msgspec

from adapters.contract import Source
from adapters.enviaai import ADAPTER as ENVIAAI
from gateway.cli import main

GATEWAY = [sys.executable, "-c", "from gateway.cli import main; main()"]
SECRET = "enviaai-secret-of-these-tests"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SOURCE = Source(name="br", secrets=(SECRET.encode(),))


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[Any]:
        """What ``--json`` printed: every line is one object."""
        return [json.loads(line) for line in self.out.splitlines()]


def run(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> Done:
    """Run the command in this process, which is quicker than a new one; without a terminal."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with (
        contextlib.chdir(cwd),
        patch.dict(os.environ, {"COLUMNS": "100", **(env or {})}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        patch("gateway.wide_log.set_up"),  # it holds for the whole process, and every later test would log into `err`
    ):
        try:
            main(list(arguments))
        except SystemExit as ended:
            code = ended.code or 0
    return Done(int(code), out.getvalue(), err.getvalue())


def run_process(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> Done:
    """Run the command as a process of its own, without a terminal."""
    done = subprocess.run(
        [*GATEWAY, *arguments],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "100", **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return Done(done.returncode, done.stdout, done.stderr)


class Running(NamedTuple):
    """A gateway that runs, and the folder with its configuration."""

    folder: Path
    url: str

    def send(self, case: str, seed: int) -> str:
        """Send one signed request and return the id of its event."""
        body = ENVIAAI.sample(case, seed)
        answer = httpx.post(f"{self.url}/in/br", content=body, headers=ENVIAAI.sign(body, SOURCE, 0), trust_env=False)
        assert answer.status_code == 200, answer.text
        identity: str = answer.json()["events"][0]["id"]
        return identity

    def gateway(self, *arguments: str) -> Done:
        """Run a verb against it."""
        return run(*arguments, cwd=self.folder, env={"GATEWAY_URL": self.url})

    def ledger(self) -> dict[str, Any]:
        """The account, from the API itself."""
        token = (self.folder / "data" / "admin_token").read_text().strip()
        answer = httpx.get(f"{self.url}/api/ledger", headers={"authorization": f"Bearer {token}"}, trust_env=False)
        found: dict[str, Any] = answer.json()
        return found


class _Taker(BaseHTTPRequestHandler):
    """A subscriber that takes everything."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the library's name
        pass


@contextmanager
def subscriber() -> Iterator[int]:
    """A subscriber on a port of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Taker)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def gateway(folder: Path, toml: str, *more: str) -> Iterator[Running]:
    """``gateway serve`` as a process that ends with us, however we end (its lifeline is our pipe).

    ``more``: further arguments.
    """
    (folder / "gateway.toml").write_text(toml)
    (folder / ".env").write_text(f"S={SECRET}\nW={WHSEC}\n")
    (folder / ".env").chmod(0o600)
    command = [sys.executable, "-m", "gateway.simulator.tether", "--", *GATEWAY]
    command += ["serve", "--json", "--listen", "127.0.0.1:0", "--config", str(folder / "gateway.toml"), *more]
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, (folder / "serve.log").read_text()
        yield Running(folder, f"http://{msgspec.json.decode(line)['listen']}")
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()
