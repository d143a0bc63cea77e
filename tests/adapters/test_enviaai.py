"""enviaai, beyond what its recorded requests and the conformance suite say."""

from typing import Any

import pytest

from adapters.contract import Source, Unmappable
from adapters.enviaai import ADAPTER
from tests.adapters.support import data, draft, method, refusal, request, signed, verified

SOURCE = Source(name="enviaai-br", secrets=(b"whs_test",))
BODY = b'{"event":"message.read"}'
T1, T2, T3, T4 = (f"2026-02-03T12:00:0{second}.000Z" for second in range(1, 5))


def _event(name: str, **fields: Any) -> dict[str, Any]:
    return {"event": name, "timestamp": T4, "data": fields}


def test_hex_in_capitals_is_the_same_signature() -> None:
    """Hex digits have two cases; the bytes they mean have none."""
    digits = ADAPTER.sign(BODY, SOURCE, 0)["x-enviaai-signature"].removeprefix("sha256=")
    assert method(ADAPTER, request(BODY, {"x-enviaai-signature": f"SHA256={digits.upper()}"}), SOURCE) == "hmac-sha256"


@pytest.mark.parametrize(
    "written", ["{digits}", "sha512={digits}", "sha256:{digits}", "sha256= {digits}", "sha256={digits} "]
)
def test_other_spellings_are_refused(written: str) -> None:
    """Documented is sha256=<hex>, and nothing around it."""
    digits = ADAPTER.sign(BODY, SOURCE, 0)["x-enviaai-signature"].removeprefix("sha256=")
    assert "x-enviaai-signature" in refusal(
        ADAPTER, request(BODY, {"x-enviaai-signature": written.format(digits=digits)}), SOURCE
    )


def test_configured_secrets_outweigh_unauthenticated() -> None:
    """Both typed: the secret must hold."""
    both = Source(name="x", secrets=(b"whs_test",), unauthenticated=True)
    assert method(ADAPTER, signed(ADAPTER, BODY, both), both) == "hmac-sha256"
    assert "missing" in refusal(ADAPTER, request(BODY), both)


@pytest.mark.parametrize(
    ("name", "fields", "wanted"),
    [
        ("message.delivered", {"deliveredAt": T1, "readAt": T2, "timestamp": T3}, T1),
        ("message.read", {"deliveredAt": T1, "readAt": T2, "timestamp": T3}, T2),
        ("message.read", {"readAt": "yesterday", "timestamp": T3}, T3),
        ("message.received", {"timestamp": T3}, T3),
        ("message.received", {}, T4),
        ("message.received", {"timestamp": 1_770_120_000}, T4),
    ],
)
def test_the_time_that_fits_best_is_taken(name: str, fields: dict[str, Any], wanted: str) -> None:
    """What happened, then data.timestamp, then the envelope's."""
    assert draft(ADAPTER, _event(name, **fields)).occurred_at == wanted


def test_no_time_is_invented() -> None:
    """A time without a zone is not known to be UTC, and none is none."""
    assert draft(ADAPTER, {"event": "message.read", "timestamp": "2026-02-03T12:00:00", "data": {}}).occurred_at is None


def test_the_event_id_counts_wherever_it_stands() -> None:
    """It is named in prose only: beside event or inside data."""
    assert draft(ADAPTER, _event("message.read", eventId="e1")).dedupe == ("message.read", "e1")
    assert draft(ADAPTER, {**_event("message.read", eventId="e2"), "eventId": "e1"}).provider_id == "e1"
    assert draft(ADAPTER, _event("message.moved", eventId="e1")).dedupe == ("message.moved", "e1")


def test_without_event_id_a_recipient_tells_messages_apart() -> None:
    """One message to two recipients is two events."""
    one, two = (draft(ADAPTER, _event("message.sent", messageId="m", instanceId="i", to=to)) for to in ("551", "552"))
    assert one.dedupe != two.dedupe


def test_a_login_code_never_reaches_raw_or_other() -> None:
    """Not even in an event nobody knows, or where it is no text."""
    for name, code in (
        ("instance.qr_updated", "data:canary"),
        ("instance.qr_renewed", "data:canary"),
        ("x", {"a": "canary"}),
    ):
        only = draft(ADAPTER, _event(name, instanceId="i", qrCode=code))
        assert "canary" not in repr(only.raw)
        assert ("canary" in repr(data(only))) is (name == "instance.qr_updated")


def test_a_login_code_stays_out_of_events_that_everybody_receives() -> None:
    """channel.qr_updated alone may carry it: subscribers to channel.* do not get that one by a pattern."""
    only = draft(ADAPTER, _event("instance.connected", instanceId="i", qrCode="data:canary"))
    assert (only.type, "qr_code" in data(only)) == ("channel.connected", False)


def test_only_numbers_become_phones() -> None:
    """Ids of groups and devices stay ids."""
    for written, phone in (
        ("5511999999999", "+5511999999999"),
        ("+5511999999999", "+5511999999999"),
        ("120363025246125486", None),
        ("5511999999999-1612345678@g.us", None),
        ("0119999999", None),
        ("٥٥١١٩٩٩٩٩٩٩٩٩", None),
    ):
        sender = data(draft(ADAPTER, _event("message.received", **{"from": written})))["sender"]
        assert (sender["id"], sender.get("phone")) == (written, phone)


def test_a_group_message_without_a_sender_still_has_its_name() -> None:
    """contactName is worth keeping by itself."""
    sender = data(draft(ADAPTER, _event("message.received", contactName="Customer")))["sender"]
    assert sender == {"name": "Customer", "role": "customer"}


@pytest.mark.parametrize("broken", [None, "text", 7, [], [{}]])
def test_a_mapped_event_without_an_object_is_kept_for_later(broken: object) -> None:
    """Quarantine, not an empty event."""
    with pytest.raises(Unmappable, match=r"message\.read: data is not an object"):
        ADAPTER.normalise(verified(ADAPTER, {"event": "message.read", "data": broken}))
