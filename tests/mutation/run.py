"""Judge mutants: each in turn is put into a copy of the tree, and its tests are run there."""

import queue
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import get_args

import msgspec

from tests.mutation.copies import Copy, take
from tests.mutation.equivalent import Equivalent, is_equivalent, load, wrong_entries
from tests.mutation.jury import Fate, Jury
from tests.mutation.mutant import Mutant
from tests.mutation.targets import PARTS, TARGETS, Part, Target, mutants_of

ROOT = Path(__file__).parents[2]


class Verdict(msgspec.Struct, frozen=True):
    """What became of one mutant."""

    part: Part
    mutant: Mutant
    fate: Fate
    took_s: float


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

    def line(self, part: Part) -> str:
        """What came of one part, in a line."""
        fates = [each.fate for each in self.verdicts if each.part == part]
        numbers = ", ".join(f"{fates.count(fate)} {fate}" for fate in get_args(Fate))
        return f"{part}: {len(fates)} judged, {numbers}: {self.score(part):.1f} %, {self.mean_s(part):.2f} s each"

    def mean_s(self, part: Part | None = None) -> float:
        """The time that judging one took, in one process; 0 if none was judged."""
        took_s = [each.took_s for each in self.verdicts if part in (None, each.part)]
        return sum(took_s) / len(took_s) if took_s else 0.0


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What to judge."""

    parts: tuple[Part, ...] = PARTS
    most: int | None = None
    """So many mutants, drawn by ``seed``; ``None``: all."""
    seed: int = 1
    only: tuple[str, ...] = ("",)
    """Only files whose name holds one of these."""
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
    chosen = [(target, each) for target, each in found if target.part in parts and _holds(target.file, wanted.only)]
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


def _holds(file: str, only: Sequence[str]) -> bool:
    return any(words in file for words in only)


def _judge_all(
    tree: Path, chosen: list[tuple[Target, Mutant]], processes: int, result: Result, say: Callable[[str], None]
) -> None:
    """Each process takes the next one."""
    waiting: queue.SimpleQueue[tuple[Target, Mutant]] = queue.SimpleQueue()
    for each in chosen:
        waiting.put(each)
    jury = Jury()
    left = Counter(target.part for target, _ in chosen)
    ending = threading.Event()

    def work() -> None:
        with Copy(tree) as copy:
            while not ending.is_set():
                try:
                    target, mutant = waiting.get_nowait()
                except queue.Empty:
                    return
                began_s = time.monotonic()
                fate = jury.judge(copy, target, mutant)
                result.verdicts.append(Verdict(target.part, mutant, fate, time.monotonic() - began_s))
                _progress(result, len(chosen), fate, mutant, say)
                left[target.part] -= 1
                if not left[target.part]:
                    say(result.line(target.part))

    with ThreadPoolExecutor(processes) as pool:
        try:
            for done in as_completed([pool.submit(work) for _ in range(processes)]):
                done.result()
        finally:
            ending.set()  # whatever it was: each process ends after what it has in hand, and nothing is left
    result.verdicts.sort(key=lambda each: (each.mutant.file, each.mutant.edit.start, each.mutant.edit.text))


def _progress(result: Result, number: int, fate: Fate, mutant: Mutant, say: Callable[[str], None]) -> None:
    done = len(result.verdicts)
    if fate == "survived":
        say(f"survived  {mutant}")
    if done == number or done % max(1, number // 10) == 0:
        say(f"{done} of {number} judged")
