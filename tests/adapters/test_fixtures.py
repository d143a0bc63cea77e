"""What all recorded requests have together; what each must hold to alone are clauses (``gateway/conformance``)."""

import hashlib
import json
from pathlib import Path

from adapters.registry import bundled
from gateway.testing import Case, load_cases

FIXTURES = Path(__file__).parent.parent / "fixtures"
PINNED = FIXTURES / "ids.json"
CASES = [case for name in bundled() for case in load_cases(FIXTURES / name)]


def _name(case: Case) -> str:
    return f"{case.folder.parent.name}/{case.name}"


def test_every_signature_has_a_command() -> None:
    """Only a provider that signs nothing may do without; that says so."""
    without = [case for case in CASES if "command" not in case.proof]
    assert all(case.proof.get("not_over_body") for case in without)
    assert {case.folder.parent.name for case in without} == {"aivo_engage", "generic_chat"}


def test_every_event_names_the_hash_of_its_body() -> None:
    """Computed here, by hashlib alone."""
    for case in CASES:
        sha256 = hashlib.sha256(case.request.body).hexdigest()
        for event in case.expected if isinstance(case.expected, list) else []:
            assert event["provenance"]["raw_sha256"] == sha256, _name(case)


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
