"""The command line: ``python -m tests.power --cuts 5 --rate 1000 --seed 1``."""

import argparse
import os
import platform
import sys

from rich.console import Console
from rich.table import Table

from tests.crashes.verdict import judge
from tests.power.run import Outcome, run
from tests.support.counts import above_zero, at_least

CONTROL_CUTS = 2


def main() -> int:
    """Run, print the table, and say with the exit code whether all is well."""
    parser = argparse.ArgumentParser(prog="python -m tests.power", description="Is anything lost in a power cut?")
    parser.add_argument("--cuts", type=at_least(1), default=5, help="power cuts (default: 5)")
    parser.add_argument("--rate", type=above_zero, default=1_000, help="requests a second (default: 1000)")
    parser.add_argument("--seed", type=int, default=1, help="decides cuts and messages (default: 1)")
    given = parser.parse_args()
    notes = Console(stderr=True, highlight=False)
    out = Console(highlight=False, width=max(100, Console().width))

    found = run(cuts=given.cuts, rate=given.rate, seed=given.seed, fsync="always", say=notes.print)
    lines = judge(found.done.facts)
    table = Table(show_header=False)
    table.add_column("what")
    table.add_column("number", justify="right")
    table.add_column("")
    for line in lines:
        table.add_row(line.what, f"{line.number:,}", f"WRONG {' '.join(line.examples)}" if line.wrong else "")
    table.add_row("not answered 200, and sent again", f"{found.done.refused:,}", "")
    for what, number in of_cuts(found):
        table.add_row(what, f"{number:,}", "")
    out.print(f"{given.cuts} power cuts under {given.rate:g} requests/s, seed {given.seed}")
    out.print(table)

    control = run(cuts=CONTROL_CUTS, rate=given.rate, seed=given.seed, fsync="everysec", say=notes.print)
    blunt = control.lost == 0
    out.print(
        f"control, appendfsync everysec, {CONTROL_CUTS} cuts: {control.lost:,} lost of "
        f"{len(control.done.facts.acknowledged):,} acknowledged" + (" WRONG: the cuts cut nothing" if blunt else "")
    )
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
    out.print(f"{found.done.took_s:.0f} s and {control.done.took_s:.0f} s on {machine}")
    wrong = any(line.wrong for line in lines)
    if wrong:
        notes.print(found.done.log[-4_000:], markup=False)
    return 1 if wrong or blunt else 0


def of_cuts(found: Outcome) -> list[tuple[str, int]]:
    """What the cuts took."""
    return [
        ("answered 200 from the spool", found.spooled),
        ("cuts that took something", sum(each.changes + each.names > 0 for each in found.cuts)),
        ("changes of files undone", sum(each.changes for each in found.cuts)),
        ("bytes taken, none of them promised", sum(each.lost_bytes for each in found.cuts)),
        ("names undone", sum(each.names for each in found.cuts)),
    ]


if __name__ == "__main__":
    sys.exit(main())
