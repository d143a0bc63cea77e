"""``gateway replay``: send events of the log again, after saying what that would be."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click
from click import get_current_context
from click.core import ParameterSource
from rich.text import Text

from gateway.cli.api_client import Api, api_options, connect, networks_by_option, path_of
from gateway.cli.common import Exit, Refusal, console, is_interactive, json_option, print_json
from gateway.cli.drawing import REPLAY_STYLES, SHORT_ID, Rows, clean, event_type, setting

F = TypeVar("F", bound=Callable[..., Any])

_LOOK_S = 0.5
_NARROWING = ("since", "until", "source", "where")
_PATIENCE = 60
"""Looks in a row that may find no gateway: it is restarted, and the replay goes on."""


def _order_options(verb: F) -> F:
    """Which events, where to, how fast."""
    for option in (
        click.option("--yes", is_flag=True, help="Do it. Without this it says what would happen, and asks."),
        click.option("--dry-run", is_flag=True, help="Only say what would happen."),
        click.option("--detach", is_flag=True, help="Do not wait for its end."),
        click.option("--rate", default="100/s", show_default=True, help="No faster than this: 50/s, 600/m."),
        click.option("--no-raw", is_flag=True, help="With --to: without what the provider sent."),
        click.option("--format", "form", help="With --to: canonical or one of the CloudEvents, as a subscriber's."),
        click.option("--allow-network", "networks", multiple=True, help="With --to: a private network it may lie in."),
        click.option("--secret", help="With --to: which secret signs, by reference: env:NAME. Without, one is made."),
        click.option("--to", metavar="URL", help="To this URL and not to the subscriber."),
        click.option("--all", "everything", is_flag=True, help="The whole log, where nothing else restricts it."),
        click.option("--wanted", is_flag=True, help="Only what the subscriber's own types and condition cover."),
        click.option("--where", metavar="CEL", help="""A condition: 'event.channel == "whatsapp"'."""),
        click.option(
            "--state",
            type=click.Choice(["any", "dead", "delivered", "pending"]),
            default="any",
            help="How the event stands with the subscriber. dead, without --to: as gateway dead retry.",
        ),
        click.option("--source", help="Only of this source."),
        click.option(
            "--type", "types", multiple=True, help="A type or a family, such as message.*; several with commas."
        ),
        click.option("--until", metavar="TIME", help="Received before."),
        click.option("--since", metavar="TIME", help="Received at or after: 15m, yesterday, 2026-02-03, ISO 8601."),
        click.option("--id", "ids", multiple=True, help="This event; can be repeated."),
        click.option("--subscriber", help="To this subscriber; with --to: whose --state and --wanted are meant."),
    ):
        verb = option(verb)
    return json_option(api_options(verb))


@click.group(invoke_without_command=True)
@_order_options
def replay(**options: Any) -> None:
    """Send events of the log again, marked with the header gateway-replay and counted apart from the equation.

    Shows first what it would be about; with --yes, or when you say so, it is done and followed to its end. It goes on
    without you, through restarts too. Also: gateway replay list, show ID, cancel ID, resume ID.
    """
    context = get_current_context()
    if context.invoked_subcommand is None:
        _replay(**options)
        return
    for name in options:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            word = context.invoked_subcommand
            raise Refusal(f"options stand behind the word: gateway replay {word} …", Exit.USAGE)


def _replay(
    *,
    config_path: Path,
    url: str | None,
    token: str | None,
    as_json: bool,
    yes: bool,
    dry_run: bool,
    detach: bool,
    **wanted: Any,
) -> None:
    order = _order(**wanted)
    api = connect(config_path, url, token)
    with networks_by_option():
        plan = api.post("/api/replays", {**order, "dry_run": True})["plan"]
    if dry_run or plan["matched"] == 0:
        _tell_plan(plan, as_json=as_json)
        sys.exit(Exit.FINE if plan["matched"] else Exit.FINDINGS)
    if not yes:
        _tell_plan(plan, as_json=as_json and not is_interactive())
        if not is_interactive():
            raise Refusal("nothing was sent; add --yes to do it", Exit.FINDINGS)
        click.confirm("Do it?", abort=True)
    elif not as_json:
        _tell_plan(plan, as_json=False)
    made = api.post("/api/replays", order)
    if as_json:
        print_json(made)
    else:
        _tell_made(made)
    if not detach:
        _follow(api, made["replay"]["id"], as_json=as_json)


def _order(
    *,
    ids: tuple[str, ...],
    types: tuple[str, ...],
    to: str | None,
    secret: str | None,
    networks: tuple[str, ...],
    form: str | None,
    no_raw: bool,
    wanted: bool,
    everything: bool,
    **same: Any,
) -> dict[str, Any]:
    order: dict[str, Any] = {name: value for name, value in same.items() if value is not None}
    if to is None and "subscriber" not in order:
        raise Refusal("say where to: --subscriber NAME, or --to URL", Exit.USAGE)
    narrows = (ids, types, wanted, everything, order["state"] != "any", *[name in order for name in _NARROWING])
    if not any(narrows):
        raise Refusal(
            "say which events: --id, --since, --until, --type, --source, --state, --where or --wanted; or --all: the "
            "whole log",
            Exit.USAGE,
        )
    patterns = [part.strip() for each in types for part in each.split(",") if part.strip()]
    order |= {"ids": list(ids), "types": patterns, "wanted_only": wanted, "all": everything}
    if to is not None:
        order["to"] = {"url": to, "secret": secret, "allow_networks": list(networks), "raw": not no_raw}
        if form is not None:
            order["to"]["format"] = form
    elif secret or networks or form or no_raw:
        raise Refusal("--secret, --allow-network, --format and --no-raw describe the URL of --to", Exit.USAGE)
    return order


def _tell_plan(plan: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(plan)
        return
    out = console()
    least = "" if plan["complete"] else "at least "
    count = f"{least}{plan['matched']} {'event' if plan['matched'] == 1 else 'events'}"
    verb = "would be retried" if plan["retries_dead"] else "would be sent again"
    out.print(Text(f"{count} {verb}", "bold"), soft_wrap=True)
    for end in ("first", "last"):
        if (found := plan[end]) is not None:
            at, name = clean(found["received_at"]), clean(found["event_id"])[:SHORT_ID]
            out.print(Text.assemble((f"  {end:<8}", "dim"), f"{at}  {name}  ", event_type(found["event_type"])))
    for what in ("types", "sources"):
        if plan[what]:
            words = ", ".join(f"{number} {clean(name)}" for name, number in plan[what].items())
            out.print(Text.assemble((f"  {what:<8}", "dim"), words), soft_wrap=True)
    if plan["matched"]:
        pace = f"about {_duration(plan['seconds'])} at {plan['rate_per_s']:g} a second"
        out.print(Text.assemble(("  takes   ", "dim"), pace))
    if plan["expired"]:
        out.print(f"  {plan['expired']} of the range are no longer in the log", style="yellow")
    for note in plan["notes"]:
        out.print(f"  {clean(note)}", style="yellow", soft_wrap=True)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"


def _tell_made(made: dict[str, Any]) -> None:
    out = console()
    out.print(Text.assemble("replay ", (clean(made["replay"]["id"]), "bold")))
    if made["secret"] is not None:
        out.print(f"  signed with {clean(made['secret'])}", soft_wrap=True)
        out.print("  It is shown this once: the receiver verifies with it.", style="dim", soft_wrap=True)


def _follow(api: Api, replay_id: str, *, as_json: bool) -> None:
    """Watch it to its end. Ctrl-C leaves it running."""
    last: dict[str, Any] = {}
    try:
        if as_json or not console().is_terminal:
            for look in _looks(api, replay_id):
                last = look
        else:
            last = _draw_progress(api, replay_id)
    except KeyboardInterrupt:
        notes = console(stderr=True)
        notes.print(f"\nIt goes on without you: gateway replay show {replay_id}", soft_wrap=True)
        notes.print(f"To stop it: gateway replay cancel {replay_id}", soft_wrap=True)
        sys.exit(Exit.FINE)
    if as_json:
        print_json(last)
    else:
        _draw(last)
    sys.exit(Exit.FINE if last["state"] == "done" and not last["failed"] else Exit.FINDINGS)


def _looks(api: Api, replay_id: str) -> Iterator[dict[str, Any]]:
    """How it stands, until it runs no more. A gateway that restarts is waited for."""
    missed = 0
    while True:
        try:
            found: dict[str, Any] = api.get(path_of("replay", replay_id))
            missed = 0
            yield found
            if found["state"] not in ("planned", "running"):
                return
        except Refusal as refusal:
            missed += 1
            if refusal.code != Exit.UNREACHABLE or missed > _PATIENCE:
                raise
        time.sleep(_LOOK_S)


def _draw_progress(api: Api, replay_id: str) -> dict[str, Any]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    last: dict[str, Any] = {}
    columns = (BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console(), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        for last in _looks(api, replay_id):
            bar.update(task, completed=last["progress"], description=clean(last["words"]))
    return last


@replay.command(name="list")
@click.option("--limit", type=click.IntRange(1, 1_000), default=20, show_default=True, help="At most so many.")
@api_options
@json_option
def list_replays(*, limit: int, config_path: Path, url: str | None, token: str | None, as_json: bool) -> None:
    """List replays, the newest first."""
    items = connect(config_path, url, token).items("/api/replays", limit)
    if as_json:
        for item in items:
            print_json(item)
        return
    rows = Rows("made at", "replay", "to", "through#", "state")
    for item in items:
        rows.add_row(
            clean(item["created_at"])[:19],
            clean(item["id"])[:SHORT_ID],
            Text(clean(item["to"] or item["subscriber"]), "bold"),
            f"{item['progress']:.0%}",
            Text(clean(item["words"]), REPLAY_STYLES.get(item["state"], "")),
        )
    console().print(rows if rows.row_count else Text("no replays", "dim"))


def _one_option(verb: F) -> F:
    return json_option(api_options(click.argument("identity", metavar="ID")(verb)))


@replay.command()
@_one_option
def show(*, identity: str, config_path: Path, url: str | None, token: str | None, as_json: bool) -> None:
    """Show one replay: what it is about, how far it is, what failed."""
    _tell(connect(config_path, url, token).get(path_of("replay", identity)), as_json=as_json)


@replay.command()
@_one_option
def cancel(*, identity: str, config_path: Path, url: str | None, token: str | None, as_json: bool) -> None:
    """Stop a replay, within a second or two."""
    _tell(connect(config_path, url, token).post(path_of("replay", identity) + "/cancel", {}), as_json=as_json)


@replay.command()
@_one_option
def resume(*, identity: str, config_path: Path, url: str | None, token: str | None, as_json: bool) -> None:
    """Let a replay that was cancelled, or that stopped by itself, go on from where it stopped."""
    _tell(connect(config_path, url, token).post(path_of("replay", identity) + "/resume", {}), as_json=as_json)


def _tell(item: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(item)
    else:
        _draw(item)


def _draw(item: dict[str, Any]) -> None:
    out = console()
    words = Text(clean(item["words"]), REPLAY_STYLES.get(item["state"], ""))
    out.print(Text.assemble((clean(item["id"]), "bold"), "  ", words), soft_wrap=True)
    out.print(f"  {'to':<14}{clean(item['to'] or item['subscriber'])}", soft_wrap=True)
    for name, value in item["selection"].items():
        out.print(f"  {name:<14}{setting(value)}", soft_wrap=True)
    for name in ("created_at", "created_by", "started_at", "ended_at", "matched", "attempts", "expired"):
        out.print(f"  {name:<14}{clean(item[name])}", soft_wrap=True)
    for failure in item["failures"][:20]:
        line = f"  {clean(failure['event_id'])[:SHORT_ID]}  {clean(failure['cause'])}  {clean(failure['detail'])}"
        out.print(Text(line, "red"), soft_wrap=True)
    if item["failed"] > 20:
        out.print(f"  … and {item['failed'] - 20} more; --json has the first 100", style="dim")
