"""The command line: ``python -m tests.mutation --part settle --most 100 --seed 1``."""

import argparse
import signal
import sys
import time

from rich.console import Console
from rich.table import Table

from tests.mutation.run import Result, Wanted, run
from tests.mutation.targets import PARTS, Part
from tests.support.counts import at_least

LEAST_OF_SAMPLE, LEAST_OF_ALL = 80.0, 95.0
"""The score below which a run fails, in percent."""


def main() -> int:
    """Run, print the table and the survivors, and say with the exit code whether all is well."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description="Do the tests notice mistakes?")
    parser.add_argument("--part", choices=PARTS, action="append", help="one part only (default: all; may be repeated)")
    parser.add_argument("--most", type=at_least(1), help="judge so many mutants, drawn by the seed (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="decides which are drawn (default: 1)")
    parser.add_argument("--only", action="append", help="only files whose name holds this (may be repeated)")
    parser.add_argument("--processes", type=int, choices=(1, 2), default=2, help="at the same time (default: 2)")
    given = parser.parse_args()
    wanted = Wanted(
        parts=tuple(given.part or PARTS),
        most=given.most,
        seed=given.seed,
        only=tuple(given.only or ("",)),
        processes=given.processes,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an end like any other: nothing is left behind
    notes = Console(stderr=True, highlight=False)
    began_s = time.monotonic()
    result = run(wanted, lambda text: notes.print(text, markup=False, soft_wrap=True))
    out = Console(highlight=False, width=max(100, Console().width))
    out.print(_table(result, wanted.parts))
    for verdict in result.verdicts:
        if verdict.fate == "survived":
            out.print(f"survived  {verdict.mutant}", markup=False, soft_wrap=True)
    for entry in result.wrong_entries:
        out.print(
            f"WRONG: equivalent.toml, not {entry.times} times: {entry.file}: {entry.after}",
            markup=False,
            soft_wrap=True,
        )
    least = LEAST_OF_SAMPLE if given.most is not None else LEAST_OF_ALL
    out.print(f"score {result.score():.1f} %, wanted {least:g} %; {time.monotonic() - began_s:.0f} s")
    return 1 if result.wrong_entries or result.score() < least else 0


def _table(result: Result, parts: tuple[Part, ...]) -> Table:
    table = Table()
    table.add_column("part")
    for name in ("mutants", "equivalent", "judged", "killed", "timed out", "survived", "score", "s each"):
        table.add_column(name, justify="right")
    for part in [*parts, None]:
        fates = [each.fate for each in result.verdicts if part in (None, each.part)]
        numbers = (
            *(sum(of.values()) if part is None else of[part] for of in (result.mutants, result.equivalent)),
            *(len(fates), *(fates.count(fate) for fate in ("killed", "timed out", "survived"))),
        )
        table.add_row(
            part or "all",
            *(f"{number:,}" for number in numbers),
            f"{result.score(part):.1f} %",
            f"{result.mean_s(part):.2f}",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
