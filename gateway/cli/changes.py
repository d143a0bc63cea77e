"""``gateway changes``: who changed what."""

from pathlib import Path
from typing import Any

import rich_click as click
from rich.text import Text

from gateway.cli.api_client import api_options, connect
from gateway.cli.common import console, json_option, print_json
from gateway.cli.drawing import Rows, clean, setting


@click.command()
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="At most so many.")
@api_options
@json_option
def changes(*, limit: int, config_path: Path, url: str | None, token: str | None, as_json: bool) -> None:
    """Who changed what through the API, a page or the command, and who logged in; the newest first.

    The newest 10 000 are kept in the store. Secrets are never among them.
    """
    items = connect(config_path, url, token).items("/api/changes", limit)
    if as_json:
        for item in items:
            print_json(item)
        return
    rows = Rows("at", "who", "from", "what", "before", "after")
    for item in items:
        rows.add_row(
            clean(item["at"])[:19],
            Text(clean(item["who"]), "bold"),
            clean(item["address"]),
            clean(f"{item['what']} {item['subject']}".strip()),
            _side(item["before"]),
            _side(item["after"]),
        )
    console().print(rows if rows.row_count else Text("no changes", "dim"))


def _side(values: dict[str, Any]) -> str:
    return clean(", ".join(f"{name} {setting(value)}" for name, value in values.items()))
