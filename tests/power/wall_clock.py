"""A wall clock that a test sets, for the processes that run with it (``clock.c``)."""

import struct
from collections.abc import Mapping
from pathlib import Path

from tests.power.disk import build


class WallClock:
    """The system's, so many seconds ahead."""

    def __init__(self, folder: Path) -> None:
        """Make it, in this folder. Raises ``FileNotFoundError`` where there is no ``cc``."""
        self._file = folder / "clock"
        self._file.write_bytes(struct.pack("q", 0))
        shim = build(folder, Path(__file__).with_name("clock.c"))
        self.env: Mapping[str, str] = {"LD_PRELOAD": str(shim), "POWER_CLOCK": str(self._file)}
        """What a process and its children need in their environment to go by it."""

    def set(self, ahead_s: int) -> None:
        """From now on it is so far ahead of the system's clock; or behind, if less than 0."""
        with self._file.open("r+b") as file:  # in place: it is mapped into the processes
            file.write(struct.pack("q", ahead_s * 1_000))
