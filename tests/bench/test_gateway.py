"""The benchmark against the real gateway, in miniature: the numbers mean nothing, the counting must be exact."""

import json
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.belief import RefusedError, check
from bench.load import make_requests, send
from bench.machine import cores, missing_tools
from bench.process import command_name, descendants
from bench.subject import STORE_COMMANDS, Gateway
from gateway.store.layout import Keys

pytestmark = pytest.mark.skipif(bool(missing_tools()), reason=f"Debian packages missing: {', '.join(missing_tools())}")
WITHIN_S = 60
"""How long a client may take for its requests, on whatever machine; it ends when it has sent all of them."""


def test_every_200_is_in_the_log_and_an_entry_deleted_behind_its_back_refuses_the_row(tmp_path: Path) -> None:
    """The check is shown to pass on an honest store, and to fail when one acknowledged event is gone."""
    requests = make_requests(tmp_path / "load", 400)
    with Gateway(tmp_path / "gateway", role="intake", cores=cores()).ready() as gateway:
        store_pid = next(pid for pid in descendants(gateway.pid) if command_name(pid) in STORE_COMMANDS)
        sent = send(gateway.port, requests, window_s=WITHIN_S, connections=8, log=tmp_path / "log", cores=None)
        assert sent.ok == 400
        facts = gateway.facts()
        assert (facts.log_length, facts.appendfsync) == (400, "always")
        check([sent], facts)
        assert len(gateway.first_entries(10)) == 10
        gateway.store.xdel(Keys("0").log, "200-0")
        with pytest.raises(RefusedError, match="the log holds 399 events, the client counted 400"):
            check([sent], gateway.facts())
        gateway_pid = gateway.pid
    assert command_name(gateway_pid) == command_name(store_pid) == ""


def test_duplicates_refuse_the_row(tmp_path: Path) -> None:
    """Requests sent twice are answered 200 twice and logged once: that rate is not one of durable intake."""
    requests = make_requests(tmp_path / "load", 50)
    with Gateway(tmp_path / "gateway", role="intake", cores=None).ready() as gateway:
        log = tmp_path / "log"
        twice = [send(gateway.port, requests, window_s=WITHIN_S, connections=4, log=log, cores=None) for _ in range(2)]
        assert [sent.ok for sent in twice] == [50, 50]
        with pytest.raises(RefusedError, match="the log holds 50 events, the client counted 100"):
            check(twice, gateway.facts())


def test_the_command_measures_rows_and_prints_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Intake, delivery and end to end are believed on tiny runs, and the output names no path of this machine."""
    rows = ("intake", "delivery", "end-to-end-roles")
    argv = [word for row in rows for word in ("--row", row)]
    argv += ["--rounds", "1", "--seconds", "0.2", "--backlog", "500", "--json", "--directory", str(tmp_path)]
    assert main(argv) in (0, 1)  # whether the floors hold is not for a test on a shared machine
    printed = capsys.readouterr().out
    report = json.loads(printed)
    assert str(tmp_path) not in printed
    assert [row["row"] for row in report["rows"]] == list(rows)
    for row in report["rows"]:
        assert row["verdict"] in ("aim reached", "floor held", "MISSED", "NOISY"), row
        assert row["value"] > 0
        assert row["store"].endswith("appendfsync always")
    assert list(tmp_path.iterdir()) == []
