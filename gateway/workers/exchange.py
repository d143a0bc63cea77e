"""Questions between the workers of one gateway: a unix socket for each, in a folder that only their user may enter.

A question is one line of JSON, and so is its answer. A worker that ended leaves a socket on which nobody answers, which
is found out at once; one that hangs is waited for a short time. Both are named to who asks.
"""

import asyncio
import contextlib
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


class Exchange:
    """One worker's end."""

    def __init__(self, place: Place, answers: Answers) -> None:
        """What it answers, by the name of the question. An answer that raises is told as its words."""
        assert place.folder is not None
        self._folder = place.folder
        self._place = place
        self._answers = answers
        self._server: asyncio.Server | None = None
        self._inode = 0
        self._path = _path(self._folder, place.worker)

    async def start(self) -> None:
        """Answer from now on, in the place of a worker of the same number that may still run."""
        draft = self._path.with_suffix(f".{os.getpid()}")
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(os.fspath(draft))
        listening.listen(64)
        self._inode = draft.stat().st_ino
        self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=MAX_LINE_BYTES)
        draft.rename(self._path)

    async def stop(self) -> None:
        """Answer no longer. The socket goes with it, unless it is a successor's by now."""
        if self._server is None:
            return
        self._server.close()
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        with contextlib.suppress(OSError):
            self._folder.rmdir()  # the parent does it; if it was killed, the last worker

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
            path = os.fspath(_path(self._folder, number))
            reader, writer = await asyncio.open_unix_connection(path, limit=MAX_LINE_BYTES)
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


def _path(folder: Path, worker: int) -> Path:
    return folder / f"{worker}.sock"
