"""A store of every format there ever was is opened by this version, and nothing of it is lost.

A change of the layout that reads an earlier store otherwise is noticed here, whether or not ``FORMAT`` was counted up.
"""

import json
from pathlib import Path

import pytest

from gateway.store.backup import restore_backup
from gateway.store.layout import FORMAT
from tests.cli.running import gateway
from tests.intake.served import eventually
from tests.store.formats import TOML, facts

FOLDERS = sorted(Path(__file__).parent.glob("format_*"))


def test_there_is_a_store_of_every_format() -> None:
    """Whoever counts ``FORMAT`` up adds one, and keeps those before."""
    assert [each.name for each in FOLDERS] == [f"format_{number}" for number in range(1, FORMAT + 1)]


@pytest.mark.parametrize("made", FOLDERS, ids=lambda each: each.name)
def test_it_is_opened_and_nothing_is_missing(tmp_path: Path, made: Path) -> None:
    """What a gateway said of it when it was made, it says today; an audit agrees, and its spool is drained."""
    restore_backup(made, tmp_path / "data", tmp_path / "spool", lambda _: None)
    wanted = json.loads((made / "facts.json").read_text())
    with gateway(tmp_path, TOML, "--role", "intake") as at:  # nothing is delivered, so that all stays as it was
        eventually(lambda: at.ledger()["events"]["logged"] > wanted["ledger"]["events"]["logged"])
        found = json.loads(json.dumps(facts(at)))
        audit = at.gateway("audit", "--json")
    assert (audit.code, audit.objects[0]["unaccounted"]) == (0, 0), audit.err
    (spooled,) = set(found.pop("events")) - set(wanted.pop("events"))
    assert spooled.startswith("evt_")
    # What came out of the spool is one request, logged, and offered to all.
    ledger = wanted.pop("ledger")
    for name, term in (
        ("requests", "received"),
        ("requests", "accepted"),
        ("events", "produced"),
        ("events", "logged"),
    ):
        ledger[name][term] += 1
    for line in ledger["subscribers"].values():
        line["offered"] += 1
        line["pending"] += 1
    assert found.pop("ledger") == ledger
    wanted["waiting"] += [[name, spooled, "pending"] for name in ledger["subscribers"]]
    assert {name: sorted(map(str, value)) for name, value in found.items()} == {
        name: sorted(map(str, value)) for name, value in wanted.items()
    }
