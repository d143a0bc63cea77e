"""Clients of the store, and the check that it keeps what it acknowledges.

``durability = "fsync"`` is a promise to providers, so the server's own settings are read on every connection, also
after a failover or a restart with another file. ``WAITAOF`` would not do: Valkey 9.1 answers it before the fsync
(measured).

Retries of the client library are off: it sends a script again by itself when a reply was lost, and three events would
be logged but six counted (measured). Repeating is the committer's business, with batch numbers.

So are its time-outs: it sends under ``asyncio.wait_for``, which before Python 3.12 loses a cancellation that comes in
the turn of the loop in which the send ends (measured; a stopping gateway then waited for ever), and costs a task for
each command. ``asyncio.timeout`` around the whole command does neither.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

import hiredis
from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from gateway.config import StoreSettings
from gateway.errors import NotDurable, StoreRefuses, StoreUnavailable
from gateway.faults import fault_in_loop
from gateway.store.scripts import text_of

T = TypeVar("T")

WANTED = {
    "appendonly": ("yes", "appendonly yes"),
    "appendfsync": ("always", "appendfsync always"),
    "no-appendfsync-on-rewrite": ("no", "no-appendfsync-on-rewrite no"),
    "maxmemory-policy": ("noeviction", "maxmemory-policy noeviction"),
}
"""Setting of the server → value it must have, line to write in its configuration."""

REPLY_TIMEOUT_S = 5.0
"""For a whole command: connecting, its check, sending, and the reply."""
CONNECT_TIMEOUT_S = 2.0


def check_settings(found: dict[str, str]) -> None:
    """Raise ``NotDurable`` if these settings of the server would lose what it acknowledged."""
    wrong = [
        f"the store says {name} = {found.get(name, '?')}; write the line: {line}"
        for name, (value, line) in WANTED.items()
        if found.get(name) != value
    ]
    if wrong:
        raise NotDurable(
            'durability = "fsync" asks the store to fsync before it answers.\n  '
            + "\n  ".join(wrong)
            + '\n(or say durability = "memory" under [store], and accept that a crash loses events)'
        )


class Store:
    """One store: a client whose every connection was checked, and our scripts."""

    def __init__(self, settings: StoreSettings, url: str, *, connections: int = 16) -> None:
        """``url`` is where the server listens (for an embedded one, its socket): ``redis:// rediss:// unix://``."""
        self.settings = settings
        self.live_settings: dict[str, str] = {}
        """What the server said at the last connection, for the banner and the benchmark."""
        arguments: dict[str, Any] = dict(parse_url(url))
        kind = arguments.pop("connection_class", Connection)
        if kind not in (Connection, SSLConnection, UnixDomainSocketConnection):
            kind = Connection
        if kind is not UnixDomainSocketConnection:
            arguments |= {"socket_connect_timeout": CONNECT_TIMEOUT_S, "socket_keepalive": True}
        pool = BlockingConnectionPool(
            connection_class=kind,
            max_connections=connections,
            timeout=REPLY_TIMEOUT_S,
            redis_connect_func=self._on_connect,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            protocol=2,
            **arguments,
        )
        self.client = Redis(connection_pool=pool)
        self.client.response_callbacks.clear()  # replies as the server sends them, and nothing spent on reshaping
        self._scripts: dict[str, str] = {}

    async def _on_connect(self, connection: Any) -> None:
        # The C packer takes a third of the time of redis-py's own, a microsecond and a half an event (measured).
        connection.pack_command = lambda *command: [hiredis.pack_command(command)]
        await connection.on_connect()
        if self.settings.durability != "fsync" or self.settings.assume_durable:
            return
        try:
            await connection.send_command("CONFIG", "GET", *WANTED)
            answer = await connection.read_response()
        except ResponseError as error:
            if "LOADING" in str(error) or "BUSY" in str(error):
                raise
            await connection.disconnect()
            raise NotDurable(
                f"the store does not tell its settings ({error}); if you have seen that it runs with "
                + ", ".join(line for _, line in WANTED.values())
                + ", say assume_durable = true under [store]"
            ) from None
        try:
            self._check(answer)
        except NotDurable:
            await connection.disconnect()
            raise

    def _check(self, answer: list[Any]) -> None:
        self.live_settings = {_text(name): _text(value) for name, value in zip(answer[::2], answer[1::2], strict=True)}
        check_settings(self.live_settings)

    async def check_durability(self) -> None:
        """Read the server's settings again. Raises ``NotDurable``, ``StoreUnavailable``."""
        if self.settings.durability == "fsync" and not self.settings.assume_durable:
            self._check(await self.call("CONFIG", "GET", *WANTED))

    async def script(self, name: str, keys: list[str], args: list[Any]) -> Any:
        """Run ``lua/<name>.lua``. Raises ``StoreUnavailable``; ``ResponseError`` where the script itself refuses.

        Sent once: whether a script whose reply was lost may be repeated, its caller knows.
        """
        sha = self._scripts.get(name)
        try:
            return await self._within_time(self._evalsha(name, sha or await self._load(name), keys, args))
        except NoScriptError:  # the server was restarted; nothing has run
            return await self._within_time(self._evalsha(name, await self._load(name), keys, args))

    async def scripts(self, name: str, calls: list[tuple[list[str], list[Any]]]) -> list[Any]:
        """Run ``lua/<name>.lua`` once for each of ``calls`` (keys, arguments), in order, in one step with one fsync.

        Returns what each answered: its reply, or the ``ResponseError`` with which it refused; the later ones run all
        the same. Raises ``StoreUnavailable``, or ``ResponseError`` where the server refuses the whole.
        """
        answers = await self._within_time(
            self._evalshas(name, self._scripts.get(name) or await self._load(name), calls)
        )
        if any(isinstance(answer, NoScriptError) for answer in answers):  # the server was restarted; nothing has run
            answers = await self._within_time(self._evalshas(name, await self._load(name), calls))
        return answers

    async def _evalshas(self, name: str, sha: str, calls: list[tuple[list[str], list[Any]]]) -> list[Any]:
        pipe = self.client.pipeline(transaction=True)
        for keys, args in calls:
            pipe.execute_command("EVALSHA", sha, len(keys), *keys, *args)
        await fault_in_loop(name, "before", ConnectionResetError)
        answers = await pipe.execute(raise_on_error=False)
        await fault_in_loop(name, "after", ConnectionResetError)
        return answers

    async def _load(self, name: str) -> str:
        sha = _text(await self.call("SCRIPT", "LOAD", text_of(name)))
        self._scripts[name] = sha
        return sha

    async def _evalsha(self, name: str, sha: str, keys: list[str], args: list[Any]) -> Any:
        await fault_in_loop(name, "before", ConnectionResetError)
        reply = await self._execute("EVALSHA", sha, len(keys), *keys, *args)
        await fault_in_loop(name, "after", ConnectionResetError)
        return reply

    async def call(self, *command: Any) -> Any:
        """Run one command that may be repeated or that only reads. Raises ``StoreUnavailable``."""
        return await self._within_time(self._command(command))

    async def many(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        """Run commands that only read in one round trip, not as one step. Raises ``StoreUnavailable``."""
        if not commands:
            return []
        pipe = self.client.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        found: list[Any] = await self._within_time(self._pipeline(pipe))
        return found

    async def info(self, section: str) -> dict[str, str]:
        """What the server says of itself (``INFO``), field by field."""
        text = _text(await self.call("INFO", section))
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))

    async def ping(self) -> None:
        """Raise ``StoreUnavailable`` or ``NotDurable`` unless the store answers and keeps what it acknowledges."""
        await self.call("PING")

    async def _command(self, command: tuple[Any, ...]) -> Any:
        await fault_in_loop("command", "before", ConnectionResetError)
        reply = await self._execute(*command)
        await fault_in_loop("command", "after", ConnectionResetError)
        return reply

    async def _pipeline(self, pipe: Any) -> Any:
        await fault_in_loop("pipeline", "before", ConnectionResetError)
        replies = await pipe.execute()
        await fault_in_loop("pipeline", "after", ConnectionResetError)
        return replies

    async def _execute(self, *command: Any) -> Any:
        return await self.client.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped

    async def _within_time(self, asked: Awaitable[T]) -> T:
        """Wait for a reply, and give every way in which none comes its name."""
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                return await asked
        except TimeoutError:
            raise StoreUnavailable(f"the store did not answer within {REPLY_TIMEOUT_S:g} s") from None
        except NoScriptError:
            raise
        except ResponseError as error:
            raise unavailable(error) or error from None
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"the store did not answer: {error}") from error

    async def close(self) -> None:
        """Close all connections."""
        await self.client.aclose(close_connection_pool=True)


REFUSALS = (
    "OOM",
    "MISCONF",
    "LOADING",
    "READONLY",
    "BUSY",
    "MASTERDOWN",
    "NOREPLICAS",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "LOG",
)
"""Words with which a server begins to say that it cannot take this now."""

PASSING = ("OutOfMemoryError", "ReadOnlyError", "BusyLoadingError", "MasterDownError", "NoPermissionError")
"""The library's own names for some of them; rights are an operator's to mend, and then it goes on."""


def unavailable(error: ResponseError) -> StoreRefuses | None:
    """The server's refusal as ours, if it is one that passes; ``None`` for a defect."""
    text = str(error)
    # redis-py strips the first word of the errors it knows and puts it into the class's name
    word = text.split(" ", 1)[0]
    kind = type(error).__name__
    if word in REFUSALS or kind in PASSING:
        return StoreRefuses(f"the store refuses: {text}")
    if "write error" in text.lower() or "MISCONF" in text or "OOM" in text:
        return StoreRefuses(f"the store refuses: {text}")
    return None


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
