"""``gateway dead``: deliveries that no further attempt is made of by itself."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click
from rich.text import Text

from gateway.cli.api_client import Api, api_options, connect
from gateway.cli.common import Exit, Refusal, console, is_interactive, json_option, print_json
from gateway.cli.drawing import SHORT_ID, Rows, clean, event_type
from gateway.config_file.values import did_you_mean

F = TypeVar("F", bound=Callable[..., Any])


@click.group(no_args_is_help=True)
def dead() -> None:
    """Dead letters: look at them, try them again, or give them up."""


@dead.command(name="list")
@click.option("--subscriber", help="Only of this subscriber.")
@click.option("--cause", help="Only with this cause, such as http_500.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="At most so many.")
@api_options
@json_option
def list_dead(
    *,
    subscriber: str | None,
    cause: str | None,
    limit: int,
    config_path: Path,
    url: str | None,
    token: str | None,
    as_json: bool,
) -> None:
    """List dead letters, the latest first."""
    api = connect(config_path, url, token)
    items = api.items("/api/dead", limit, subscriber=subscriber, cause=cause)
    if as_json:
        for item in items:
            print_json(item)
        return
    rows = Rows("died at", "event", "type", "subscriber", "attempts#", "cause", "last answer")
    for item in items:
        rows.add_row(
            clean(item["died_at"])[:19],
            clean(item["event_id"])[:SHORT_ID],
            event_type(item["event_type"]),
            Text(clean(item["subscriber"]), "bold"),
            str(item["attempts"]),
            Text(clean(item["cause"]), "red"),
            clean(item["detail"]),
        )
    out = console()
    if rows.row_count:
        out.print(rows)
    else:
        out.print(Text(_none_with(api, subscriber, cause) if cause else "no dead letters", "green"), soft_wrap=True)


@dead.command()
@click.option("--subscriber", help="Only of this subscriber.")
@api_options
@json_option
def causes(*, subscriber: str | None, config_path: Path, url: str | None, token: str | None, as_json: bool) -> None:
    """List the causes, the commonest first, each with the order that tries its group again."""
    found = connect(config_path, url, token).get("/api/dead/causes", subscriber=subscriber)["items"]
    if as_json:
        for item in found:
            print_json(item)
        return
    rows = Rows("cause", "number#", "subscribers", "last died at", "example", "try again with")
    for item in found:
        rows.add_row(
            Text(clean(item["cause"]), "red"),
            str(item["count"]),
            ", ".join(f"{clean(name)} {number}" for name, number in item["subscribers"].items()),
            clean(item["last_died_at"])[:19],
            clean(item["example"])[:SHORT_ID],
            Text(f"gateway dead retry --cause {clean(item['cause'])}", "bold"),
        )
    console().print(rows if rows.row_count else Text("no dead letters", "green"))


@dead.command(name="show")
@click.argument("identity", metavar="ID")
@click.option("--subscriber", help="Only of this subscriber.")
@api_options
@json_option
def show_dead(
    *, identity: str, subscriber: str | None, config_path: Path, url: str | None, token: str | None, as_json: bool
) -> None:
    """Show the dead letters of one event, with the last answer of the subscriber."""
    items = connect(config_path, url, token).items("/api/dead", sys.maxsize, subscriber=subscriber)
    name = identity if identity.startswith("evt_") else f"evt_{identity}"
    found = [item for item in items if item["event_id"].startswith(name)]
    events = {item["event_id"] for item in found}
    if len(events) != 1:
        why = f"no dead letter of an event {name}" if not events else f"{len(events)} events begin with {name}"
        raise Refusal(f"{why}; gateway dead list shows them", Exit.FINDINGS)
    for item in found:
        if as_json:
            print_json(item)
        else:
            _draw(item)


def _draw(item: dict[str, Any]) -> None:
    out = console()
    out.print(Text.assemble((clean(item["event_id"]), "bold"), "  ", event_type(item["event_type"])))
    for name in ("subscriber", "cause", "status", "detail", "attempts", "first_failed_at", "died_at"):
        out.print(f"  {name:<16}{clean(item[name])}", soft_wrap=True)
    if item["answer"]:
        out.print("  last answer", style="dim")
        for line in item["answer"].splitlines():
            out.print(f"    {clean(line)}", soft_wrap=True)


def _order_options(verb: F) -> F:
    """What ``retry`` and ``drop`` have in common."""
    for option in (
        click.option("--yes", is_flag=True, help="Do it. Without this it says what would happen, and asks."),
        click.option("--dry-run", is_flag=True, help="Only say what would happen."),
        click.option("--all", "everything", is_flag=True, help="All that the other options do not exclude."),
        click.option("--cause", help="Only with this cause, such as http_500."),
        click.option("--subscriber", help="Only of this subscriber."),
        click.argument("ids", nargs=-1, metavar="[ID]..."),
    ):
        verb = option(verb)
    return json_option(api_options(verb))


@dead.command()
@_order_options
def retry(**options: Any) -> None:
    """Deliver dead letters again, with a fresh schedule.

    Names them by event id, by --subscriber, by --cause, or --all. With order = "key" they come after the later events
    of their key, which went on when they died.
    """
    _move("retry", "delivered again", **options)


@dead.command()
@_order_options
def drop(**options: Any) -> None:
    """Give dead letters up for good: they count as discarded.

    Names them by event id, by --subscriber, by --cause, or --all.
    """
    _move("drop", "given up for good", **options)


def _move(
    word: str,
    what: str,
    *,
    ids: tuple[str, ...],
    subscriber: str | None,
    cause: str | None,
    everything: bool,
    dry_run: bool,
    yes: bool,
    config_path: Path,
    url: str | None,
    token: str | None,
    as_json: bool,
) -> None:
    if not (ids or subscriber or cause or everything):
        raise Refusal(
            f"which dead letters? name event ids, --subscriber, --cause or --all: gateway dead {word} --all",
            Exit.USAGE,
        )
    api = connect(config_path, url, token)
    order = {"subscriber": subscriber, "cause": cause, "ids": list(ids) or None, "all": not ids and not cause}
    trial = _ask(api, word, order, dry_run=True)
    if trial["matched"] == 0 and cause and not as_json:
        raise Refusal(f"{_none_with(api, subscriber, cause)}; nothing was changed", Exit.FINDINGS)
    if dry_run or trial["matched"] == 0:
        _tell(trial, what, as_json=as_json)
        sys.exit(Exit.FINE if trial["matched"] else Exit.FINDINGS)
    if not yes:
        if not is_interactive():
            _tell(trial, what, as_json=as_json)
            raise Refusal("nothing was changed; add --yes to do it", Exit.FINDINGS)
        _tell(trial, what, as_json=False)
        click.confirm("Do it?", abort=True)
    _tell(_ask(api, word, order, dry_run=False), what, as_json=as_json)


def _none_with(api: Api, subscriber: str | None, cause: str) -> str:
    """That no dead letter has this cause, the one that was perhaps meant, and those there are."""
    known = [clean(item["cause"]) for item in api.get("/api/dead/causes", subscriber=subscriber)["items"]]
    there_are = f"there are: {', '.join(known)}" if known else "there are no dead letters"
    return f"no dead letter has the cause {clean(cause)}{did_you_mean(cause, known)}; {there_are}"


def _ask(api: Api, word: str, order: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
    answer: dict[str, Any] = api.post(f"/api/dead/{word}", {**order, "dry_run": dry_run})
    return answer


def _tell(moved: dict[str, Any], what: str, *, as_json: bool) -> None:
    if as_json:
        print_json(moved)
        return
    count = moved["matched" if moved["dry_run"] else "moved"]
    done = "would be" if moved["dry_run"] else "is" if count == 1 else "are"
    whose = ", ".join(f"{number} of {clean(name)}" for name, number in moved["subscribers"].items())
    letters = "dead letter" if count == 1 else "dead letters"
    console().print(f"{count} {letters} {done} {what}{f': {whose}' if whose else ''}", soft_wrap=True)
