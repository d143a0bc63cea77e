"""The machine of an act: its wall clock can be set, and the disk of its store be filled."""

from contextlib import ExitStack
from pathlib import Path

from tests.power.wall_clock import WallClock
from tests.support.disks import Disk, small_disk

DISK_BYTES = 8 * 1024**3
"""Of memory, as far as it is used. So much that it is full only when it is filled."""


class Machine:
    """What of it there is."""

    def __init__(self) -> None:
        self.clock: WallClock | None = None
        self.disk: Disk | None = None
        self.lacks: list[str] = []
        """Why a clock or a disk is missing."""

    def set_up(self, stack: ExitStack, folder: Path, disk: Path) -> None:
        """Make a clock with its files in ``folder`` and a disk at ``disk``; what is not possible here is left out."""
        try:
            self.clock = WallClock(folder)
        except FileNotFoundError:
            self.lacks.append("cc is not installed: the clock is not set")
        try:
            self.disk = stack.enter_context(small_disk(disk, DISK_BYTES))
        except OSError as error:
            self.lacks.append(f"no tmpfs can be mounted ({error.strerror or error}): the disk is not filled")
