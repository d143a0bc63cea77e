"""Who judges a mutant, and who is asked first: whoever is quick and has noticed much in that file before."""

import threading
from collections import Counter, deque
from typing import Literal

import msgspec

from tests.mutation.copies import Copy
from tests.mutation.judge import Answer, Question
from tests.mutation.mutant import Mutant
from tests.mutation.targets import Target

Fate = Literal["killed", "timed out", "survived"]

LEAST_S, TIMES = 8.0, 3.0
"""A file of tests may take so long, and so many times what it took with the unchanged code. Then the test that ran is
asked alone, with as much again: only if that does not end either it hangs. The machine may have been busy. Tests that
wait for something give up after five seconds: they shall be heard."""
AGAIN_TIMES = 5.0
"""If the one test ends, the file is asked again with so many times that."""
CONTROL_S = 300.0
REMEMBERED = 12
"""So many tests that noticed the last mistakes in a file are the first that look for the next one."""


class ControlFailed(Exception):
    """The tests fail, or there are none, before anything is changed: then they can judge nothing."""


class Jury:
    """Asks one file of tests after the other, until one fails. Several threads may ask at once, each with its copy."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._took_s: dict[str, float] = {}
        self._asked: Counter[tuple[str, str]] = Counter()
        self._noticed: Counter[tuple[str, str]] = Counter()
        self._last: dict[tuple[str, str], deque[str]] = {}

    def judge(self, copy: Copy, target: Target, mutant: Mutant) -> Fate:
        """Put a mutant into a copy and run its tests. Raises ``ControlFailed``."""
        for tests in target.tests:
            self._control(copy, tests)
        with copy.holding(mutant):
            for tests in self._in_order(target):
                case = (target.file, tests)
                answer = _ask(copy, Question(tests, self._within_s(tests), tuple(self._last.get(case, ()))))
                if answer.outcome == "no tests":
                    raise ControlFailed(f"{mutant}: {answer.words}")
                with self._lock:
                    self._asked[case] += 1
                    self._noticed[case] += answer.outcome != "passed"
                    if answer.noticed_by is not None:
                        self._remember(case, answer.noticed_by)
                if answer.outcome != "passed":
                    return "timed out" if answer.outcome == "timeout" else "killed"
        return "survived"

    def _control(self, copy: Copy, tests: str) -> None:
        """Once for each file of tests: it passes on the code as it is, and how long that takes."""
        if tests not in self._took_s:
            answer = copy.ask(Question(tests, CONTROL_S))
            if answer.outcome != "passed":
                raise ControlFailed(f"{tests} do not pass on the code as it is: {answer.words}")
            self._took_s[tests] = answer.took_s

    def _within_s(self, tests: str) -> float:
        return max(LEAST_S, TIMES * self._took_s[tests])

    def _in_order(self, target: Target) -> list[str]:
        """By the time it takes for each mistake noticed: what is expected to tell soonest comes first."""
        with self._lock:
            return sorted(target.tests, key=lambda tests: self._cost_s((target.file, tests)))

    def _cost_s(self, case: tuple[str, str]) -> float:
        return self._took_s[case[1]] * (self._asked[case] + 2) / (self._noticed[case] + 1)

    def _remember(self, case: tuple[str, str], test: str) -> None:
        last = self._last.setdefault(case, deque(maxlen=REMEMBERED))
        if test in last:
            last.remove(test)
        last.append(test)


def _ask(copy: Copy, question: Question) -> Answer:
    """The answer; that it timed out only if a test hangs also by itself."""
    answer = copy.ask(question)
    if answer.outcome == "timeout" and answer.noticed_by is not None:
        alone = copy.ask(Question(answer.noticed_by, question.within_s))
        if alone.outcome == "passed":
            return copy.ask(msgspec.structs.replace(question, within_s=AGAIN_TIMES * question.within_s))
    return answer
