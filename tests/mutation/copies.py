"""A copy of the tree to put mistakes into, with a process beside it that runs tests there."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import msgspec

from tests.mutation.judge import Answer, Question
from tests.mutation.mutant import Mutant

COPIED = ("adapters", "gateway", "schemas", "bench", "tests", "pyproject.toml")


def take(source: Path, to: Path) -> None:
    """Copy of the tree what the tests need."""
    for name in COPIED:
        if (source / name).is_dir():
            shutil.copytree(source / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            to.mkdir(exist_ok=True)
            shutil.copy2(source / name, to / name)


class Copy:
    """A copy of a tree, with a process that runs tests in it. Both are gone after the block."""

    def __init__(self, tree: Path) -> None:
        self._tree = tree

    def __enter__(self) -> Self:
        # A short name: tests make sockets below it, whose paths may have a hundred bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="gwm-"))
        self.root = self._folder / "r"
        take(self._tree, self.root)
        (self._folder / "t").mkdir()
        self._process = subprocess.Popen(
            ["nice", sys.executable, "-m", "tests.mutation.judge"],
            cwd=self.root,
            env={**os.environ, "TMPDIR": str(self._folder / "t"), "PYTHONPATH": str(self.root)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._changes = 0
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()  # it ends by itself; within the time of one run at most
        self._process.stdout.close()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def ask(self, question: Question) -> Answer:
        """Run tests on the copy as it is."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(question) + b"\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline(), type=Answer)

    @contextmanager
    def holding(self, mutant: Mutant) -> Iterator[None]:
        """The mutant stands in the copy, within the block."""
        path = self.root / mutant.file
        text, stat = path.read_text("utf-8"), path.stat()
        path.write_text(mutant.apply(text), "utf-8")
        # Python takes a compiled file for current by whole seconds and size: another time for each change.
        self._changes += 1
        os.utime(path, (stat.st_atime, int(stat.st_mtime) + self._changes * 2))
        try:
            yield
        finally:
            path.write_text(text, "utf-8")
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
