"""The machine of an act: its clock and its disk do what the strikes believe."""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.torture.machine import Machine

YEAR_S = 365 * 24 * 3_600


def test_a_clock_that_is_set_jumps_and_a_disk_that_is_filled_is_full() -> None:
    """A process with the clock reads the year that was set, and its monotonic clock goes on; a full disk takes nothing
    more, and a freed one does."""
    machine = Machine()
    with tempfile.TemporaryDirectory(prefix="gateway-machine-") as made, ExitStack() as stack:
        folder, disk = Path(made), Path(made) / "disk"
        machine.set_up(stack, folder, disk)
        if machine.clock is None or machine.disk is None:
            pytest.skip("; ".join(machine.lacks))
        for ahead_s in (0, YEAR_S, -YEAR_S):
            machine.clock.set(ahead_s)
            before_s, before_monotonic_s = time.time(), time.monotonic()
            text = subprocess.run(
                [sys.executable, "-c", "import time; print(time.time(), time.monotonic())"],
                env={**os.environ, **machine.clock.env},
                capture_output=True,
                check=True,
            ).stdout
            wall_s, monotonic_s = map(float, text.split())
            assert before_s <= wall_s - ahead_s <= time.time()
            assert before_monotonic_s <= monotonic_s <= time.monotonic()
        (disk / "a").write_bytes(b"x" * 100_000)
        machine.disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (disk / "b").write_bytes(b"x" * 100_000)
        machine.disk.free()
        (disk / "b").write_bytes(b"x" * 100_000)


def test_a_machine_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a compiler and where nothing can be mounted the run does without, and tells."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("tests.support.disks.sys.platform", "elsewhere")
    machine = Machine()
    with ExitStack() as stack:
        machine.set_up(stack, tmp_path, tmp_path / "disk")
    assert (machine.clock, machine.disk) == (None, None)
    assert [why.partition(":")[2] for why in machine.lacks] == [" the clock is not set", " the disk is not filled"]
