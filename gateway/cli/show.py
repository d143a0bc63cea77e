"""``gateway show``: one event."""

from pathlib import Path
from typing import Any

import rich_click as click
from rich.table import Table
from rich.text import Text

from gateway.cli.api_client import api_options, connect, path_of
from gateway.cli.common import console, json_option, print_json
from gateway.cli.drawing import Rows, clean, event_type, json_text

_SIDE_BY_SIDE = 120
_STATE_STYLES = {"delivered": "green", "filtered": "dim", "dead_letter": "red", "parked": "yellow", "held": "yellow"}


@click.command()
@click.argument("identity", metavar="ID")
@api_options
@json_option
def show(*, identity: str, config_path: Path, url: str | None, token: str | None, as_json: bool) -> None:
    """Show one event: canonical, raw, and what became of it at each subscriber.

    ID is an event's id, or the beginning of a recent one.
    """

    found = connect(config_path, url, token).get(path_of("event", identity))
    if as_json:
        print_json(found)
    else:
        _draw(found)


def _draw(found: dict[str, Any]) -> None:
    out = console()
    event = found["event"]
    out.print(Text.assemble((clean(event["id"]), "bold"), "  ", event_type(event["type"])))
    provenance = event["provenance"]
    out.print(
        f"received {clean(event['received_at'])} at {clean(event['source'])}, "
        f"proven by {clean(provenance['verified'])}, "
        f"mapped by {clean(provenance['adapter'])} from {clean(provenance['provider_type'])}",
        soft_wrap=True,
    )
    out.print()
    canonical, raw = json_text(event), json_text(found["raw"])
    if out.is_terminal and out.width >= _SIDE_BY_SIDE:
        sides = Table(box=None, pad_edge=False, header_style="dim", expand=True)
        sides.add_column("canonical", ratio=1, overflow="fold")
        sides.add_column("raw, as the provider sent it", ratio=1, overflow="fold")
        sides.add_row(canonical, raw)
        out.print(sides)
    else:
        for title, text in (("canonical", canonical), ("raw, as the provider sent it", raw)):
            out.print(title, style="dim")
            out.print(text, soft_wrap=True)
    out.print()
    if not found["deliveries"]:
        out.print("no subscribers: it is kept, and delivered to none", style="dim")
        return
    deliveries = Rows("subscriber", "state", "attempts#", "what")
    for delivery in found["deliveries"]:
        deliveries.add_row(
            Text(clean(delivery["subscriber"]), "bold"),
            Text(clean(delivery["state"]), _STATE_STYLES.get(delivery["state"], "")),
            clean(delivery["attempts"]),
            clean(delivery["words"]),
        )
    out.print(deliveries)
