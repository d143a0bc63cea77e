"""The command line: ``python -m tests.racing --rounds 10000 --copies 50 --seed 1``."""

import argparse
import os
import platform
import sys

from rich.console import Console
from rich.table import Table

from tests.racing.run import COMMITTERS, Plan, run
from tests.racing.verdict import Line, judge
from tests.support.counts import at_least


def main() -> int:
    """Run, print the table, and say with the exit code whether all is well."""
    parser = argparse.ArgumentParser(prog="python -m tests.racing", description="Does an event get in twice?")
    parser.add_argument("--rounds", type=at_least(1), default=10_000, help="events (default: 10000)")
    parser.add_argument("--copies", type=at_least(2), default=50, help="copies of each at once (default: 50)")
    parser.add_argument("--seed", type=int, default=1, help="decides who meets whom (default: 1)")
    given = parser.parse_args()
    notes = Console(stderr=True, highlight=False)
    wanted = Plan(events=given.rounds, copies=given.copies, seed=given.seed)
    done = run(wanted, lambda text: notes.print(text))
    lines: dict[str, Line] = {}
    for leg in done.legs:
        for line in judge(leg):
            before = lines.get(line.what, Line(line.what, 0))
            lines[line.what] = Line(line.what, before.number + line.number, before.wrong or line.wrong)
    table = Table(show_header=False)
    table.add_column("what")
    table.add_column("number", justify="right")
    table.add_column("")
    for line in lines.values():
        table.add_row(line.what, f"{line.number:,}", "WRONG" if line.wrong else "")
    table.add_row("replies lost on the way", f"{done.lost_replies:,}", "" if done.lost_replies else "WRONG")
    table.add_row("connections broken", f"{done.cuts:,}", "")
    out = Console(highlight=False, width=max(100, Console().width))
    out.print(table)
    wrong = not done.lost_replies or any(line.wrong for line in lines.values())
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
    out.print(
        f"second entries: {lines['second entries in the log'].number} of {wanted.events:,} events, {wanted.copies} "
        f"copies each over {COMMITTERS} committers; seed {wanted.seed}; {done.took_s:.0f} s on {machine}"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
