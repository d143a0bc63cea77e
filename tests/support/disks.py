"""A small disk of its own, in memory, that a test fills and frees: a full disk as the system tells it."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_MS_REMOUNT, _MNT_DETACH = 32, 2


class Disk:
    """A mounted tmpfs."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self.folder = folder
        self._size_bytes = size_bytes

    def fill(self) -> None:
        """Leave no room: its size becomes what is used. What is given back later is free again, until this is repeated.

        Raises ``OSError`` if it cannot.
        """
        while True:
            found = os.statvfs(self.folder)
            try:
                return self._resize((found.f_blocks - found.f_bfree) * found.f_frsize)
            except OSError:  # more is used by now
                if os.statvfs(self.folder).f_bfree == found.f_bfree:
                    raise

    def free(self) -> None:
        """Give it its size back. Raises ``OSError``."""
        self._resize(self._size_bytes)

    def _resize(self, size_bytes: int) -> None:
        _mount(self.folder, _MS_REMOUNT, size_bytes)


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Disk]:
    """Mount one on a folder, which is made; it is gone with all that is on it when the block has ended.

    Raises ``OSError`` where that is not allowed, or this is not Linux.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform != "linux":
        raise OSError("a tmpfs needs Linux")
    _mount(folder, 0, size_bytes)
    try:
        yield Disk(folder, size_bytes)
    finally:
        assert _LIBC.umount2(os.fsencode(folder), _MNT_DETACH) == 0, "the file system is detached"


def _mount(folder: Path, flags: int, size_bytes: int) -> None:
    if _LIBC.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", flags, b"mode=700,size=%d" % max(size_bytes, 1)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(folder))
