"""The gateway under test: ``gateway serve`` as a child, as a user starts it, with a store of its own."""

import http.client
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import redis

from adapters.enviaai import ADAPTER
from bench.load import SECRET, SOURCE
from bench.machine import Cores
from bench.process import BenchError, Child, command_name, descendants, move, resident_bytes
from gateway.store.embedded import socket_path
from gateway.store.layout import Keys

SUBSCRIBER = "sink"
STORE_COMMANDS = ("valkey-server", "redis-server")
SUBSCRIBER_SECRET = "whsec_YmVuY2htYXJrcy1zaWduLXdpdGgtdGhpcy1zZWNyZXQ="
ADMIN_TOKEN = "a-token-that-opens-nothing-but-benchmarks"

_ENVIRONMENT = {
    "BENCH_SOURCE_SECRET": SECRET.decode(),
    "BENCH_SUBSCRIBER_SECRET": SUBSCRIBER_SECRET,
    "BENCH_ADMIN_TOKEN": ADMIN_TOKEN,
}


class StoreFacts(msgspec.Struct, frozen=True):
    """What the live store says of itself."""

    version: str
    appendfsync: str
    log_length: int
    memory_bytes: int
    aof_bytes: int
    """Size of the append-only file."""
    commits: int
    """Scripts run so far; during intake these are the commits."""


class Progress(msgspec.Struct, frozen=True):
    """How far one subscriber is."""

    logged: int
    cursor: int
    delivered: int
    parked: int
    dead: int

    @property
    def pending(self) -> int:
        """Not yet settled: behind the cursor, or parked."""
        return self.logged - self.cursor + self.parked


def write_config(
    directory: Path,
    data: Path,
    *,
    sink_url: str | None,
    concurrency: int = 64,
    neighbours: Mapping[str, str] | None = None,
) -> Path:
    """Write ``gateway.toml`` for one source and, with ``sink_url``, one subscriber that reads from the beginning.

    ``neighbours``: further subscribers, name → the lines of its table besides its secret.
    """
    text = f"""\
[gateway]
listen = "127.0.0.1:8080"
admin_token = "env:BENCH_ADMIN_TOKEN"
log_level = "warning"

[store]
url = "embedded:{data}"
retention_bytes = "64GiB"
spool_bytes = "64GiB"

[sources.{SOURCE}]
adapter = "{ADAPTER.name}"
secrets = ["env:BENCH_SOURCE_SECRET"]
"""
    if sink_url is not None:
        text += f"""
[subscribers.{SUBSCRIBER}]
url = "{sink_url}"
secrets = ["env:BENCH_SUBSCRIBER_SECRET"]
start = "beginning"
concurrency = {concurrency}
allow_networks = ["127.0.0.0/8"]
"""
    for name, lines in (neighbours or {}).items():
        text += f"""
[subscribers.{name}]
{lines}
secrets = ["env:BENCH_SUBSCRIBER_SECRET"]
start = "beginning"
allow_networks = ["127.0.0.0/8"]
"""
    path = directory / "gateway.toml"
    path.write_text(text)
    return path


