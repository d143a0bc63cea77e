"""The command line: ``python -m tests.crashes --kills 200 --store-kills 50 --rate 1000 --seed 1``."""

import argparse
import os
import platform
import sys

from rich.console import Console
from rich.table import Table

from tests.crashes.killer import SERVING_MOST_S
from tests.crashes.run import Plan, run
from tests.crashes.verdict import judge
from tests.support.counts import above_zero, at_least


def main() -> int:
    """Run, print the table, and say with the exit code whether all is well."""
    parser = argparse.ArgumentParser(prog="python -m tests.crashes", description="Is anything lost when we crash?")
    parser.add_argument("--kills", type=at_least(0), default=200, help="kill -9 of the gateway (default: 200)")
    parser.add_argument("--store-kills", type=at_least(0), default=50, help="kill -9 of its store (default: 50)")
    parser.add_argument("--rate", type=above_zero, default=1_000, help="requests a second (default: 1000)")
    parser.add_argument("--seed", type=int, default=1, help="decides kills and messages (default: 1)")
    parser.add_argument(
        "--serving",
        type=above_zero,
        default=SERVING_MOST_S,
        metavar="SECONDS",
        help="a gateway serves at most so long until the next kill (default: 1)",
    )
    given = parser.parse_args()
    if not given.kills + given.store_kills:
        parser.error("nothing would be killed: write --kills or --store-kills with a number above 0")
    wanted = Plan(
        kills=given.kills,
        store_kills=given.store_kills,
        rate=given.rate,
        seed=given.seed,
        serving_most_s=given.serving,
    )
    notes = Console(stderr=True, highlight=False)
    done = run(wanted, lambda text: notes.print(text))
    lines = judge(done.facts)
    table = Table(show_header=False)
    table.add_column("what")
    table.add_column("number", justify="right")
    table.add_column("")
    for line in lines:
        table.add_row(line.what, f"{line.number:,}", f"WRONG {' '.join(line.examples)}" if line.wrong else "")
    table.add_row("not answered 200, and sent again", f"{done.refused:,}", "")
    out = Console(highlight=False, width=max(100, Console().width))
    out.print(
        f"{wanted.kills} kills of the gateway and {wanted.store_kills} of its store under {wanted.rate:g} requests/s, "
        f"seed {wanted.seed}"
    )
    out.print(table)
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
    out.print(f"{done.took_s:.0f} s on {machine}; a gateway was serving for {done.serving_s:.0f} s of them")
    wrong = any(line.wrong for line in lines)
    if wrong:
        notes.print(done.log[-4_000:], markup=False)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
