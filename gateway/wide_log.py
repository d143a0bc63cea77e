"""Log lines: one wide line a stage, text for people on a terminal, JSON for machines.

Nothing secret is logged: callers pass names, counts and reasons, never headers, bodies or URLs. The HTTP clients log
whole URLs at INFO, which may hold tokens, so they are held to WARNING.
"""

import contextlib
import logging
import sys
from typing import Any, Literal, TextIO

import msgspec
import structlog

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
NOISY = ("httpx", "httpcore", "uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "pyreqwest", "litestar")


def set_up(
    level: str, form: Literal["auto", "text", "json"], stream: TextIO | None = None, *, worker: int | None = None
) -> None:
    """Configure logging for the whole process. ``stream``: where lines go; stderr by default.

    ``worker``: of several processes whose lines go there, which this one is; it stands in every line.
    """
    stream = stream or sys.stderr
    lines: Any = _Lines(stream)
    text = form == "text" or (form == "auto" and stream.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=24)
        if text
        else structlog.processors.JSONRenderer(serializer=lambda value, **_: msgspec.json.encode(value).decode())
    )
    of_worker: list[Any] = [] if worker is None else [lambda _logger, _method, line: {**line, "worker": worker}]
    structlog.configure(
        processors=[
            *of_worker,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(file=lines),
        cache_logger_on_first_use=True,
    )
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


class _Lines:
    """Where lines go. One that cannot be written (the disk is full, the reader has gone) is lost, and nothing else is:
    raised where it was said, it would answer 500, or end for ever what drains the spool or restarts the store.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write, if that can be."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        """Hand it on, if that can be."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()
