"""``gateway audit``: count everything again."""

import sys
from pathlib import Path

import rich_click as click

from gateway.cli.api_client import api_options, connect
from gateway.cli.common import Exit, console, json_option, print_json
from gateway.cli.drawing import clean
from gateway.cli.status import verdict
from gateway.simulator.painting import equation


@click.command()
@api_options
@json_option
def audit(*, config_path: Path, url: str | None, token: str | None, as_json: bool) -> None:
    """Recount requests, events and deliveries from the log itself, not from the counters.

    With --json it prints the recounted ledger, one object. Exits 1 if anything differs or is unaccounted for.
    """
    found = connect(config_path, url, token).get("/api/audit")
    ledger, findings = found["ledger"], found["findings"]
    if as_json:
        print_json(ledger)
    else:
        out = console()
        out.print(verdict(ledger))
        out.print(equation(ledger, out.width))
        out.print(f"unaccounted {ledger['unaccounted']}")
    notes = console(stderr=True)
    for finding in findings:
        notes.print(clean(finding), style="red", soft_wrap=True)
    sys.exit(Exit.FINDINGS if findings or ledger["unaccounted"] else Exit.FINE)
