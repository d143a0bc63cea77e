"""``gateway status``: is anything lost, and what is the matter."""

import sys
from pathlib import Path
from typing import Any

import rich_click as click
from rich.text import Text

from gateway.cli.api_client import api_options, connect
from gateway.cli.common import Exit, Refusal, console, json_option, print_json
from gateway.cli.drawing import REPLAY_STYLES, SHORT_ID, Rows, clean, print_behind
from gateway.operate.amounts import duration
from gateway.simulator.painting import equation
from schemas.timestamps import parse_iso_ms

_STATE_STYLES = {
    "up_to_date": "green",
    "delivering": "green",
    "behind": "yellow",
    "retrying": "yellow",
    "paused": "yellow",
}


@click.command()
@api_options
@json_option
def status(*, config_path: Path, url: str | None, token: str | None, as_json: bool) -> None:
    """Show the equation, the sources and subscribers, and what needs a person.

    With --json it prints the ledger, one object, and beside it the replays, which are in no account. Exits 1 if
    anything is unaccounted for, 4 if the gateway cannot be reached or cannot reach its store. While its store is away,
    --json prints store_away instead: since when, why, what to do, whether webhooks are refused, what is in the spool.
    """
    try:
        found = connect(config_path, url, token).get("/api/status")
    except Refusal as refusal:
        if as_json and refusal.store_away is not None:
            print_json({"store_away": refusal.store_away})
        raise
    if as_json:
        print_json({**found["ledger"], "replays": found["replays"]})
    else:
        _draw(found)
    sys.exit(Exit.FINDINGS if found["ledger"]["unaccounted"] else Exit.FINE)


def verdict(ledger: dict[str, Any]) -> Text:
    """The answer to the one question."""
    if ledger["unaccounted"]:
        return Text(f"Is anything lost? unaccounted {ledger['unaccounted']}: see gateway audit", "bold red")
    return Text("Is anything lost? No: every request and every event is accounted for.", "bold green")


def _draw(found: dict[str, Any]) -> None:
    out = console()
    out.print(verdict(found["ledger"]))
    out.print(equation(found["ledger"], out.width))
    out.print()
    if found["sources"]:
        sources = Rows("source", "adapter", "received#", "accepted#", "rejected#", "latest event")
        for source in found["sources"]:
            requests = source["account"]["requests"]
            latest = source["broken"] and Text(clean(source["broken"]), "red")
            sources.add_row(
                Text(clean(source["name"]), "bold"),
                clean(source["adapter"]) if source["configured"] else Text("not configured", "dim"),
                str(requests["received"]),
                str(requests["accepted"]),
                str(requests["rejected"]),
                latest or _ago(source["last_event_at"], found["at"]),
            )
        out.print(sources, "")
    if found["subscribers"]:
        subscribers = Rows("subscriber", "delivered#", "pending#", "dead#", "state")
        for subscriber in found["subscribers"]:
            subscribers.add_row(
                Text(clean(subscriber["name"]), "bold"),
                str(subscriber["delivered"]),
                str(subscriber["pending"]),
                Text(str(subscriber["dead"]), "red" if subscriber["dead"] else ""),
                Text(clean(_state_words(subscriber, found)), _STATE_STYLES.get(subscriber["state"], "red")),
            )
        out.print(subscribers, "")
    _draw_replays(found["replays"])
    store = found["store"]
    print_behind(
        out,
        Text("store  "),
        f"{clean(store['kind'])} {clean(store['server'])}, durability {clean(store['durability'])}, "
        f"{store['log_entries']} events in {_mebibytes(store['log_bytes'])} of {_mebibytes(store['retention_bytes'])}",
    )
    if len(found["workers"]) > 1:
        pids = ", ".join(_worker(each) for each in found["workers"])
        is_whole = all(each["pid"] is not None for each in found["workers"])
        out.print(f"workers  {pids}", style="" if is_whole else "red")
    for problem in found["problems"]:
        line = Text("\n" + clean(problem["what"]), "red" if problem["severity"] == "bad" else "yellow")
        if problem["command"] not in (None, "gateway status"):  # that is what was just run
            line.append(f"\n  {clean(problem['command'])}", "bold")
        out.print(line)


def _worker(worker: dict[str, Any]) -> str:
    """Its process id; of one that does not answer its number, which the log has beside the id."""
    return f"worker {worker['worker']} does not answer" if worker["pid"] is None else str(worker["pid"])


def _state_words(subscriber: dict[str, Any], found: dict[str, Any]) -> str:
    """How a subscriber does; only the beginning, if a problem below says the whole."""
    words: str = subscriber["words"]
    is_told = any(problem["what"] == f"{subscriber['name']} is {words}" for problem in found["problems"])
    return words.partition(":")[0] if is_told else words


def _draw_replays(replays: dict[str, Any]) -> None:
    """Apart from the equation: a replay moves none of its terms."""
    if not replays["items"]:
        return
    out = console()
    rows = Rows("replay", "to", "through#", "state")
    for item in replays["items"]:
        rows.add_row(
            Text(clean(item["id"])[:SHORT_ID], "bold"),
            clean(item["target"]),
            f"{item['progress']:.0%}",
            Text(clean(item["words"]), REPLAY_STYLES.get(item["state"], "")),
        )
    out.print(rows)
    whole = f"all replays so far: {replays['delivered']} delivered, {replays['failed']} failed"
    if replays["requeued"]:
        whole += f", {replays['requeued']} dead letters put back"
    out.print(f"{whole}; in no account\n", style="dim", soft_wrap=True)


def _ago(time: str | None, now: str) -> str:
    """How long a canonical time is past."""
    then_ms, now_ms = parse_iso_ms(time or ""), parse_iso_ms(now)
    return "–" if then_ms is None or now_ms is None else f"{duration(max(0, now_ms - then_ms) / 1000)} ago"


def _mebibytes(total_bytes: int) -> str:
    return f"{total_bytes / 1024**2:.1f}\N{NO-BREAK SPACE}MiB"
