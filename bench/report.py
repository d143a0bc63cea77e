"""How results are printed: a table for people, one JSON object for programs."""

from collections.abc import Mapping, Sequence

import msgspec
from rich.console import Console
from rich.table import Table

from bench.measuring import Result

STYLES = {
    "aim reached": "green",
    "floor held": "yellow",
    "MISSED": "bold red",
    "REFUSED": "bold red",
    "NOISY": "bold red",
    "shown": "",
}


def as_json(results: Sequence[Result], machine: Mapping[str, str], seconds: float) -> bytes:
    """Everything in one line: ``{"machine": …, "rows": […], "took_s": …, "ok": …}``."""
    return msgspec.json.encode(
        {"machine": dict(machine), "rows": results, "took_s": round(seconds, 1), "ok": ok(results)}
    )


def ok(results: Sequence[Result]) -> bool:
    """Whether every row was believed and held its floor."""
    return all(row.verdict in ("aim reached", "floor held", "shown") for row in results)


def show(results: Sequence[Result], machine: Mapping[str, str], seconds: float, console: Console) -> None:
    """Print the machine, the table, and a line of remarks a row."""
    for name, value in machine.items():
        console.print(f"{name:>12}  {value}", highlight=False, markup=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("row")
    for column in ("ours", "bare", "measured", "floor", "aim", "rounds"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in results:
        table.add_row(
            row.title,
            row.ours,
            row.bare,
            number(row.value, row.unit),
            number(row.floor, row.unit),
            number(row.aim, row.unit),
            " ".join(number(value, "") for value in row.rounds),
            f"[{STYLES[row.verdict]}]{row.verdict}[/]" if STYLES[row.verdict] else row.verdict,
        )
    console.print()
    console.print(table)
    console.print()
    for row in results:
        for note in row.notes:
            console.print(f"{row.row}: {note}", highlight=False, markup=False)
        if row.store:
            console.print(f"{row.row}: live store {row.store}", highlight=False, markup=False)
    console.print(f"took {seconds:.0f} s", highlight=False)


def number(value: float | None, unit: str) -> str:
    """A measured value: two digits after the point where they say something."""
    if value is None:
        return "–"
    text = f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return f"{text} {unit}".rstrip()
