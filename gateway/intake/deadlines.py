"""One timer for the deadlines of all bodies that are being read.

``asyncio.timeout`` starts and cancels a timer of the event loop for each request, which took 11 % of the intake's time
(measured), though hardly any body is ever late. All bodies have the same deadline, so those that began first are late
first: a look at the oldest, a few times a second, is enough.
"""

import asyncio

LOOKS = 10
"""How often within one deadline the timer looks; a body may be late by that part of it."""


class Deadlines:
    """Cancels what takes longer than ``seconds``; as a context manager's two halves, ``enter`` and ``leave``."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._running: dict[asyncio.Task[object], float] = {}
        self._late: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, loop: asyncio.AbstractEventLoop) -> "asyncio.Task[object]":
        """The running task begins; hand what this returns to ``leave``."""
        task = asyncio.current_task(loop)
        assert task is not None
        self._running[task] = loop.time() + self.seconds
        if self._timer is None:
            self._timer = loop.call_later(self.seconds / LOOKS, self._look, loop)
        return task

    def leave(self, task: "asyncio.Task[object]") -> bool:
        """The task is done; true if it was cancelled because it was late, and then it is not cancelled any more."""
        self._running.pop(task, None)
        if task not in self._late:
            return False
        self._late.discard(task)
        task.uncancel()
        return True

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for task, deadline in list(self._running.items()):
            if deadline > now:
                break  # the rest began later
            del self._running[task]
            self._late.add(task)
            task.cancel()
        self._timer = loop.call_later(self.seconds / LOOKS, self._look, loop) if self._running else None
