"""SIGHUP has two meanings: read the configuration again, and the terminal was closed.

Who typed ``kill -HUP`` means the first, in a terminal as well. When a terminal is closed the kernel sends the same
signal, and then standard input, which was one, is none any more.
"""

import os
from collections.abc import Callable

_STDIN = 0


def hangup(*, stop: Callable[[], None], reload: Callable[[], None], in_terminal: bool) -> Callable[[], None]:
    """What to do at SIGHUP. ``in_terminal``: whether the process was started in one (``is_terminal``)."""

    def decide() -> None:
        if in_terminal and not is_terminal():
            stop()
        else:
            reload()

    return decide


def is_terminal() -> bool:
    """Whether standard input is a terminal that is still there; a closed descriptor is none."""
    return os.isatty(_STDIN)
