"""Questions between the workers of one gateway: a unix socket for each, in a folder that only their user may enter.

A question is one line of JSON, and so is its answer. A worker that ended leaves a socket on which nobody answers, which
is found out at once; one that hangs is waited for a short time. Both are named to who asks.
"""

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog

log = structlog.get_logger("gateway.workers")

MAX_LINE_BYTES = 64 * 1024 * 1024
"""A thousand subscribers with a thousand partitions say less."""

Answer = TypeVar("Answer")
Answers = Mapping[str, Callable[[Any], Awaitable[Any]]]
"""Question → what answers it: given what came with the question, returns what can be written as JSON."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Which of the gateway's processes this is."""

    worker: int = 0
    workers: int = 1
    folder: Path | None = None
    """Where the workers' sockets are; ``None``: this process is the whole gateway."""


ALONE = Place()


class _Question(msgspec.Struct):
    ask: str
    given: Any = None


class _Reply(msgspec.Struct):
    answer: msgspec.Raw = msgspec.Raw(b"null")
    why: str = ""
    """Why there is no answer."""


_numbers = itertools.count()


class Exchange:
    """One worker's end."""

    def __init__(self, place: Place, answers: Answers) -> None:
        """What it answers, by the name of the question. An answer that raises is told as its words."""
        assert place.folder is not None
        self._folder = place.folder
        self._place = place
        self._answers = answers
        self._server: asyncio.Server | None = None
        self._path = self._folder / f"{place.worker}-{os.getpid()}-{next(_numbers)}.sock"

    async def start(self) -> None:
        """Answer from now on, in the place of a worker of the same number that may still run.

        If that cannot be, the worker serves all the same: then it is one that does not answer.
        """
        listening = socket.socket(socket.AF_UNIX)
        try:
            listening.bind(os.fspath(self._path))
            listening.listen(64)
            self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=MAX_LINE_BYTES)
            for other in self._sockets(self._place.worker):
                if other != self._path:
                    other.unlink(missing_ok=True)
        except OSError as error:
            listening.close()
            log.error("workers.exchange", why=f"the other workers cannot ask this one: {error}")

    async def stop(self) -> None:
        """Answer no longer. The socket goes with it."""
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    async def ask(
        self, what: str, kind: type[Answer], given: Any = None, *, within_s: float
    ) -> dict[int, Answer | Exception]:
        """Ask every other worker; by number its answer, or why there is none: ``TimeoutError``, ``OSError``, or a
        ``RuntimeError`` in its own words.
        """
        others = [number for number in range(self._place.workers) if number != self._place.worker]
        found = await asyncio.gather(
            *[self._ask(number, what, kind, given, within_s) for number in others], return_exceptions=True
        )
        known: dict[int, Answer | Exception] = {}
        for number, each in zip(others, found, strict=True):
            if isinstance(each, BaseException) and not isinstance(each, Exception):
                raise each
            known[number] = each
        return known

    async def _ask(self, number: int, what: str, kind: type[Answer], given: Any, within_s: float) -> Answer:
        async with asyncio.timeout(within_s):
            found = self._sockets(number)
            if not found:
                raise ConnectionRefusedError("it is not there")
            reader, writer = await asyncio.open_unix_connection(os.fspath(found[-1]), limit=MAX_LINE_BYTES)
            try:
                writer.write(msgspec.json.encode(_Question(what, given)) + b"\n")
                line = await reader.readline()
            finally:
                writer.transport.abort()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("it ended before it had answered")
        reply = msgspec.json.decode(line, type=_Reply)
        if reply.why:
            raise RuntimeError(reply.why)
        return msgspec.json.decode(reply.answer, type=kind)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            question = msgspec.json.decode(await reader.readline(), type=_Question)
            try:
                answer = await self._answers[question.ask](question.given)
                reply = _Reply(msgspec.Raw(msgspec.json.encode(answer)))
            except Exception as error:
                reply = _Reply(why=str(error) or type(error).__name__)
            writer.write(msgspec.json.encode(reply) + b"\n")
            await writer.drain()
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            log.warning("workers.exchange", why=str(error))
        finally:
            writer.close()

    def _sockets(self, worker: int) -> list[Path]:
        """Of a worker and those that had its number before, the latest last.

        Each has a name of its own, and none is renamed: what cleans folders of temporary files knows sockets in use by
        the name they were made with.
        """

        def made(path: Path) -> float:
            try:
                return path.stat().st_mtime_ns
            except OSError:  # it went meanwhile
                return 0

        return sorted(self._folder.glob(f"{worker}-*.sock"), key=made)
