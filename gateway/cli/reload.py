"""``gateway reload``: the changed file takes effect without a restart."""

import sys
from pathlib import Path
from typing import Any

import rich_click as click
from rich.text import Text

from gateway.cli.api_client import api_options, connect
from gateway.cli.common import Exit, Refusal, console, is_interactive, json_option, print_json
from gateway.cli.drawing import clean

_STYLES = {"added": "green", "changed": "yellow", "removed": "red"}


@click.command()
@click.option("--yes", is_flag=True, help="Do it. Without this it shows what changes, and asks.")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@api_options
@json_option
def reload(*, yes: bool, dry_run: bool, config_path: Path, url: str | None, token: str | None, as_json: bool) -> None:
    """Have the running gateway read its configuration file again.

    Sources, subscribers and tokens change at once; what needs a restart is named. A file with mistakes changes
    nothing.
    """
    api = connect(config_path, url, token)
    plan = api.post("/api/reload", {"dry_run": True})
    if dry_run or not plan["changes"]:
        _tell(plan, as_json=as_json)
        sys.exit(Exit.FINE)
    if not yes:
        _tell(plan, as_json=as_json)
        if not is_interactive():
            raise Refusal("nothing was changed; add --yes to do it", Exit.FINDINGS)
        click.confirm("Do it?", abort=True)
    _tell(api.post("/api/reload", {"dry_run": False}), as_json=as_json)


def _tell(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    out = console()
    if not answer["changes"]:
        out.print("nothing changes")
    for each in answer["changes"]:
        verb = f"would be {each['change']}" if answer["dry_run"] else f"was {each['change']}"
        line = Text.assemble((clean(each["what"]), "bold"), "  ", (verb, _STYLES.get(each["change"], "")))
        if each["settings"]:
            line.append("  " + ", ".join(clean(name) for name in each["settings"]))
        out.print(line, soft_wrap=True)
    for each in answer["workers"]:
        if each["why"] is not None:
            out.print(f"worker {each['worker']} goes on as before: {clean(each['why'])}", style="red", soft_wrap=True)
    for name in answer["outdated"]:
        what = f"the code of the adapter {clean(name)} has changed since it was loaded"
        out.print(f"{what}: it takes a restart (SIGUSR2 rolls the workers)", style="yellow", soft_wrap=True)
    for name in answer["restart"]:
        out.print(f"{clean(name)}  differs from what runs, and waits for a restart", style="yellow", soft_wrap=True)
