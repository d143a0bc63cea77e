"""``gateway pause`` and ``gateway resume``: hold the deliveries to one subscriber, and let them go on."""

from pathlib import Path
from typing import Any

import rich_click as click

from gateway.cli.api_client import api_options, connect, path_of
from gateway.cli.common import console, json_option, print_json
from gateway.cli.drawing import clean


@click.command()
@click.argument("subscriber")
@click.option("--why", help="Shown wherever its state is. Without it, one that is paused keeps its reason.")
@api_options
@json_option
def pause(
    *, subscriber: str, why: str | None, config_path: Path, url: str | None, token: str | None, as_json: bool
) -> None:
    """Stop deliveries to a subscriber within a second or two.

    What comes waits in the log, and no attempt is used up.
    """
    found = connect(config_path, url, token).post(path_of("subscriber", subscriber) + "/pause", {"reason": why})
    _tell(found, as_json=as_json)


@click.command()
@click.argument("subscriber")
@api_options
@json_option
def resume(*, subscriber: str, config_path: Path, url: str | None, token: str | None, as_json: bool) -> None:
    """Let deliveries to a subscriber go on, from where they stopped; also after it answered 410."""
    found = connect(config_path, url, token).post(path_of("subscriber", subscriber) + "/resume", {})
    _tell(found, as_json=as_json)


def _tell(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    state = f"paused: {clean(found['paused'])}" if found["paused"] else "not paused"
    # A breaker that is open stays so until its probe arrives: who resumes is to know when.
    rest = clean(found["words"]) if found["state"] == "breaker_open" else f"{found['pending']} pending"
    console().print(f"{clean(found['name'])} is {state}; {rest}", soft_wrap=True)
