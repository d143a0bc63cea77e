"""``python -m tests.slowloris``: do honest senders notice a thousand that never finish, and how long are those kept?

``--connections`` come at once, a quarter of each kind: half a head, a body byte by byte, the same in chunks, silence.
Beside them honest senders send 200 requests a second. Wrong is: an honest request that is not answered 200; a p99 of
theirs above twice of what it is alone, right before or after; a connection kept longer than 15 s; more memory than 8
MiB and 12 KiB for each connection. Where ``slowhttptest`` is installed it attacks as well.

On two cores attackers, honest senders, gateway and store wait for each other. ``--floor`` attacks another process as
well: what honest ones notice of that is the machine's part. A p99 over its bound is wrong only with ``--strict``.

``--without headers`` and ``--without bodies`` are the controls: with that deadline put off, the run must find
connections kept.
"""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.slowloris.run import FREED_S, MOST_TIMES, Phase, Plan, run
from tests.support.counts import above_zero, at_least

CONTROLS = {"headers": 'header_timeout = "5m"', "bodies": 'body_timeout = "5m"'}


def main() -> int:
    """Run, print the table, and say with the exit code whether all is well."""
    parser = argparse.ArgumentParser(prog="python -m tests.slowloris", description="Do slow senders slow honest ones?")
    parser.add_argument("--connections", type=at_least(4), default=1_000, help="at once (default: 1000)")
    parser.add_argument(
        "--alone", type=above_zero, default=5.0, metavar="SECONDS", help="honest alone, before and after each"
    )
    parser.add_argument("--without", choices=sorted(CONTROLS), help="the control: put this deadline off")
    parser.add_argument("--own-only", action="store_true", help="without slowhttptest")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="on a quiet machine: attackers get only the time that the others leave, "
        "and a p99 over its bound is wrong, too",
    )
    parser.add_argument(
        "--floor", action="store_true", help="attack another process, too: what the machine, not the gateway, costs"
    )
    given = parser.parse_args()
    notes = Console(stderr=True, highlight=False)
    limits = CONTROLS[given.without] if given.without else ""
    limits += f"\nmax_connections = {max(4_096, given.connections + 1_000)}"
    with tempfile.TemporaryDirectory(prefix="slowloris-") as folder:
        done = asyncio.run(
            run(
                Path(folder),
                Plan(
                    connections=given.connections,
                    alone_s=given.alone,
                    limits=limits,
                    is_quiet=given.strict,
                    floor=given.floor,
                    tools=not given.own_only,
                ),
                lambda text: notes.print(text),
            )
        )
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("attack")
    for heading in ("at once", "honest", "refused", "p99", "alone", "ratio", "kept", "memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    for phase in done.phases:
        table.add_row(
            phase.name,
            f"{phase.most_connections:,}",
            f"{phase.requests:,}",
            f"{phase.refused:,}",
            f"{phase.p99_s * 1e3:.1f} ms",
            f"{phase.alone_p99_s * 1e3:.1f} ms",
            f"{phase.p99_s / phase.alone_p99_s:.2f}",
            f"{phase.freed_s:.1f} s",
            f"{phase.grown_bytes / 1e6:+.0f} MB",
        )
    out = Console(highlight=False)
    out.print(f"{given.connections:,} connections at once; at most {MOST_TIMES:g} × alone, freed within {FREED_S:g} s")
    out.print(table)
    for line in remarks(done.phases):
        out.print(line, markup=False)
    out.print(
        f"{done.alone_requests:,} honest requests alone; {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    wrong = any(phase.wrong or (given.strict and phase.slow) for phase in done.phases)
    if wrong:
        notes.print(done.log[-4_000:], markup=False)
    return 1 if wrong else 0


def remarks(phases: Sequence[Phase]) -> Iterator[str]:
    """What has no place in a column: how connections ended, and what was wrong or slow. One line each."""
    for phase in phases:
        for kind, kept in phase.kept.items():
            ends = ", ".join(f"{number:,} × {status}" for status, number in sorted(kept.statuses.items()))
            yield f"{phase.name}, {kind}: {kept.opened:,}, kept {kept.longest_s:.1f} s at most; at the end: {ends}"
        if phase.wrong:
            yield f"WRONG {phase.name}: {', '.join(phase.wrong)}"
        elif phase.slow:
            yield f"{phase.name}: {phase.slow}"


if __name__ == "__main__":
    sys.exit(main())
