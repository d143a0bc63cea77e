"""A run of the tests ends its processes and leaves nothing on disk; a test that measures has no neighbour."""

import fcntl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.alone import turn
from tests.support.leftovers import end_all, started_in
from tests.support.processes import alive
from tests.support.stores import running

ROOT = Path(__file__).parents[1]
WITHIN_S = 30.0

CONFTEST = """
import sys
sys.path.insert(0, {root!r})
from tests.support.leftovers import CleanEnd

def pytest_configure(config):
    config.pluginmanager.register(CleanEnd(ending_s=0.2))
"""
LEAVES = """
import subprocess, sys, tempfile

def test_it():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    assert {outcome}

def test_where():
    print("in", tempfile.gettempdir())
"""


def ran(directory: Path, test: str) -> tuple[int, str, Path]:
    """Run pytest on one file in a folder of its own: its exit code, its words, and where its folder was."""
    (directory / "conftest.py").write_text(CONFTEST.format(root=str(ROOT)), "utf-8")
    (directory / "test_one.py").write_text(test, "utf-8")
    (directory / "pytest.ini").write_text("[pytest]\n", "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "test_one.py"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    return done.returncode, done.stdout, Path(done.stdout.partition("in ")[2].split()[0])


def test_a_process_that_outlives_the_last_test_fails_the_run(tmp_path: Path) -> None:
    """All tests pass, one left a child: the run fails, names it and ends it, and its folder is gone."""
    code, words, folder = ran(tmp_path, LEAVES.format(outcome="True"))
    assert "2 passed" in words
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "LEFT RUNNING after the last test: process " in words
    assert not alive(int(words.partition("test: process ")[2].partition(",")[0]))
    assert not folder.exists()


def test_a_run_that_leaves_nothing_passes_and_takes_its_folder_away(tmp_path: Path) -> None:
    """The control: the same without the child."""
    test = LEAVES.format(outcome="True").replace("subprocess.Popen", "subprocess.list2cmdline")
    code, words, folder = ran(tmp_path, test)
    assert code == pytest.ExitCode.OK, words
    assert "LEFT RUNNING" not in words
    assert not folder.exists()


def test_a_store_is_known_by_the_folder_it_was_started_in(tmp_path: Path) -> None:
    """A server that was renamed by itself is found among all processes, and one that does not end is killed."""
    with running("valkey") as server:
        assert server.process is not None
        assert server.process.pid in started_in(server.directory)
        assert started_in(tmp_path) == {}
        assert server.process.pid in end_all(server.directory, within_s=0)
        server.process.wait(WITHIN_S)
        assert started_in(server.directory) == {}


def shut(door: Path) -> bool:
    """Whether somebody keeps the door shut."""
    with door.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_who_wants_to_be_alone_waits_for_all_and_nobody_comes_in_meanwhile(tmp_path: Path) -> None:
    """One is inside; the second wants to be alone; the third, who does not mind company, comes after the second."""
    order: list[str] = []
    inside = {name: threading.Event() for name in ("second", "third")}

    def visit(name: str, *, alone: bool) -> None:
        with turn(tmp_path, alone=alone):
            order.append(name)
            inside[name].set()

    second = threading.Thread(target=visit, args=("second",), kwargs={"alone": True})
    third = threading.Thread(target=visit, args=("third",), kwargs={"alone": False})
    with turn(tmp_path, alone=False):
        second.start()
        deadline_s = time.monotonic() + WITHIN_S
        while not shut(tmp_path / "door"):
            assert time.monotonic() < deadline_s
        third.start()
        assert not inside["third"].wait(0.1)
        assert order == []
    second.join(WITHIN_S)
    third.join(WITHIN_S)
    assert order == ["second", "third"]


def test_who_does_not_mind_company_has_it(tmp_path: Path) -> None:
    """The control: two who need not be alone are inside at once."""
    with turn(tmp_path, alone=False), turn(tmp_path, alone=False):
        pass
