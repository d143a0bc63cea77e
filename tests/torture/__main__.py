"""The command line: ``python -m tests.torture --minutes 6 --seed 1 --rate 500``."""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.table import Table

from tests.crashes.verdict import Line, judge
from tests.support.counts import above_zero
from tests.torture.act import Act, Done, Kind
from tests.torture.machine import Machine
from tests.torture.strikes import strikes

NORMAL_LIMIT_S = 5.0
"""Within this time of the store's return everything is as before, by itself."""


def play(kind: Kind, *, seed: int, rate: float, seconds: float, only: list[str] | None, notes: Console) -> Done:
    """One act, in a folder of its own that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="gateway-torture-") as folder:

        async def run() -> Done:
            act = Act(kind, Path(folder), seed=seed, rate=rate, say=lambda text: notes.print(text), machine=Machine())
            return await act.play(lambda act: strikes(act, seconds, only))

        return asyncio.run(run())


def lines_of(done: Done, *, strict: bool = False) -> list[Line]:
    """The verdict on an act; with ``strict`` a slow return to normal is wrong, too."""
    slowest_s, after = max(done.normal_s, default=(0.0, ""))
    return [
        *judge(done.facts),
        Line("findings of the audit", len(done.findings), wrong=bool(done.findings), examples=done.findings[:3]),
        Line("stops that did not end with 0", len(done.failed_stops), wrong=bool(done.failed_stops)),
        Line("spooled meanwhile", done.spooled, wrong=False),
        Line("replayed", done.replayed, wrong=False),
        Line("dead letters retried", done.dead_retried, wrong=False),
        Line("not answered 200, and sent again", done.refused, wrong=False),
        *(Line(why, 0, wrong=False) for why in done.lacks),
        Line("times the store came back", len(done.normal_s), wrong=False),
        Line(
            "slowest return to normal, ms",
            round(slowest_s * 1000),
            wrong=strict and slowest_s > NORMAL_LIMIT_S,
            examples=[after],
        ),
    ]


def main() -> int:
    """Play the acts, print a table of each, and say with the exit code whether all is well."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.torture", description="Is anything lost, whatever goes wrong?"
    )
    parser.add_argument("--minutes", type=above_zero, default=1.5, help="under load, all acts together (default: 1.5)")
    parser.add_argument("--seed", type=int, default=1, help="decides strikes and messages (default: 1)")
    parser.add_argument("--rate", type=above_zero, default=400, help="requests a second (default: 400)")
    parser.add_argument("--act", choices=get_args(Kind), help="play only this one")
    parser.add_argument("--only", action="append", help="only this strike, by its name; may be repeated")
    parser.add_argument(
        "--strict",
        action="store_true",
        help=f"a return to normal after {NORMAL_LIMIT_S:g} s is wrong; on a quiet machine",
    )
    given = parser.parse_args()
    kinds: tuple[Kind, ...] = (given.act,) if given.act else get_args(Kind)
    notes, out = Console(stderr=True, highlight=False), Console(highlight=False, width=110)
    wrong = False
    for kind in kinds:
        seconds = given.minutes * 60 / len(kinds)
        done = play(kind, seed=given.seed, rate=given.rate, seconds=seconds, only=given.only, notes=notes)
        lines = lines_of(done, strict=given.strict)
        table = Table(
            show_header=False, title=f"{kind}: seed {given.seed}, {given.rate:g} requests/s, {done.took_s:.0f} s"
        )
        for justify in ("left", "right", "left"):
            table.add_column(justify=justify)
        for line in lines:
            table.add_row(line.what, f"{line.number:,}", f"WRONG {' '.join(line.examples)}" if line.wrong else "")
        out.print(table)
        out.print(", ".join(f"{count} × {name}" for name, count in sorted(done.strikes.items())))
        if any(line.wrong for line in lines):
            wrong = True
            notes.print(done.log[-4_000:], markup=False)
            notes.print(f"seed {given.seed}, act {kind}; the ledger at the end: {done.ledger}", markup=False)
    out.print(f"{os.cpu_count()} cores, Python {platform.python_version()}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
