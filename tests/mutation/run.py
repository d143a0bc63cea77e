"""Judge mutants: each in turn is put into a copy of the tree, and its tests are run there."""

import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Literal, Self

import msgspec

from tests.mutation.equivalent import Equivalent, is_equivalent, load, wrong_entries
from tests.mutation.judge import Answer, Question
from tests.mutation.mutant import Mutant
from tests.mutation.targets import PARTS, TARGETS, Part, Target, mutants_of

ROOT = Path(__file__).parents[2]
COPIED = ("adapters", "gateway", "schemas", "bench", "tests", "pyproject.toml")
LEAST_S, TIMES = 10.0, 5.0
"""A run may take so long, and so many times what the unchanged code took, before it counts as hanging."""
CONTROL_S = 300.0

Fate = Literal["killed", "timed out", "survived"]


class ControlFailed(Exception):
    """The tests fail, or there are none, before anything is changed: then they can judge nothing."""


class Verdict(msgspec.Struct, frozen=True):
    """What became of one mutant."""

    part: Part
    mutant: Mutant
    fate: Fate


class Result(msgspec.Struct):
    """What came of a run."""

    mutants: dict[Part, int]
    """How many there are, equivalent ones too."""
    equivalent: dict[Part, int]
    verdicts: list[Verdict]
    wrong_entries: list[Equivalent]
    """Entries of the list of equivalent mutants that fit none, or more than they say."""

    def score(self, part: Part | None = None) -> float:
        """Killed and timed out among all judged, in percent; 100 if none was judged."""
        judged = [each.fate for each in self.verdicts if part in (None, each.part)]
        return 100.0 * sum(fate != "survived" for fate in judged) / len(judged) if judged else 100.0


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

    def ask(self, tests: Sequence[str], within_s: float) -> Answer:
        """Run tests on the copy as it is."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(Question(tuple(tests), within_s)) + b"\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline(), type=Answer)

    def judge(self, mutant: Mutant, tests: Sequence[str], within_s: float) -> Fate:
        """Run tests on the copy with the mutant in it."""
        path = self.root / mutant.file
        text, stat = path.read_text("utf-8"), path.stat()
        path.write_text(mutant.apply(text), "utf-8")
        # Python takes a compiled file for current by whole seconds and size: another time for each change.
        self._changes += 1
        os.utime(path, (stat.st_atime, int(stat.st_mtime) + self._changes * 2))
        try:
            answer = self.ask(tests, within_s)
        finally:
            path.write_text(text, "utf-8")
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        if answer.outcome == "no tests":
            raise ControlFailed(f"{mutant}: {answer.words}")
        return {"passed": "survived", "failed": "killed", "timeout": "timed out"}[answer.outcome]  # type: ignore[return-value]  # the values are fates


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What to judge."""

    parts: tuple[Part, ...] = PARTS
    most: int | None = None
    """So many mutants, drawn by ``seed``; ``None``: all."""
    seed: int = 1
    only: str = ""
    """Only files whose name holds this."""
    processes: int = 1


def run(wanted: Wanted, say: Callable[[str], None], *, targets: Sequence[Target] = TARGETS) -> Result:
    """Judge mutants. Raises ``ControlFailed`` when the tests fail on the code as it is."""
    with tempfile.TemporaryDirectory(prefix="gwm-") as folder:
        tree = Path(folder) / "r"
        take(ROOT, tree)  # all of the run sees the same, whoever edits meanwhile
        return _run(tree, wanted, say, targets)


def _run(tree: Path, wanted: Wanted, say: Callable[[str], None], targets: Sequence[Target]) -> Result:
    parts, most = wanted.parts, wanted.most
    entries = load()
    found = [(target, mutant) for target in targets for mutant in mutants_of(target, tree)]
    chosen = [(target, each) for target, each in found if target.part in parts and wanted.only in target.file]
    useful = [(target, each) for target, each in chosen if not is_equivalent(each, entries)]
    result = Result(
        mutants={part: sum(target.part == part for target, _ in chosen) for part in parts},
        equivalent={
            part: sum(target.part == part for target, _ in chosen) - sum(target.part == part for target, _ in useful)
            for part in parts
        },
        verdicts=[],
        wrong_entries=wrong_entries(entries, (mutant for _, mutant in found)),
    )
    if most is not None and most < len(useful):
        useful = sorted(random.Random(wanted.seed).sample(useful, most), key=lambda each: useful.index(each))
    _judge_all(tree, useful, wanted.processes, result, say)
    return result


def _judge_all(
    tree: Path, chosen: list[tuple[Target, Mutant]], processes: int, result: Result, say: Callable[[str], None]
) -> None:
    """Each process takes the next one; the controls come first, once for each set of tests."""
    waiting: queue.SimpleQueue[tuple[Target, Mutant]] = queue.SimpleQueue()
    for each in chosen:
        waiting.put(each)
    within_s: dict[tuple[str, ...], float] = {}
    ending = threading.Event()

    def work() -> None:
        with Copy(tree) as copy:
            while not ending.is_set():
                try:
                    target, mutant = waiting.get_nowait()
                except queue.Empty:
                    return
                if target.tests not in within_s:
                    within_s[target.tests] = _control(copy, target)
                fate = copy.judge(mutant, target.tests, within_s[target.tests])
                result.verdicts.append(Verdict(target.part, mutant, fate))
                _progress(result, len(chosen), fate, mutant, say)

    with ThreadPoolExecutor(processes) as pool:
        try:
            for done in as_completed([pool.submit(work) for _ in range(processes)]):
                done.result()
        finally:
            ending.set()  # whatever it was: each process ends after what it has in hand, and nothing is left
    result.verdicts.sort(key=lambda each: (each.mutant.file, each.mutant.edit.start, each.mutant.edit.text))


def _control(copy: Copy, target: Target) -> float:
    answer = copy.ask(target.tests, CONTROL_S)
    if answer.outcome != "passed":
        raise ControlFailed(f"the tests of {target.file} do not pass on the code as it is: {answer.words}")
    return max(LEAST_S, TIMES * answer.took_s)


def _progress(result: Result, number: int, fate: Fate, mutant: Mutant, say: Callable[[str], None]) -> None:
    done = len(result.verdicts)
    if fate == "survived":
        say(f"survived  {mutant}")
    if done == number or done % max(1, number // 10) == 0:
        say(f"{done} of {number} judged")
