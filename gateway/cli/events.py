"""``gateway events``: search the log."""

from pathlib import Path

import rich_click as click

from gateway.cli.api_client import api_options, connect
from gateway.cli.common import console, json_option, print_json
from gateway.cli.drawing import print_event


@click.command()
@click.option("--type", "types", metavar="TYPES", help='Types with commas between them: "message.*,booking.confirmed".')
@click.option("--source", help="Only of this source.")
@click.option("--since", metavar="TIME", help="Received at or after: 15m, 2h, yesterday, 2026-02-03, ISO 8601 (UTC).")
@click.option("--until", metavar="TIME", help="Received before.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=20, show_default=True, help="At most so many.")
@click.option("--oldest-first", is_flag=True, help="From the beginning on; else the newest first.")
@api_options
@json_option
def events(
    *,
    types: str | None,
    source: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    oldest_first: bool,
    config_path: Path,
    url: str | None,
    token: str | None,
    as_json: bool,
) -> None:
    """Search the events in the log. With --json, one canonical event a line."""
    api = connect(config_path, url, token)
    order = "oldest" if oldest_first else "newest"
    out = console()
    count = 0
    for event in api.items("/api/events", limit, type=types, source=source, since=since, until=until, order=order):
        count += 1
        if as_json:
            print_json(event)
        else:
            print_event(out, event)
    if count == 0 and not as_json:
        console(stderr=True).print("no such events; gateway send SOURCE CASE makes one", style="dim")
