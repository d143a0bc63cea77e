"""SIGHUP and SIGUSR2, from the first moment of the process to its last: unheard, either would be its end.

Before the loop runs they are noted and acted on later; after it has ended they say nothing any more. A loop's own
signal handlers would leave a gap on both sides.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from types import FrameType

from gateway.workers.hangup import hangup, is_terminal


class Early:
    """Listens from when it is made."""

    def __init__(self) -> None:
        """For the main thread, which alone may listen for signals."""
        self._in_terminal = is_terminal()
        self._came: set[int] = set()
        self._acts: dict[int, Callable[[], None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        for number in (signal.SIGHUP, signal.SIGUSR2):
            signal.signal(number, self._hear)

    def act(self, *, stop: Callable[[], None], reload: Callable[[], None], roll: Callable[[], None]) -> None:
        """From now on SIGHUP reloads, or stops (``hangup.py``), and SIGUSR2 rolls, in the loop that runs.

        So do those that came before.
        """
        self._acts = {
            signal.SIGHUP: hangup(stop=stop, reload=reload, in_terminal=self._in_terminal),
            signal.SIGUSR2: roll,
        }
        self._loop = asyncio.get_running_loop()
        for number in sorted(self._came):
            self._acts[number]()

    def end(self) -> None:
        """Hear them no more: as the interpreter ends it would put back what makes them its end."""
        for number in (signal.SIGHUP, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if self._loop is None:
            self._came.add(number)
        else:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._acts[number])
