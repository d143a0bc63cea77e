"""How the verbs that look draw what they found: the same words, colours and lengths everywhere.

What providers and subscribers sent is drawn too, so every text goes through ``clean``: a terminal obeys control
characters.
"""

import json
from typing import Any

from rich.highlighter import JSONHighlighter
from rich.table import Table
from rich.text import Text

from gateway.controls import escape_controls
from gateway.simulator.painting import FAMILY_STYLES

SHORT_ID = 12
"""Characters of an id that are shown in lists: ``evt_`` and 40 bits, enough to be unique among recent ones."""


REPLAY_STYLES = {"done": "green", "running": "cyan", "planned": "cyan", "paused": "yellow", "failed": "red"}
"""State of a replay → colour."""


def clean(value: object) -> str:
    """A value as text that cannot steer a terminal; ``–`` for nothing."""
    return "–" if value is None or value == "" else escape_controls(str(value))


def table(*columns: str) -> Table:
    """A table without a frame; a column whose name ends with # holds numbers."""
    made = Table(box=None, pad_edge=False, header_style="dim", expand=False)
    for name in columns:
        made.add_column(name.rstrip("#"), justify="right" if name.endswith("#") else "left", overflow="fold")
    return made


def event_type(name: str) -> Text:
    """A type in the colour of its family."""
    return Text(clean(name), FAMILY_STYLES.get(name.partition(".")[0], ""))


def event_line(event: dict[str, Any]) -> Text:
    """One event on one line: when, from where, what, whose."""
    line = Text(no_wrap=True, overflow="ellipsis")
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
