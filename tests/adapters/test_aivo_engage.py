"""aivo_engage, beyond what its recorded requests and the conformance suite say."""

from typing import Any

import pytest

from adapters.aivo_engage import ADAPTER
from adapters.contract import Source
from tests.adapters.support import data, draft, method, refusal, request

SOURCE = Source(name="aivo", header=b"x-auth-token", secrets=(b"new-value", b"old-value"))


def _status(status: object, **more: Any) -> dict[str, Any]:
    return {"event_name": "msg_status", "message_id": "wamid.1", "message_status": status, **more}


def test_each_value_proves() -> None:
    """The newest and the one before."""
    for value in ("new-value", "old-value"):
        assert method(ADAPTER, request(b"{}", {"X-Auth-Token": value}), SOURCE) == "header"


@pytest.mark.parametrize("value", ["", "new-valu", "new-value ", "New-Value", b"new-valu\xe9", "new-valueold-value"])
def test_another_value_is_refused(value: str | bytes) -> None:
    """Exactly the value, all of it."""
    assert "secrets" in refusal(ADAPTER, request(b"{}", {"x-auth-token": value}), SOURCE)


def test_another_header_does_not_count() -> None:
    """The value in a header that was not agreed on is no proof."""
    assert "missing" in refusal(ADAPTER, request(b"{}", {"authorization": "new-value"}), SOURCE)


def test_half_a_configuration_proves_nothing() -> None:
    """A header without values, values without a header."""
    for half in (Source(name="a", header=b"x-auth-token"), Source(name="a", secrets=(b"v",))):
        assert "header and secrets" in refusal(ADAPTER, request(b"{}", {"x-auth-token": "v"}), half)


def test_plus_is_put_in_front_on_whatsapp_only() -> None:
    """Elsewhere nothing says that a number is international."""
    for channel_type, phone in (("Whatsapp", "+541112341234"), ("SMS", None)):
        body = _status("sent", channel={"channel_type": channel_type}, recipient={"id": "541112341234"})
        only = draft(ADAPTER, body)
        assert only.channel == channel_type.lower()
        assert data(only)["recipient"].get("phone") == phone


def test_the_samples_field_comes_before_the_proses() -> None:
    """Both there: message_status counts."""
    assert draft(ADAPTER, _status("read", msg_status="sent")).type == "message.read"


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"error": "blocked"}, {"message": "blocked"}),
        ({"error": {"code": 131026, "message": "undeliverable"}}, {"code": "131026", "message": "undeliverable"}),
        ({"errors": [{"code": 1, "title": "first"}, {"code": 2}]}, {"code": "1", "message": "first"}),
        ({"reason": "blocked", "code": "B1"}, {"code": "B1", "message": "blocked"}),
        ({"description": "blocked"}, {"message": "blocked"}),
        ({"errors": []}, None),
        ({}, None),
    ],
)
def test_a_cause_is_taken_from_whatever_is_there(more: dict[str, Any], error: dict[str, str] | None) -> None:
    """The page documents the status error and not how its cause is written."""
    only = draft(ADAPTER, _status("error", **more))
    assert (only.type, data(only).get("error")) == ("message.failed", error)


def test_a_status_that_is_no_failure_has_no_error() -> None:
    """A description beside a delivered message is not why it failed."""
    assert "error" not in data(draft(ADAPTER, _status("delivered", description="fine")))


@pytest.mark.parametrize("status", [None, "", 7, "queued"])
def test_an_unknown_status_is_kept_whole(status: object) -> None:
    """As other, under the provider's name."""
    only = draft(ADAPTER, _status(status))
    assert (only.type, data(only)["name"], data(only)["payload"]["message_id"]) == ("other", "msg_status", "wamid.1")


def test_no_order_without_both_ends() -> None:
    """Half a key would order strangers behind each other."""
    assert draft(ADAPTER, _status("sent", recipient={"id": "5411"})).ordering_key is None
