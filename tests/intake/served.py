"""A gateway that takes requests on a real socket, in a thread of its own, for tests that look at it from outside."""

import asyncio
import contextlib
import hashlib
import hmac
import http.client
import io
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import uvicorn
import uvloop

from adapters.enviaai import ADAPTER as ENVIAAI
from gateway.app import Gateway
from gateway.config import load
from gateway.store.ledger import Ledger, Requests, make_ledger, read_account, subscribers_of
from gateway.store.quarantine import KeptAt, KeptRequests, Shelf

T = TypeVar("T")

SECRET = b"whs_test"
PATH_TOKEN = "tokentokentokentokentoken"
PLEASE = {"x-please": "yes"}
"""What proves a request to the tests' own adapter."""
MAX_BODY = 65_536
RECEIPT = Path(__file__).parent.parent / "fixtures" / "flexengage" / "NOTIFICATION.SMS.RECEIPT__documented"
DEADLINE_S = 20.0


class Answer:
    """What came back: status, headers (names in lower case) and body."""

    def __init__(self, raw: bytes, method: str = "POST") -> None:
        parsed = http.client.HTTPResponse(_Bytes(raw), method=method)  # type: ignore[arg-type]  # as much of a socket as it uses
        parsed.begin()
        self.status = parsed.status
        self.headers = {name.lower(): value for name, value in parsed.getheaders()}
        self.body = parsed.read()

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    def problem(self) -> str:
        """The code of a refusal, after a look at its form."""
        assert self.headers["content-type"] == "application/problem+json"
        found = self.json
        assert sorted(found) == ["code", "detail", "status", "title", "type"]
        assert found["status"] == self.status
        code: str = found["code"]
        return code


class _Bytes:
    """As much of a socket as ``HTTPResponse`` wants."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._raw)


class Served:
    """A running gateway and how to talk to it."""

    def __init__(self, gateway: Gateway, port: int, loop: asyncio.AbstractEventLoop) -> None:
        self.gateway = gateway
        self.port = port
        self._loop = loop

    def run(self, work: "Coroutine[Any, Any, T]") -> T:
        """Run a coroutine beside the gateway."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE_S)

    def connect(self) -> socket.socket:
        """A connection to it."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S)

    def raw(self, request: bytes, method: str = "POST") -> Answer:
        """Send bytes as they are and read until the gateway ends the connection."""
        with self.connect() as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may answer before the end
                connection.sendall(request)
            return Answer(read_all(connection), method)

    def post(
        self, path: str, body: bytes = b"", headers: Mapping[str, str | bytes] | None = None, method: str = "POST"
    ) -> Answer:
        """Send one request."""
        lines = [f"{method} {path} HTTP/1.1".encode(), b"host: test", b"connection: close"]
        given = {"content-length": str(len(body)), **(headers or {})}
        lines += [
            name.encode("latin-1") + b": " + (value if isinstance(value, bytes) else value.encode("latin-1"))
            for name, value in given.items()
        ]
        return self.raw(b"\r\n".join(lines) + b"\r\n\r\n" + body, method)

    def ledger(self) -> Ledger:
        """The account of this moment."""
        return self.run(self._ledger())

    def ledger_of_desk(self) -> Ledger:
        """The same with what is in the spool, as the API tells it."""
        return self.run(self.gateway.desk.ledger())

    async def _ledger(self) -> Ledger:
        accounts = await self._accounts()
        return make_ledger(accounts, 0)

    async def _accounts(self) -> Any:
        store, keys = self.gateway.store, self.gateway.keys
        names = await subscribers_of(store, keys)
        return [await read_account(store, each, found) for each, found in zip(keys, names, strict=True)]

    def requests(self, source: str) -> Requests:
        """What became of the requests at one source; notes are flushed before."""
        total = Requests()
        for account in self.run(self._accounts()):
            if source in account.sources:
                for field in Requests.__struct_fields__:
                    added = getattr(account.sources[source].requests, field)
                    setattr(total, field, getattr(total, field) + added)
        return total

    def kept(self, shelf: Shelf, source: str) -> list[KeptAt]:
        """What is kept of one source's requests, the newest first."""
        shelves = KeptRequests(self.gateway.store, self.gateway.keys[0], shelf)
        return [each for each in self.run(shelves.list(None, 1_000)) if each.meta.source == source]

    def names(self) -> list[str]:
        """The ids of all events in the log of the first partition, in order."""
        entries = self.run(self.gateway.logs[0].read(0, 10_000))
        return [msgspec.json.decode(entry.event_json)["id"] for entry in entries]


def read_all(connection: socket.socket) -> bytes:
    """Everything until the other side ends."""
    found = b""
    while True:
        try:
            data = connection.recv(65_536)
        except ConnectionResetError:
            return found
        if not data:
            return found
        found += data


_numbers = itertools.count(1)


def fresh() -> bytes:
    """A body of enviaai that nobody has sent yet."""
    return ENVIAAI.sample("message.received__documented", next(_numbers))


def receipt() -> tuple[bytes, dict[str, str]]:
    """A genuine request of flexEngage: its body and headers."""
    return (RECEIPT / "body.raw").read_bytes(), json.loads((RECEIPT / "headers.json").read_text("utf-8"))


def eventually(holds: Callable[[], object]) -> None:
    """Wait for a condition."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def signed(body: bytes, secret: bytes = SECRET) -> dict[str, str | bytes]:
    """The header that proves it, made without the adapter's help."""
    return {"x-enviaai-signature": "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()}


@contextmanager
def serving(directory: Path, config: str, env: Mapping[str, str]) -> Iterator[Served]:
    """Run a gateway that only takes requests, with this configuration."""
    (directory / "gateway.toml").write_text(config, "utf-8")
    loop = uvloop.new_event_loop()  # as the command: it differs from asyncio's where a sender has gone
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    ready: Future[Served] = Future()
    stop = asyncio.Event()
    running = asyncio.run_coroutine_threadsafe(_serve(directory / "gateway.toml", env, ready, stop), loop)
    running.add_done_callback(lambda done: None if ready.done() else ready.set_exception(done.exception() or OSError()))
    try:
        yield ready.result(DEADLINE_S)
    finally:
        loop.call_soon_threadsafe(stop.set)
        try:
            running.result(DEADLINE_S)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(DEADLINE_S)
            loop.close()


async def _serve(path: Path, env: Mapping[str, str], ready: "Future[Served]", stop: asyncio.Event) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as bound:
        port = bound.getsockname()[1]
        gateway = Gateway(load(path, env), role="intake", listen=("127.0.0.1", port))
        server = uvicorn.Server(
            uvicorn.Config(  # as gateway/cli/serve.py has it
                gateway.asgi,
                http=gateway.edge.protocol,
                ws="none",
                lifespan="off",
                access_log=False,
                proxy_headers=False,
                log_config=None,
                log_level=50,
            )
        )
        serving_it: asyncio.Task[None] | None = None
        try:
            await gateway.start()
            serving_it = asyncio.create_task(server._serve([bound]))
            ready.set_result(Served(gateway, port, asyncio.get_running_loop()))
            await stop.wait()
        finally:
            if serving_it is not None:
                server.should_exit = True
                await serving_it
            await gateway.stop()
