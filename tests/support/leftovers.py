"""A run of the tests leaves nothing: all that it puts on disk is in one folder, by which its processes are known too.

The folder is the run's ``TMPDIR``: temporary files, sockets of stores and pytest's own directories go there, children
inherit it, and so at the end a process that has it in its environment or its title was started by this run.
"""

import os
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.processes import alive, titles

ENDING_S = 10.0
"""How long a process may take to end after the last test: a store whose gateway was killed writes what it has first."""


class CleanEnd:
    """For pytest: the run in its folder. A process that outlives the last test fails the run, by name, and is ended.

    The workers of a run live in its folder too. Whoever wants to look into what a failed test wrote gives pytest a
    place of its own for it: ``--basetemp``.
    """

    def __init__(self, *, ending_s: float = ENDING_S) -> None:
        self._ending_s = ending_s
        self._left: dict[int, str] = {}
        self._before = os.environ.get("TMPDIR")
        # A short name, and not pytest's directory: the path of a socket may have about a hundred bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="gwt-"))
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.folder)

    @pytest.hookimpl(trylast=True)  # the workers have ended, and what their fixtures had started
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Look who is still there."""
        self._left = end_all(self.folder, within_s=self._ending_s)
        if self._left and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name who was still there."""
        for pid, title in self._left.items():
            terminalreporter.write_line(f"LEFT RUNNING after the last test: process {pid}, {title}", red=True)

    def pytest_unconfigure(self) -> None:
        """Take the folder away."""
        tempfile.tempdir = None
        if self._before is None:
            os.environ.pop("TMPDIR", None)
        else:
            os.environ["TMPDIR"] = self._before
        remove(self.folder)


def started_in(folder: Path) -> dict[int, str]:
    """The processes that run and belong to this folder: their titles by process id."""
    name, variable = os.fsencode(folder), b"\0TMPDIR=" + os.fsencode(folder) + b"\0"
    found = {}
    for pid, title in titles():
        if pid != os.getpid() and (name in title or variable in _environment(pid)) and alive(pid):
            found[pid] = title.replace(b"\0", b" ").decode("utf-8", "replace").strip()
    return found


def end_all(folder: Path, *, within_s: float = ENDING_S) -> dict[int, str]:
    """Wait for the folder's processes; those that have not ended in time are killed, and returned by id and title."""
    deadline_s = time.monotonic() + within_s
    while left := started_in(folder):
        if time.monotonic() > deadline_s:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            break
        time.sleep(0.02)
    return left


def remove(folder: Path) -> None:
    """Take a folder away, also what tests made unreadable in it."""
    for place, _, _ in os.walk(folder):
        with suppress(OSError):
            Path(place).chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _environment(pid: int) -> bytes:
    """What a process started with; empty where the system does not say."""
    try:
        return b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""
