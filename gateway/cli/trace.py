"""``gateway trace``: one event's life, line by line."""

from pathlib import Path
from typing import Any

import rich_click as click
from rich.text import Text

from gateway.cli.api_client import api_options, connect, path_of
from gateway.cli.common import Exit, Refusal, console, json_option, print_json
from gateway.cli.drawing import clean, event_type, print_behind

_STYLES = {
    "delivered": "green",
    "filtered": "dim",
    "not_offered": "dim",
    "dead_letter": "red",
    "not_matched": "yellow",
    "paused": "yellow",
    "breaker_open": "yellow",
    "not_delivering": "red",
    "behind": "yellow",
    "held": "yellow",
    "due": "yellow",
    "not_kept": "dim",
}


@click.command()
@click.argument("identity", metavar="ID")
@click.option("--subscriber", help="Only this subscriber's part.")
@api_options
@json_option
def trace(
    *, identity: str, subscriber: str | None, config_path: Path, url: str | None, token: str | None, as_json: bool
) -> None:
    """Say why an event reached, or did not reach, each subscriber.

    ID is an event's id, or the beginning of a recent one.
    """
    found = connect(config_path, url, token).get(path_of("event", identity) + "/trace")
    if subscriber is not None:
        found["subscribers"] = [each for each in found["subscribers"] if each["subscriber"] == subscriber]
        if not found["subscribers"]:
            raise Refusal(f"no subscriber {subscriber} ever had a cursor here; gateway subscribers", Exit.FINDINGS)
    if as_json:
        print_json(found)
    else:
        _draw(found)


def _draw(found: dict[str, Any]) -> None:
    out = console()
    out.print(Text.assemble((clean(found["event_id"]), "bold"), "  ", event_type(found["event_type"])))
    _steps(found["steps"])
    for each in found["subscribers"]:
        out.print()
        title = Text(clean(each["subscriber"]), "bold")
        title.append(f"  {clean(each['state'])}", _STYLES.get(each["state"], ""))
        if not each["certain"]:
            title.append("  as far as today's settings tell", "dim")
        out.print(title)
        _steps(each["steps"])
    if not found["subscribers"]:
        out.print("no subscribers: it is kept, and delivered to none", style="dim")


def _steps(steps: list[dict[str, Any]]) -> None:
    out = console()
    for step in steps:
        line = Text("  ")
        line.append(f"{clean(step['at'])[:23]:<24}", "dim")
        line.append(f"{clean(step['what']):<14}", _STYLES.get(step["what"], ""))
        print_behind(out, line, clean(step["words"]))
