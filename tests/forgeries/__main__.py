"""The command line: ``python -m tests.forgeries --count 100000 --seed 1``."""

import argparse
import os
import platform
import sys
import time

from rich.console import Console
from rich.table import Table

from tests.forgeries.endpoint import judge_served
from tests.forgeries.forging import WAYS
from tests.forgeries.judging import Verdict, judge
from tests.support.counts import at_least

SERVED_SHARE = 50
"""One of so many goes through a running gateway."""


def main() -> int:
    """Run, print the table, and say with the exit code whether all is well."""
    parser = argparse.ArgumentParser(prog="python -m tests.forgeries", description="Does anybody unproven get in?")
    parser.add_argument("--count", type=at_least(1), default=100_000, help="forged requests (default: 100000)")
    parser.add_argument("--seed", type=int, default=1, help="decides which (default: 1)")
    given = parser.parse_args()
    began_s = time.monotonic()
    served = judge_served(max(100, given.count // SERVED_SHARE), given.seed)
    pure = judge(given.count, given.seed)
    took_s = time.monotonic() - began_s
    table = Table("forged", *("receive()", "accepted", "endpoint", "accepted"))
    for column in table.columns[1:]:
        column.justify = "right"
    for name in sorted({provider for provider, _ in pure.forged}):
        table.add_row(name, *(f"{number:,}" for verdict in (pure, served) for number in _row(verdict, name)))
    table.add_section()
    for way in WAYS:
        table.add_row(way, *(f"{number:,}" for verdict in (pure, served) for number in _row(verdict, way)))
    table.add_section()
    table.add_row(
        "all", *(f"{number:,}" for each in (pure, served) for number in (each.forged.total(), each.accepted.total()))
    )
    table.add_row(
        "genuine, refused",
        *(f"{number:,}" for each in (pure, served) for number in (each.genuine, each.genuine_refused)),
    )
    table.add_row("failed", f"{pure.failed:,}", "", f"{served.failed:,}", "")
    out = Console(highlight=False, width=max(100, Console().width))
    out.print(table)
    wrong = pure.wrong or served.wrong
    for line in (*pure.examples, *served.examples):
        out.print(f"WRONG {line}", markup=False)
    total, taken = pure.forged.total() + served.forged.total(), pure.accepted.total() + served.accepted.total()
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
    out.print(f"forgeries accepted: {taken:,} of {total:,}; seed {given.seed}; {took_s:.0f} s on {machine}")
    return 1 if wrong else 0


def _row(verdict: Verdict, name: str) -> tuple[int, int]:
    forged = sum(number for key, number in verdict.forged.items() if name in key)
    return forged, sum(number for key, number in verdict.accepted.items() if name in key)


if __name__ == "__main__":
    sys.exit(main())
