"""Ctrl-C, and the other ways of being asked to stop: the first time politely, the second time at once."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Curtain:
    """Falls when somebody asks: before the performance at once, during it after what is on its way has arrived."""

    def __init__(self, task: "asyncio.Task[Any]") -> None:
        self.performing = False
        self.fallen = False
        self._task = task

    def fall(self) -> None:
        """Ask for the end; a second time, insist."""
        if self.fallen or not self.performing:
            self._task.cancel()
        self.fallen = True


@contextmanager
def interruptible() -> Iterator[Curtain]:
    """A curtain for the task that runs this; while the block runs, signals let it fall and end nothing else."""
    task = asyncio.current_task()
    assert task is not None
    curtain, loop = Curtain(task), asyncio.get_running_loop()
    for one in _HEARD:
        loop.add_signal_handler(one, curtain.fall)
    try:
        yield curtain
    finally:
        for one in _HEARD:
            with suppress(ValueError):
                loop.remove_signal_handler(one)
