"""The fault matrix, short; the whole of it takes some minutes: ``python -m tests.faults``."""

import pytest

from tests.crashes.verdict import judge
from tests.faults.matrix import Case, cases, run
from tests.faults.points import all_points

KILLED = ("commit.before", "commit.after", "settle.after", "attempt.after", "spool.commit.after", "spool.remove.before")
ALONE = ("trim", "migrate")
"""In acts of their own, which only the whole matrix and the test below have."""


@pytest.mark.long
@pytest.mark.timeout(600)  # it takes half a minute; a bound for hopeless runs is no measure of the machine
def test_every_point_is_survived() -> None:
    """Every point of a running gateway fails once before its effect and once after it, and at some of them it is
    killed: nothing that was answered 200 is lost, nothing is logged twice, and the account adds up."""
    points = [point for point in all_points() if point.rpartition(".")[0] not in ALONE]
    wanted = [*cases(KILLED, ["kill"]), *cases(points, ["error"])]
    done, struck = run(wanted, seed=3, rate=120, say=lambda _: None)
    assert [line for line in judge(done.facts) if line.wrong] == [], done.log[-2_000:]
    assert done.findings == []
    assert set(wanted) - struck == set()


def test_the_cases_are_all_there() -> None:
    """Three for each point; a hang is longer than a reply of the store may take."""
    assert cases(["commit.after", "attempt.before"], ["kill", "error", "hang"]) == [
        Case("commit.after", "kill"),
        Case("attempt.before", "kill"),
        Case("commit.after", "error"),
        Case("attempt.before", "error"),
        Case("commit.after", "hang:6"),
        Case("attempt.before", "hang:3"),
    ]
