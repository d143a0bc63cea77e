"""``gateway alerts``: does somebody hear of it?"""

import sys
from pathlib import Path

import rich_click as click

from gateway.cli.api_client import api_options, connect
from gateway.cli.common import Exit, console, json_option, print_json
from gateway.cli.drawing import clean


@click.group(no_args_is_help=True)
def alerts() -> None:
    """Alerts: what [alerts] sends when something needs a person."""


@alerts.command()
@api_options
@json_option
def test(*, config_path: Path, url: str | None, token: str | None, as_json: bool) -> None:
    """Have the running gateway send a test alert, and say what came back.

    Exits 1 if it did not arrive.
    """
    found = connect(config_path, url, token).post("/api/alerts/test", {})
    if as_json:
        print_json(found)
    elif found["sent"]:
        console().print(f"sent: the receiver answered {found['status']} in {found['duration_ms']} ms", style="green")
    else:
        console().print(f"not sent: the receiver {clean(found['why'])}", style="red", soft_wrap=True)
        if found["answer"]:
            console().print(clean(found["answer"]), soft_wrap=True)
    sys.exit(Exit.FINE if found["sent"] else Exit.FINDINGS)
