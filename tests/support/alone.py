"""Turns between the workers of one run: a test that measures runs while no other does."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Run the block beside others of the same folder, or ``alone``: when they have ended, and before they go on.

    Everybody comes through the door; who wants to be alone keeps it shut meanwhile, and so is not passed by for ever.
    """
    door = os.open(folder / "door", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    room = os.open(folder / "room", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        if not alone:
            fcntl.flock(door, fcntl.LOCK_UN)
        yield
    finally:
        os.close(room)
        os.close(door)
