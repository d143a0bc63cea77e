"""``gateway serve`` as a process of its own: started, killed, told to stop, and asked."""

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

COMMAND = [sys.executable, "-c", "from gateway.cli import main; main()"]
START_S = 30.0
STOP_S = 20.0
"""More than the 15 s in which the gateway promises to be gone."""


class GatewayProcess:
    """One process on the configuration in ``folder``; it may be started again and again."""

    def __init__(
        self,
        folder: Path,
        env: Mapping[str, str],
        *,
        listen: str = "127.0.0.1:0",
        name: str = "serve",
        arguments: Sequence[str] = (),
    ) -> None:
        """``arguments``: further ones for ``gateway serve``."""
        self._words = ["serve", "--json", "--listen", listen, *arguments, "--config", str(folder / "gateway.toml")]
        self.folder = folder
        self.env = dict(env)
        self.log = folder / f"{name}.log"
        self.ready: dict[str, Any] = {}
        """What it said when it was ready."""
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.ready["listen"].rpartition(":")[2])

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def spawn(self) -> "subprocess.Popen[bytes]":
        """Start it, without waiting. It ends with us, however we end."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, *self._words],
                env={**os.environ, **self.env},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
        return self.process

    def start(self) -> "GatewayProcess":
        """Start it and wait until it is ready."""
        process = self.spawn()
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"it ended with {process.wait(STOP_S)}: {self.words()[-2_000:]}"
        self.ready = json.loads(line)
        return self

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self._reap()

    def terminate(self) -> int:
        """SIGTERM; its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self._reap()

    def close(self) -> None:
        """End it, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        if self.process is not None:
            self._reap()

    def words(self) -> str:
        """What it logged."""
        return self.log.read_text("utf-8", "replace")

    def post(self, source: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """A provider's request."""
        return httpx.post(
            f"{self.url}/in/{source}", content=body, headers=dict(headers), timeout=30, trust_env=False, verify=False
        )

    def ledger(self) -> dict[str, Any]:
        """The account, from the API; while the store is away, as soon as it is back."""
        deadline_s = time.monotonic() + START_S
        while True:
            answer = httpx.get(
                f"{self.url}/api/ledger", headers=self._token(), timeout=30, trust_env=False, verify=False
            )
            if answer.status_code != 503 or time.monotonic() > deadline_s:
                break
            time.sleep(0.05)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def verb(self, *words: str) -> tuple[int, list[Any]]:
        """Run another verb against it, with ``--json``: its exit code and the objects it printed."""
        done = subprocess.run(
            [*COMMAND, *words, "--json", "--url", self.url, "--config", str(self.folder / "gateway.toml")],
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr.decode()
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]

    def _token(self) -> dict[str, str]:
        token = (self.folder / "data" / "admin_token").read_text("utf-8").strip()
        return {"authorization": f"Bearer {token}"}

    def _reap(self) -> int:
        assert self.process is not None
        code = self.process.wait(STOP_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


@contextmanager
def gateway(folder: Path, env: Mapping[str, str], *, name: str = "serve") -> Iterator[GatewayProcess]:
    """A running gateway that has ended when the block has."""
    made = GatewayProcess(folder, env, name=name)
    try:
        yield made.start()
    finally:
        made.close()


async def settled(gateway: GatewayProcess, *, within_s: float = 30.0) -> dict[str, Any]:
    """Wait until nothing is pending or spooled; the account then."""
    deadline_s = time.monotonic() + within_s
    while True:
        ledger = await asyncio.to_thread(gateway.ledger)
        if not ledger["events"]["spooled"] and all(not line["pending"] for line in ledger["subscribers"].values()):
            return ledger
        assert time.monotonic() < deadline_s, ledger
        await asyncio.sleep(0.02)


def _end_with_parent() -> None:
    """In the child, before exec: SIGKILL when the tests end, whatever ends them."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    if os.getppid() == 1:
        os._exit(1)
