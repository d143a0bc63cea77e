"""``python -m bench``: measure the rows and say which floors and aims they hold. Exit 0 only if every floor held."""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from bench.machine import Neighbours, cores, describe, missing_tools
from bench.measuring import FULL, QUICK, Bench, RefusedError, Result, Row, refused
from bench.process import BenchError
from bench.report import as_json, ok, show
from bench.rows import ROWS

QUIET = 0.10
"""Of the machine's processor time, what others may take before a rate or a latency counts for nothing, good or bad."""


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--row", action="append", choices=[row.name for row in ROWS], help="only this row (repeatable)")
    parser.add_argument("--quick", action="store_true", help="one short round: under a minute, and noisy")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--rounds", type=int, help="alternations of bare and ours")
    parser.add_argument("--seconds", type=float, dest="window_s", help="length of one run")
    parser.add_argument("--backlog", type=int, help="events waiting, for delivery, memory and store-bytes")
    parser.add_argument(
        "--directory", type=Path, help="where the stores lie (default: the system's temporary directory)"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print. The exit code: 0 floors held, 1 one missed, refused or noisy, 2 cannot measure here."""
    options = arguments(argv)
    missing = missing_tools()
    if missing:
        print(f"cannot measure: {', '.join(missing)} missing; apt-get install {' '.join(missing)}", file=sys.stderr)
        return 2
    given = {name: value for name in ("rounds", "window_s", "backlog") if (value := getattr(options, name)) is not None}
    effort = msgspec.structs.replace(QUICK if options.quick else FULL, **given)
    chosen = [row for row in ROWS if row.name in options.row] if options.row else list(ROWS)
    layout = cores()
    start_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.directory) as directory:
        machine = describe(layout, Path(directory))
        bench = Bench(Path(directory), layout, effort)
        results = [measured(bench, row) for row in chosen]
    seconds = time.monotonic() - start_s
    if options.json:
        print(as_json(results, machine, seconds).decode())
    else:
        console = Console() if sys.stdout.isatty() else Console(width=160)
        show(results, machine, seconds, console)
    return 0 if ok(results) else 1


def measured(bench: Bench, row: Row) -> Result:
    """One row; what goes wrong in it is its result, and the next row is measured all the same."""
    bench.say(f"measuring {row.name}")
    neighbours = Neighbours()
    try:
        found = row.measure(bench, row)
    except RefusedError as why:
        found = refused(row, str(why), why.store)
    except BenchError as error:
        found = refused(row, f"could not be measured: {error}")
    return disturbed(found, row, neighbours.part())


def disturbed(found: Result, row: Row, part: float) -> Result:
    """Take the verdict back if others had much of the machine: they slow bare and ours, and not evenly."""
    if part > QUIET and row.timed and found.verdict != "REFUSED":
        found.verdict = "NOISY"
        found.notes.append(f"others took {part:.0%} of the machine meanwhile: measure again when it is quiet")
    return found


if __name__ == "__main__":
    sys.exit(main())
