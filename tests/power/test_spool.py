"""The spool under a power cut: what it took in is there, its file and name too."""

import random
import shutil
import sys

import pytest

from gateway.intake.spool_folder import read_folder
from tests.power.test_power import Disk, disk, shim

__all__ = ["disk", "shim"]  # fixtures

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the shim is for Linux"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="cc is not installed (Debian: build-essential)"),
]

BATCHES = 30

WRITER = """
import os, sqlite3, sys
from pathlib import Path
sys.path[:0] = {path!r}
from gateway.intake import spool_file
from gateway.store.embedded import lasting_folder
from gateway.store.log import Batch
from tests.store.partition import event
if {careless}:
    connect = spool_file.connect
    class Careless(sqlite3.Connection):
        def execute(self, text, *rest):
            return super().execute(text.replace("synchronous = FULL", "synchronous = OFF"), *rest)
    spool_file.connect = lambda path: sqlite3.connect(path, isolation_level=None, factory=Careless)
folder = Path("spool")
lasting_folder(folder)
file = spool_file.SpoolFile.create(folder / "a.spool")
for number in range({batches}):
    batch = Batch([event(str(number), pad_bytes=500)], [("br", "accepted", 1)], [], [])
    file.append([spool_file.new_row(0, "c", number, batch, 1)])
    if number % 3 == 0:
        file.remove([number + 1])
print("all acknowledged", flush=True)
"""
"""A process that spools so many batches, and removes every third."""


@pytest.mark.parametrize("seed", [None, 1, 2])
@pytest.mark.parametrize("careless", [False, True])
def test_what_was_spooled_outlives_a_power_cut(disk: Disk, seed: int | None, careless: bool) -> None:
    """Each batch that was taken in is there, and each that was removed is not, in a folder that was new.

    The control: with ``synchronous = OFF`` a power cut takes some of it, or all."""
    lines = WRITER.format(path=sys.path, careless=careless, batches=BATCHES).splitlines()
    assert "all acknowledged" in disk.run(*lines)
    disk.cut(None if seed is None else random.Random(seed))
    view = read_folder(disk.disk / "spool", recount=True)
    wanted = [number for number in range(BATCHES) if number % 3]
    whole = (
        [number for line in view.lines for number in line.numbers] == wanted
        and view.unreadable == {}
        and view.findings == []
    )
    assert whole is not careless, view
