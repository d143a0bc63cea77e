"""Warnings that could come with every request: the first at once, then one line a second with their number."""

import asyncio
from typing import Any

import structlog

EVERY_S = 1.0

log = structlog.get_logger("gateway.intake")


class Noise:
    """What was said, by event and subject, and what waits to be said."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._waiting: dict[tuple[str, str | None], tuple[int, dict[str, Any]]] = {}

    def warn(self, event: str, subject: str | None, **fields: Any) -> None:
        """Say it, or count it. ``subject`` is a name of ours (a source), never a sender's word: they are kept."""
        key = (event, subject)
        waiting = self._waiting.get(key)
        if waiting is None:
            self._say(key, 1, fields)
        else:
            self._waiting[key] = (waiting[0] + 1, fields)

    def _say(self, key: tuple[str, str | None], requests: int, fields: dict[str, Any]) -> None:
        self._waiting[key] = (0, {})
        asyncio.get_running_loop().call_later(self._every_s, self._go_on, key)
        event, subject = key
        log.warning(event, source=subject, requests=requests, **fields)

    def _go_on(self, key: tuple[str, str | None]) -> None:
        requests, fields = self._waiting.pop(key)
        if requests:
            self._say(key, requests, fields)
