"""How the verbs that look draw what they found: the same words, colours and lengths everywhere.

What providers and subscribers sent is drawn too, so every text goes through ``clean``: a terminal obeys control
characters.
"""

import json
from collections.abc import Iterator
from typing import Any, Literal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.highlighter import JSONHighlighter
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gateway.controls import escape_controls
from gateway.simulator.painting import FAMILY_STYLES

SHORT_ID = 12
"""Characters of an id that are shown in lists: ``evt_`` and 40 bits, enough to be unique among recent ones."""

LEAST_COLUMNS = 16
"""Room for a table's last column, if it has so much to say; with less a row is told on lines of its own."""

REPLAY_STYLES = {"done": "green", "running": "cyan", "planned": "cyan", "paused": "yellow", "failed": "red"}
"""State of a replay → colour."""


def clean(value: object) -> str:
    """A value as text that cannot steer a terminal; ``–`` for nothing."""
    return "–" if value is None or value == "" else escape_controls(str(value))


class Rows:
    """A table without a frame that never breaks a word it can leave whole.

    The last column takes the room that is left and breaks between words. Where the others leave it none, each row is
    told on lines of its own: the first cell, and below it the others with their names.
    """

    def __init__(self, *columns: str) -> None:
        """A column whose name ends with # holds numbers."""
        self._columns = columns
        self._rows: list[list[Text]] = []

    def add_row(self, *cells: str | Text) -> None:
        """One cell a column."""
        self._rows.append([Text(cell) if isinstance(cell, str) else cell for cell in cells])

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return len(self._rows)

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        """Ask nobody but the width."""
        width = options.max_width
        names = [Text(name.rstrip("#")) for name in self._columns]
        widths = [max(row[at].cell_len for row in [names, *self._rows]) for at in range(len(names))]
        if sum(widths[:-1]) + 2 * (len(widths) - 1) + min(widths[-1], LEAST_COLUMNS) > width:
            for row in self._rows:
                yield from self._stacked(row, width)
            return
        made = Table(box=None, pad_edge=False, header_style="dim", expand=False)
        for at, name in enumerate(self._columns):
            is_last = at == len(self._columns) - 1
            justify: Literal["left", "right"] = "right" if name.endswith("#") else "left"
            made.add_column(name.rstrip("#"), justify=justify, overflow="fold", no_wrap=not is_last)
        for row in self._rows:
            made.add_row(*row)
        yield made

    def _stacked(self, row: list[Text], width: int) -> Iterator[Text | Padding]:
        yield row[0]
        line = Text()
        for name, cell in zip(self._columns[1:], row[1:], strict=True):
            item = Text.assemble((f"{name.rstrip('#')} ", "dim"), cell)
            if line and 2 + line.cell_len + 3 + item.cell_len > width:
                yield Padding(line, (0, 0, 0, 2))
                line = Text()
            line = Text.assemble(line, (" · ", "dim"), item) if line else item
        yield Padding(line, (0, 0, 0, 2))


def event_type(name: str) -> Text:
    """A type in the colour of its family."""
    return Text(clean(name), FAMILY_STYLES.get(name.partition(".")[0], ""))


def print_event(out: Console, event: dict[str, Any]) -> None:
    """One event on one line, cut where a terminal ends; into a pipe it goes whole."""
    if out.is_terminal:
        out.print(event_line(event), no_wrap=True, overflow="ellipsis")
    else:
        out.print(event_line(event), soft_wrap=True)


def print_behind(out: Console, begin: Text, words: str) -> None:
    """``begin``, and words that go on below themselves where a terminal ends; into a pipe on one line.

    A no-break space is obeyed, and printed as any other: who searches for the words finds them.
    """
    lines = [Text(words)]
    if out.is_terminal:
        lines = list(Text(words).wrap(out, max(LEAST_COLUMNS, out.width - begin.cell_len)))
    for number, line in enumerate(lines):
        shown = line.plain.rstrip().replace("\N{NO-BREAK SPACE}", " ")
        out.print(Text.assemble(Text(" " * begin.cell_len) if number else begin, shown), soft_wrap=True)


def setting(value: object) -> str:
    """A setting's value as the file has it, a text of its own without quotes; ``–`` for nothing."""
    return clean(value) if value is None or isinstance(value, str) else clean(_toml(value))


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml(each)}' for key, each in value.items())} }}" if value else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)  # texts, numbers, true and false are written alike


def event_line(event: dict[str, Any]) -> Text:
    """One event on one line: when, from where, what, whose."""
    line = Text()
    line.append(f"{clean(event['received_at'])[11:23]}  ", "dim")
    line.append(f"{clean(event['id'])[:SHORT_ID]}  ", "dim")
    line.append(f"{clean(event['source']):<16}  ", "bold")
    line.append_text(event_type(event["type"]))
    line.append(" " * max(2, 24 - len(event["type"])))
    line.append("  ".join(clean(event[key]) for key in ("channel", "ordering_key") if event[key]))
    if event["origin"] != "live":
        line.append(f"  {event['origin']}", "yellow")
    return line


def json_text(value: Any) -> Text:
    """JSON as people read it, coloured, with control characters escaped."""
    lines = json.dumps(value, ensure_ascii=False, indent=2).split("\n")
    text = Text("\n".join(escape_controls(line) for line in lines))
    JSONHighlighter().highlight(text)
    return text
