"""``gateway subscribers``: who is delivered to."""

import sys
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

import rich_click as click
from rich.text import Text

from gateway.cli.api_client import Api, api_options, connect, networks_by_option, path_of
from gateway.cli.common import Exit, Refusal, console, is_interactive, json_option, print_json
from gateway.cli.drawing import Rows, clean, setting


@click.group(no_args_is_help=True)
def subscribers() -> None:
    """Subscribers: list, show, create, test, delete. Those of the file are changed in the file."""


@subscribers.command(name="list")
@api_options
@json_option
def list_subscribers(*, config_path: Path, url: str | None, token: str | None, as_json: bool) -> None:
    """List all subscribers, with who defines them and how they do."""
    items = connect(config_path, url, token).get("/api/subscribers")["items"]
    if as_json:
        for item in items:
            print_json(item)
        return
    rows = Rows("subscriber", "from", "pending#", "dead#", "state")
    for item in items:
        rows.add_row(
            Text(clean(item["name"]), "bold"),
            clean(item["origin"]),
            str(item["pending"]),
            Text(str(item["dead"]), "red" if item["dead"] else ""),
            clean(item["words"]),
        )
    console().print(rows if rows.row_count else Text("no subscribers", "dim"))


@subscribers.command()
@click.argument("name")
@api_options
@json_option
def show(*, name: str, config_path: Path, url: str | None, token: str | None, as_json: bool) -> None:
    """Show one subscriber: its settings, with secrets masked, and how it does."""
    _draw(connect(config_path, url, token).get(path_of("subscriber", name)), as_json=as_json)


@subscribers.command()
@click.argument("name")
@click.argument("target", metavar="URL")
@click.option("--type", "types", multiple=True, help="A type or a family, such as message.*; can be repeated.")
@click.option(
    "--allow-network", "networks", multiple=True, help="A network of your own it may lie in; can be repeated."
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any other setting, as the file has it.")
@api_options
@json_option
def create(
    *,
    name: str,
    target: str,
    types: tuple[str, ...],
    networks: tuple[str, ...],
    settings: tuple[str, ...],
    config_path: Path,
    url: str | None,
    token: str | None,
    as_json: bool,
) -> None:
    """Make a subscriber without touching the file.

    Unless --set secrets='["env:NAME"]' is given, a signing secret is made and printed once. VALUE is written as in the
    file, quotes can be left away: --set order=key, --set concurrency=4, --set headers='{ x-team = "crm" }'.
    """
    body: dict[str, Any] = {"name": name, "url": target, **dict(_setting(each) for each in settings)}
    if types:
        body["types"] = list(types)
    if networks:
        body["allow_networks"] = list(networks)
    with networks_by_option():
        made = connect(config_path, url, token).post("/api/subscribers", body)
    if as_json:
        print_json(made)
        return
    _draw(made["subscriber"], as_json=False)
    if made["secret"] is not None:
        out = console()
        out.print(f"\nsigning secret  {clean(made['secret'])}", soft_wrap=True)
        out.print(
            "It is shown this once: give it to the subscriber, which verifies deliveries with it.", soft_wrap=True
        )


def _setting(written: str) -> tuple[str, Any]:
    """``key=value`` with the value in TOML; what is no TOML is a text without its quotes."""
    key, equals, value = written.partition("=")
    if not equals or not key.strip():
        raise Refusal(f"--set {written}: write KEY=VALUE, such as concurrency=4", Exit.USAGE)
    try:
        found = tomllib.loads(f"value = {value}")["value"]
        return key.strip(), found.isoformat() if isinstance(found, datetime) else found
    except tomllib.TOMLDecodeError:
        return key.strip(), value


@subscribers.command()
@click.argument("name")
@click.option("--type", "event_type", help="Of which type; else the first it asks for.")
@api_options
@json_option
def test(
    *, name: str, event_type: str | None, config_path: Path, url: str | None, token: str | None, as_json: bool
) -> None:
    """Send one synthetic event straight to a subscriber, and show how it took it.

    If it is answered 2xx, what failed before is tried again at once, and an open breaker probes.
    """
    answer = connect(config_path, url, token).post(path_of("subscriber", name) + "/test", {"type": event_type})
    if as_json:
        print_json(answer)
    else:
        took = f"in {answer['duration_ms']} ms"
        words = f"answered {answer['status']} {took}" if answer["delivered"] else f"{clean(answer['detail'])}, {took}"
        console().print(
            Text(f"{clean(name)}: {words}", "green" if answer["delivered"] else "red"),
            Text(f"{clean(answer['event_type'])}  {clean(answer['event_id'])}", "dim"),
            sep="\n",
            soft_wrap=True,
        )
        if answer["answer"]:
            console().print(clean(answer["answer"]), soft_wrap=True)
    sys.exit(Exit.FINE if answer["delivered"] else Exit.FINDINGS)


@subscribers.command()
@click.argument("name")
@click.option("--forget", is_flag=True, help="Also its cursor, its counts, and what waits for it: for good.")
@click.option("--yes", is_flag=True, help="Do it without asking.")
@api_options
@json_option
def delete(
    *, name: str, forget: bool, yes: bool, config_path: Path, url: str | None, token: str | None, as_json: bool
) -> None:
    """Delete a subscriber that was made through the API; with --forget also what is kept of one that is gone."""
    api = connect(config_path, url, token)
    if not yes:
        _ask(api, name, forget=forget)
    answer = api.delete(path_of("subscriber", name), forget="true" if forget else None)
    if as_json:
        print_json(answer)
        return
    rest = "nothing of it is left" if forget else "what it has not read still waits for it"
    console().print(f"{clean(name)} is deleted; {rest}", soft_wrap=True)


def _ask(api: Api, name: str, *, forget: bool) -> None:
    item = api.get(path_of("subscriber", name))
    lost = f"; {item['pending']} pending and {item['dead']} dead letters would be gone for good" if forget else ""
    console().print(f"{clean(name)} would be deleted{lost}", soft_wrap=True)
    if not is_interactive():
        raise Refusal("nothing was changed; add --yes to do it", Exit.FINDINGS)
    click.confirm("Do it?", abort=True)


def _draw(item: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(item)
        return
    out = console()
    out.print(Text.assemble((clean(item["name"]), "bold"), f"  from {clean(item['origin'])}  ", clean(item["words"])))
    for key, value in item["settings"].items():
        out.print(f"  {clean(key):<16}{setting(value)}", soft_wrap=True)
    for key in item["public_keys"]:
        out.print(f"  {'public key':<16}{clean(key)}", soft_wrap=True)
    for mistake in item["mistakes"]:
        out.print(f"  {clean(mistake['at'])}: {clean(mistake['why'])}", style="red", soft_wrap=True)