class Gateway:
    """A running gateway with an embedded store; use as a context manager."""

    def __init__(
        self,
        directory: Path,
        *,
        role: str,
        cores: Cores | None,
        sink_url: str | None = None,
        concurrency: int = 64,
        beside: "Gateway | None" = None,
        neighbours: Mapping[str, str] | None = None,
        workers: int = 1,
    ) -> None:
        """Start it on the store in ``directory/data``, which may hold data of an earlier one.

        ``cores``: the gateway runs on the measured ones, its store on the ones around; ``None``: nothing is pinned.
        ``beside``: another gateway, ready, whose store it attaches to. Raises ``BenchError``.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.data: Path = directory / "data" if beside is None else beside.data
        self._attached = beside is not None
        self._cores = cores
        config = write_config(directory, self.data, sink_url=sink_url, concurrency=concurrency, neighbours=neighbours)
        self.started_s = time.monotonic()
        self.child = Child(
            serve_command(config, role, workers),
            log=directory / "gateway.log",
            cores=None if cores is None else cores.measured,
            env=_ENVIRONMENT,
            stop_within_s=40,
        )
        self._port: int | None = None
        self._store: redis.Redis | None = None

    @property
    def port(self) -> int:
        """Where it listens. Waits until it says so. Raises ``BenchError``."""
        if self._port is None:
            self._port = self.child.until(self._listening, what="line that says ready", within_s=60, every_s=0.002)
        return self._port

    def _listening(self) -> int | None:
        for line in self.child.output().splitlines(keepends=True):
            if line.startswith('{"event":"ready"') and line.endswith("\n"):
                return msgspec.json.decode(line, type=_Ready).port
        return None

    @property
    def pid(self) -> int:
        """The gateway's process id."""
        return self.child.pid

    def ready(self, within_s: float = 60.0) -> "Gateway":
        """Wait until its store runs, is where it belongs, and ``/readyz`` says ready."""
        self.store_ready(within_s)
        self.child.until(
            lambda: b'"status":"ready"' in get(self.port, "/readyz")[1] or None, what="ready", within_s=within_s
        )
        return self

    def store_ready(self, within_s: float = 60.0) -> None:
        """Wait until its store runs, and move it to the cores around the gateway's."""
        if self._attached or self._cores is None:
            self.child.until(self._connect, what="answering store", within_s=within_s)
            return
        store_pid = self.child.until(self._store_pid, what="store process", within_s=within_s, every_s=0.002)
        move(store_pid, self._cores.around)
        self.child.until(self._connect, what="answering store", within_s=within_s)
        move(store_pid, self._cores.around)  # again, for the threads it has started since

    def _store_pid(self) -> int | None:
        return next((pid for pid in descendants(self.pid) if command_name(pid) in STORE_COMMANDS), None)

    def store_pid(self) -> int:
        """The process id of its store."""
        found = self._store_pid()
        assert found is not None, "store_ready comes first"
        return found

    def _connect(self) -> redis.Redis | None:
        client = redis.Redis(unix_socket_path=str(socket_path(self.data)))
        try:
            client.ping()
        except redis.exceptions.RedisError:
            client.close()
            return None
        self._store = client
        return client

    @property
    def store(self) -> redis.Redis:
        """A client of its store."""
        assert self._store is not None, "store_ready comes first"
        return self._store

    def facts(self) -> StoreFacts:
        """Ask the live store."""
        store, keys = self.store, Keys("0")
        info: Any = store.info("all")  # Any: redis-py types a reply for sync and async
        config: Any = store.config_get("appendfsync")
        server = "Valkey" if "valkey_version" in info else "Redis"
        return StoreFacts(
            version=f"{server} {info.get('valkey_version', info['redis_version'])}",
            appendfsync=config["appendfsync"] if info.get("aof_enabled") else "no append-only file",
            log_length=store.xlen(keys.log),
            memory_bytes=int(info["used_memory"]),
            aof_bytes=int(info.get("aof_current_size", 0)),
            commits=int(info.get("cmdstat_evalsha", {}).get("calls", 0)),
        )

    def progress(self) -> Progress:
        """How far the subscriber is, from the store's own structures."""
        keys = Keys("0")
        names = keys.subscriber(SUBSCRIBER)
        pipe = self.store.pipeline(transaction=False)
        pipe.hget(keys.state, "seq")
        pipe.hmget(names.sub, "cursor", "delivered")
        pipe.hlen(names.parked)
        pipe.hlen(names.dead)
        sequence, (cursor, delivered), parked, dead = pipe.execute()
        return Progress(int(sequence or 0), int(cursor or 0), int(delivered or 0), parked, dead)

    def first_entries(self, count: int) -> list[tuple[bytes, bytes]]:
        """The oldest entries of the log: the event's JSON, and raw."""
        entries: Any = self.store.xrange(Keys("0").log, count=count)  # Any: redis-py types a reply for sync and async
        return [(fields[b"e"], fields[b"r"]) for _, fields in entries]

    def ledger(self) -> Any:
        """``GET /api/ledger``. Raises ``BenchError`` unless it answers 200."""
        status, body = get(self.port, "/api/ledger", {"authorization": f"Bearer {ADMIN_TOKEN}"})
        if status != 200:
            raise self.child.failure(f"/api/ledger answered {status}")
        return msgspec.json.decode(body)

    def resident_bytes(self) -> int:
        """Memory of the gateway's own process, without its store."""
        return resident_bytes(self.pid)

    def stop(self) -> None:
        """Ask it to stop and wait, its store included."""
        if self._store is not None:
            self._store.close()
        store_pid = self._store_pid() if self.child.process.poll() is None else None
        self.child.close()
        deadline_s = time.monotonic() + 30
        while store_pid is not None and command_name(store_pid) in STORE_COMMANDS:
            if time.monotonic() > deadline_s:
                raise BenchError("the store outlived its gateway by 30 s")
            time.sleep(0.01)

    def __enter__(self) -> "Gateway":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Ready(msgspec.Struct, frozen=True):
    """What ``gateway serve --json`` prints when it takes requests."""

    listen: str

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])


def serve_command(config: Path, role: str, workers: int = 1) -> list[str]:
    """The command line, with the ``gateway`` beside this Python, on any free loopback port."""
    command = Path(sys.executable).with_name("gateway")
    if not os.access(command, os.X_OK):
        raise BenchError("no gateway command beside this Python; run make setup and use .venv/bin/python -m bench")
    several = ["--workers", str(workers)] if workers > 1 else []
    return [
        str(command),
        "serve",
        "--config",
        str(config),
        "--listen",
        "127.0.0.1:0",
        "--role",
        role,
        "--json",
        *several,
    ]


def get(port: int, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """GET from loopback; ``(0, b"")`` if nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()
