"""Proven but not mappable: answered 200, kept whole, and in the account."""

import json

import pytest

from tests.intake.served import PLEASE, Served, eventually, signed

UNREADABLE = {
    "nothing": b"",
    "not JSON": b"hello",
    "half": b'{"event":"message.rec',
    "bad UTF-8": b'{"event":"\xff\xfe"}',
    "5000 arrays deep": b"[" * 5_000 + b"]" * 5_000,
    "5000 objects deep": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "null": b"null",
    "an array": b"[1,2]",
    "a text": b'"message.received"',
    "a number": b"12",
    "NaN": b'{"event":NaN}',
    "data missing": b'{"event":"message.received"}',
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_a_proven_body_that_is_no_event(gateway: Served, body: bytes) -> None:
    """The provider neither retries nor disables us, and nothing is lost: the exact bytes are there."""
    before, events = gateway.requests("br"), len(gateway.names())
    answer = gateway.post("/in/br", body, signed(body))
    assert answer.status == 200
    assert (answer.json["status"], answer.json["events"]) == ("quarantined", [])
    after = gateway.requests("br")
    assert (after.quarantined, after.received) == (before.quarantined + 1, before.received + 1)
    assert len(gateway.names()) == events
    found = gateway.kept("quarantine", "br")[0]
    assert found.body == body
    assert (found.meta.request, found.meta.verified) == (answer.json["request"], "hmac-sha256")
    assert found.meta.reason
    assert gateway.ledger().unaccounted == 0


def test_a_defect_of_an_adapter_costs_no_request(gateway: Served) -> None:
    """normalise raises what it must not: the request is kept, and its text, which may be secret, is not repeated."""
    answer = gateway.post("/in/many", b"defect in normalise", PLEASE)
    assert (answer.status, answer.json["status"]) == (200, "quarantined")
    assert (
        gateway.kept("quarantine", "many")[0].meta.reason == "the adapter adapters_for_tests failed with RuntimeError"
    )


@pytest.mark.parametrize("items", [[], [{"id": "w", "wrong_family": True}], [{"id": "t", "type": "no.such"}]])
def test_drafts_that_are_no_events(gateway: Served, items: list[dict[str, object]]) -> None:
    """No event at all, or data of another family than the type says, is kept for who mends the adapter."""
    answer = gateway.post("/in/many", json.dumps({"items": items}).encode(), PLEASE)
    assert (answer.status, answer.json["status"]) == (200, "quarantined")


def test_a_source_that_proves_nothing_keeps_nothing_unreadable(gateway: Served) -> None:
    """Anybody could fill the quarantine there: 400, and counted as rejected. What is readable is taken."""
    before = gateway.requests("open")
    answer = gateway.post("/in/open", b"hello")
    assert (answer.status, answer.problem()) == (400, "unreadable")
    eventually(lambda: gateway.requests("open").rejected == before.rejected + 1)
    assert gateway.kept("quarantine", "open") == []
    assert gateway.post("/in/open", b'{"event":"anything"}').json["status"] == "accepted"
