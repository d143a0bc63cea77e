"""``gateway check``: every mistake of the configuration at once, and what is in force."""

import re
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from gateway.cli.common import Exit, config_option, console, json_option, load_config, print_json
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from gateway.config import Config

_PLACED = re.compile(r"(?P<file>.+?):(?P<line>[0-9]+): (?P<message>.+)", re.DOTALL)


@click.command()
@config_option
@click.option("--effective", "show_effective", is_flag=True, help="Print every setting in force, with its origin.")
@json_option
def check(*, config_path: Path, show_effective: bool, as_json: bool) -> None:
    """Read the configuration as the gateway would, and change nothing.

    Exits 0 if all is well, 1 if something works less well than it could, 3 if the gateway would not start.
    """
    try:
        config = load_config(config_path)
    except ConfigError as error:
        if not as_json:
            raise
        for problem in error.problems:
            print_json(_as_object(problem))
        sys.exit(Exit.CONFIG)
    findings = _findings(config)
    if show_effective:
        _print_effective(config, as_json=as_json)
    elif as_json:
        print_json({"sources": list(config.sources), "subscribers": list(config.subscribers), "findings": findings})
    else:
        verdict = f"it can be served, with {_count(len(findings), 'finding')}" if findings else "no mistakes"
        console().print(
            f"{config_path}: {verdict}; {_count(len(config.sources), 'source')}, "
            f"{_count(len(config.subscribers), 'subscriber')}",
            style="yellow" if findings else "green",
            soft_wrap=True,
        )
    if not as_json:
        for finding in findings:
            console(stderr=True).print(finding, style="yellow", soft_wrap=True)
    sys.exit(Exit.FINDINGS if findings else Exit.FINE)


def _as_object(problem: str) -> dict[str, str | int]:
    found = _PLACED.fullmatch(problem)
    if found is None:
        return {"message": problem}
    return {"file": found["file"], "line": int(found["line"]), "message": found["message"]}


def _findings(config: "Config") -> list[str]:
    """What does not keep the gateway from starting, but somebody should know."""
    findings = [
        f"sources.{name} answers 503 to every request: its adapter {source.adapter} cannot be used, {source.broken}"
        for name, source in config.sources.items()
        if source.broken
    ]
    from gateway.config_file.folders import is_refused

    dotenv = config.path.parent / ".env"
    if dotenv.exists() and stat.S_IMODE(dotenv.stat().st_mode) & 0o077:
        findings.append(f"{dotenv.name} holds secrets and can be read by others: chmod 600 {dotenv.name}")
    if config.store.spool and (refused := is_refused(config.store.spool)):
        (place,) = (each.origin for each in config.origins if (each.table, each.key) == ("store", "spool"))
        findings.append(
            f"store.spool ({place}) cannot be used by this user, who may not write in {refused}: while the store is "
            f"away webhooks are answered 503; give the gateway's user that folder, or name another"
        )
    return findings


def _print_effective(config: "Config", *, as_json: bool) -> None:
    if as_json:
        for origin in config.origins:
            print_json({"table": origin.table, "key": origin.key, "value": origin.value, "origin": origin.origin})
        return
    from rich.text import Text

    from gateway.config_file.effective import effective

    out = console()
    for line in effective(config):
        setting, mark, comment = line.partition("  # ")
        style = "bold cyan" if line.startswith("[") else ""
        out.print(Text.assemble((setting, style), (mark + comment, "dim")), soft_wrap=True)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
