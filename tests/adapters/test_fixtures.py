"""The recorded requests, judged by other tools than the code they test: openssl, and fifteen lines of hashlib."""

import base64
import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from adapters.registry import bundled
from gateway.testing import Case, load_cases

FIXTURES = Path(__file__).parent.parent / "fixtures"
PINNED = FIXTURES / "ids.json"
CASES = [case for name in bundled() for case in load_cases(FIXTURES / name)]
SIGNED = [case for case in CASES if "command" in case.proof]

openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the command openssl")


def _name(case: Case) -> str:
    return f"{case.folder.parent.name}/{case.name}"


@openssl
@pytest.mark.parametrize("case", SIGNED, ids=_name)
def test_the_recorded_signature_is_another_tools(case: Case) -> None:
    """The command that about.toml records, run again on body.raw, prints the header that was recorded."""
    ran = subprocess.run(
        ["sh", "-c", case.proof["command"]], cwd=case.folder, capture_output=True, check=True, timeout=20
    )
    headers = json.loads((case.folder / "headers.json").read_text())
    assert ran.stdout.decode().strip() == case.proof.get("prints", headers[case.proof["header"]])


@openssl
def test_the_recorded_command_notices_another_body(tmp_path: Path) -> None:
    """The positive control: over a changed body both forms of command print something else."""
    for name in ("enviaai/message.received__documented", "flexengage/NOTIFICATION.SMS.RECEIPT__documented"):
        case = next(case for case in SIGNED if _name(case) == name)
        copy = tmp_path / name
        shutil.copytree(case.folder.parent, tmp_path / case.folder.parent.name)
        (copy / "body.raw").write_bytes(case.request.body + b" ")
        ran = subprocess.run(
            ["sh", "-c", case.proof["command"]], cwd=copy, capture_output=True, check=False, timeout=20
        )
        headers = json.loads((copy / "headers.json").read_text())
        assert ran.stdout.decode().strip() != case.proof.get("prints", headers[case.proof["header"]])


def test_every_signature_has_a_command() -> None:
    """Only a provider that signs nothing may do without; that says so."""
    without = [case for case in CASES if "command" not in case.proof]
    assert all(case.proof.get("not_over_body") for case in without)
    assert {case.folder.parent.name for case in without} == {"aivo_engage", "generic_chat"}


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_the_expected_ids_come_from_the_parts_that_about_toml_names(case: Case) -> None:
    """Computed here from the design's words alone: base32 of SHA-256 over the JSON array of source and parts."""
    sha256 = hashlib.sha256(case.request.body).hexdigest()
    wanted = []
    for parts in case.about.get("dedupe", []):
        filled = [case.source.name, *(sha256 if part == "sha256(body)" else part for part in parts)]
        array = json.dumps(filled, ensure_ascii=False, separators=(",", ":")).encode()
        encoded = base64.b32encode(hashlib.sha256(array).digest()[:16]).decode().lower().rstrip("=")
        wanted.append(f"evt_{encoded}")
    expected = case.expected if isinstance(case.expected, list) else []
    assert [event["id"] for event in expected] == wanted
    assert all(event["provenance"]["raw_sha256"] == sha256 for event in expected)


def test_the_ids_of_all_recorded_events_are_pinned() -> None:
    """An id that changes makes every retry in flight a second event: that takes a new adapter version and this file."""
    ids = {
        _name(case): [event["id"] for event in case.expected] if isinstance(case.expected, list) else []
        for case in CASES
    }
    assert ids == json.loads(PINNED.read_text())


def test_the_recorded_bodies_are_protected_from_line_endings() -> None:
    """Git must not touch what was signed."""
    attributes = (Path(__file__).parent.parent.parent / ".gitattributes").read_text()
    assert "*.raw -text" in attributes
