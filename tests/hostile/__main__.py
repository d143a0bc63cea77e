"""The command line: ``python -m tests.hostile --requests 20000 --seed 1``."""

import argparse
import os
import platform
import sys

from rich.console import Console
from rich.table import Table

from tests.hostile.driver import run
from tests.support.counts import at_least


def main() -> int:
    """Run, print the table, and say with the exit code whether all is well."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description="Can a request do harm?")
    parser.add_argument("--requests", type=at_least(1), default=20_000, help="hostile requests (default: 20000)")
    parser.add_argument("--seed", type=int, default=1, help="decides which (default: 1)")
    given = parser.parse_args()
    notes = Console(stderr=True, highlight=False)
    report = run(given.requests, given.seed, lambda text: notes.print(text))
    wrong = report.wrong()
    table = Table(show_header=False)
    table.add_column("what")
    table.add_column("number", justify="right")
    table.add_column("")
    for kind in sorted({kind.partition(":")[0] for kind in report.sent}):
        number = sum(sent for name, sent in report.sent.items() if name.partition(":")[0] == kind)
        table.add_row(f"sent: {kind}", f"{number:,}", "")
    table.add_section()
    for status, number in sorted(report.answers.items()):
        table.add_row(f"answered {status}" if status else "not answered", f"{number:,}", "")
    table.add_section()
    for words, name in (
        ("answered 5xx, other than 501, 503, 505", "server_errors"),
        ("authentic, and answered otherwise than 200", "unexpected"),
        ("honest requests", "honest"),
        ("honest requests refused", "honest_refused"),
        ("hidden requests taken", "smuggled"),
        ("deaths", "deaths"),
        ("defects logged", "defects"),
        ("unaccounted", "unaccounted"),
    ):
        table.add_row(words, f"{getattr(report, name):,}", "WRONG" if name in wrong else "")
    table.add_row(
        "memory grown by, MiB", f"{report.growth_bytes / 2**20:.1f}", "WRONG" if "growth_bytes" in wrong else ""
    )
    out = Console(highlight=False, width=max(100, Console().width))
    out.print(table)
    for line in report.examples if wrong else ():
        out.print(line, markup=False)
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
    out.print(f"{report.sent.total():,} hostile requests; seed {given.seed}; {report.took_s:.0f} s on {machine}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
