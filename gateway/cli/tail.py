"""``gateway tail``: events as they come."""

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import rich_click as click

from gateway.cli.api_client import Api, api_options, connect
from gateway.cli.common import Exit, Refusal, console, json_option, print_json
from gateway.cli.drawing import print_event

_AGAIN_AFTER_S = 1.0
_PATIENCE = 30
"""How often in a row a broken line is picked up again before giving up."""


@click.command()
@click.option("--type", "types", metavar="TYPES", help='Types with commas between them: "message.*,booking.confirmed".')
@click.option("--source", help="Only of this source.")
@api_options
@json_option
def tail(
    *, types: str | None, source: str | None, config_path: Path, url: str | None, token: str | None, as_json: bool
) -> None:
    """Print events as they come, until Ctrl-C. With --json, one canonical event a line.

    A gateway that restarts is waited for; then it goes on behind the last event that was printed.
    """
    out, notes = console(), console(stderr=True)
    try:
        for name, data in _follow(connect(config_path, url, token), type=types, source=source):
            if name == "gap":
                notes.print(f"{data['missed']} events were removed by retention before they were read", style="yellow")
            elif as_json:
                print_json(data)
            else:
                print_event(out, data)
    except KeyboardInterrupt:
        return


def _follow(api: Api, **wanted: str | None) -> Iterator[tuple[str, Any]]:
    """Events by name and data, across broken lines: the cursor of the last one says where to go on."""
    cursor: str | None = None
    connected = False
    failures = 0
    while True:
        headers = {} if cursor is None else {"last-event-id": cursor}
        try:
            with api.stream("/api/events/stream", headers, **wanted) as answer:
                connected, failures = True, 0
                for identity, name, data in parse_stream(answer.iter_lines()):
                    cursor = identity or cursor
                    yield name, json.loads(data)
        except Refusal as refusal:
            failures += 1
            if refusal.code != Exit.UNREACHABLE or not connected or failures > _PATIENCE:
                raise
        time.sleep(_AGAIN_AFTER_S)


def parse_stream(lines: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Server-sent events, as the HTML standard describes them: ``(id, event, data)`` for each that has data."""
    identity, name = "", "message"
    data: list[str] = []
    for line in lines:
        if not line:
            if data:
                yield identity, name, "\n".join(data)
            name, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "id":
            identity = value
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
