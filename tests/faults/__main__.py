"""The command line: ``python -m tests.faults [--only commit.after] [--kind kill]``."""

import argparse
import os
import platform
import sys
from typing import get_args

from rich.console import Console
from rich.table import Table

from gateway.faults import Action
from tests.crashes.verdict import judge
from tests.faults.matrix import ELSEWHERE, LATER, cases, run
from tests.faults.points import all_points
from tests.support.counts import above_zero


def main() -> int:
    """Strike, print the table, and say with the exit code whether all is well."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Every named point, struck.")
    parser.add_argument("--only", action="append", help="only this point; may be repeated")
    parser.add_argument("--kind", choices=get_args(Action), action="append", help="only this; may be repeated")
    parser.add_argument("--seed", type=int, default=1, help="decides the messages (default: 1)")
    parser.add_argument("--rate", type=above_zero, default=150, help="requests a second (default: 150)")
    given = parser.parse_args()
    points = [point for point in all_points() if not given.only or point in given.only]
    wanted = cases(points, given.kind or get_args(Action))
    wanted = [case for case in wanted if case.boundary not in ELSEWHERE]
    notes, out = Console(stderr=True, highlight=False), Console(highlight=False, width=110)
    wrong = False
    table = Table("", "number", "", title=f"{len(wanted)} cases at {len(points)} points, seed {given.seed}")
    for bounded in (False, True):
        part = [case for case in wanted if (case.boundary in LATER) == bounded]
        if not part:
            continue
        done, struck = run(
            part, seed=given.seed, rate=given.rate * (4 if bounded else 1), say=lambda text: notes.print(text)
        )
        missed = [f"{case.point}={case.action}" for case in part if case not in struck]
        table.add_row("cases struck", str(len(struck)), f"MISSED {' '.join(missed)}" if missed else "")
        for line in judge(done.facts):
            table.add_row(line.what, f"{line.number:,}", f"WRONG {' '.join(line.examples)}" if line.wrong else "")
        for finding in done.findings:
            table.add_row("finding of the audit", "", f"WRONG {finding}")
        table.add_row("spooled meanwhile", f"{done.spooled:,}", "", end_section=True)
        if missed or done.findings or any(line.wrong for line in judge(done.facts)):
            wrong = True
            notes.print(done.log[-4_000:], markup=False)
            notes.print(f"the ledger at the end: {done.ledger}", markup=False)
    out.print(table)
    out.print(f"{os.cpu_count()} cores, Python {platform.python_version()}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
