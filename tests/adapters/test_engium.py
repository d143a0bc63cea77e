"""engium, beyond what its recorded requests and the conformance suite say: names, envelopes, the signed time."""

from typing import Any

import msgspec
import pytest

from adapters.contract import NotProven, Source, Unmappable
from adapters.engium import ADAPTER
from adapters.proving import sign_hmac
from tests.adapters.support import NOW_MS, data, draft, method, refusal, request, verified

SOURCE = Source(name="engium", secrets=(b"engium_test", b"engium_old"))
TIMED = msgspec.structs.replace(SOURCE, options={"signed_time": True})
BODY = b'{"event":"booking.confirmed","id":"e1"}'
DIGITS = sign_hmac(BODY, SOURCE, "sha256")


@pytest.mark.parametrize("written", [f"sha256={DIGITS}", DIGITS, DIGITS.upper(), f"SHA256={DIGITS.upper()}"])
def test_every_likely_spelling_of_the_signature_is_read(written: str) -> None:
    """The page names the algorithm and not how the value is written."""
    assert method(ADAPTER, request(BODY, {"X-Engium-Signature": written}), SOURCE) == "hmac-sha256"


@pytest.mark.parametrize(
    "written", [f"sha512={DIGITS}", f"sha256 {DIGITS}", f" {DIGITS}", DIGITS[:-2], f"t=1,v1={DIGITS}", DIGITS + DIGITS]
)
def test_other_spellings_are_refused(written: str) -> None:
    """Read tolerantly does not mean read anything."""
    assert refusal(ADAPTER, request(BODY, {"x-engium-signature": written}), SOURCE)


def _timed(seconds: int, body: bytes = BODY, **changed: str) -> str:
    signature = sign_hmac(f"{seconds}.".encode() + body, SOURCE, "sha256")
    return ",".join(f"{name}={value}" for name, value in {"t": str(seconds), "v1": signature, **changed}.items())


@pytest.mark.parametrize("age_s", [0, 781, 890, -890])
def test_a_signed_time_may_be_as_old_as_a_retry(age_s: int) -> None:
    """The last retry comes 781 s after the first attempt, and nothing says that it is signed anew."""
    header = _timed(NOW_MS // 1_000 - age_s)
    assert method(ADAPTER, request(BODY, {"x-engium-signature": header}), TIMED) == "hmac-sha256"


@pytest.mark.parametrize("age_s", [910, -910, 86_400, NOW_MS // 1_000])
def test_an_older_signed_time_is_refused(age_s: int) -> None:
    """That is what it is signed for."""
    header = _timed(NOW_MS // 1_000 - age_s)
    assert "15 minutes" in refusal(ADAPTER, request(BODY, {"x-engium-signature": header}), TIMED)


NOW_S = NOW_MS // 1_000


@pytest.mark.parametrize(
    "header",
    [
        _timed(NOW_S, t=str(NOW_S + 1)),
        _timed(NOW_S, v1=DIGITS),
        _timed(NOW_S, b"another body"),
        _timed(NOW_S).replace("v1", "v0"),
        _timed(NOW_S) + ",t=1",
        _timed(NOW_S) + ",v1=" + DIGITS,
        _timed(NOW_S, t="-1"),
        _timed(NOW_S, t="²"),
        _timed(NOW_S, t="9" * 5_000),
        f"sha256={DIGITS}",
        DIGITS,
        "t=,v1=",
        "",
        ",,,",
    ],
)
def test_another_signed_time_is_refused(header: str) -> None:
    """Changed, doubled, missing, or not of the form at all."""
    assert refusal(ADAPTER, request(BODY, {"x-engium-signature": header.encode()}), TIMED)


@pytest.mark.parametrize(
    ("digits", "why"), [(12, "15 minutes"), (13, "is not t=<seconds>"), (5_000, "is not t=<seconds>")]
)
def test_a_signed_time_has_twelve_digits_at_most(digits: int, why: str) -> None:
    """Also under a signature that holds: a number of thousands of digits is not even read."""
    time = "9" * digits
    signature = sign_hmac(f"{time}.".encode() + BODY, SOURCE, "sha256")
    assert why in refusal(ADAPTER, request(BODY, {"x-engium-signature": f"t={time},v1={signature}"}), TIMED)


@pytest.mark.parametrize("time", ["", "-1", "+1", " 1", "1e3", "1_0", "0x1", "now", "\u00b2"])
def test_a_signed_time_is_digits_and_nothing_else(time: str) -> None:
    """Also under a signature that holds: what Python would read as a number, or fail to read, is not of the form."""
    signature = sign_hmac(f"{time}.".encode() + BODY, SOURCE, "sha256")
    asked = request(BODY, {"x-engium-signature": f"t={time},v1={signature}"})
    assert "is not t=<seconds>" in refusal(ADAPTER, asked, TIMED)


@pytest.mark.parametrize(
    ("away_ms", "counts"), [(900_000, True), (-900_000, True), (900_001, False), (-900_001, False)]
)
def test_a_signed_time_counts_for_fifteen_minutes_to_the_millisecond(away_ms: int, counts: bool) -> None:
    """Either way: clocks differ."""
    asked, now_ms = request(BODY, {"x-engium-signature": _timed(NOW_S)}), NOW_S * 1_000 + away_ms
    if counts:
        assert ADAPTER.verify(asked, TIMED, {}, now_ms).method == "hmac-sha256"
    else:
        with pytest.raises(NotProven, match="15 minutes"):
            ADAPTER.verify(asked, TIMED, {}, now_ms)


def test_the_form_with_a_time_is_off_by_default() -> None:
    """It is not documented: a source asks for it, a request cannot."""
    assert "not hex" in refusal(ADAPTER, request(BODY, {"x-engium-signature": _timed(NOW_S)}), SOURCE)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("conversation.message.received", "message.received"),
        ("conversation.message.sent", "message.sent"),
        ("conversation.message.typing", "other"),
        ("conversation.handoff", "conversation.handoff"),
        ("conversation.ai_handoff.started", "conversation.handoff"),
        ("conversation.created", "conversation.opened"),
        ("conversation.session.started", "conversation.opened"),
        ("conversation.resolved", "conversation.closed"),
        ("conversation.ended", "conversation.closed"),
        ("conversation.suspended", "conversation.updated"),
        ("conversation.unresolved", "conversation.updated"),
        ("conversation.assigned", "conversation.updated"),
        ("booking.canceled", "booking.cancelled"),
        ("booking.no_show", "booking.no_show"),
        ("booking.checked_in", "booking.updated"),
        ("booking", "other"),
        ("booking.", "other"),
        ("bookings.confirmed", "other"),
        ("payment.refunded", "payment.refunded"),
        ("payment.chargeback", "payment.updated"),
        ("message.received", "other"),
    ],
)
def test_names_become_types_by_rule(name: str, wanted: str) -> None:
    """Five names are published; the others are told by family and words."""
    only = draft(ADAPTER, {"event": name, "data": {}})
    assert (only.type, only.provider_type) == (wanted, name)


def test_event_comes_before_type() -> None:
    """A payload at the top level may have a type of its own."""
    only = draft(ADAPTER, {"event": "conversation.message.received", "type": "text", "text": "Hi"})
    assert (only.type, data(only)["content"]) == ("message.received", {"type": "text", "text": "Hi"})


def test_the_id_of_a_bare_envelope_is_not_the_bookings() -> None:
    """It may be; nothing says so. Inside data it is the object's own."""
    bare = draft(ADAPTER, {"event": "booking.confirmed", "id": "x1"})
    wrapped = draft(ADAPTER, {"event": "booking.confirmed", "id": "x1", "data": {"id": "bk_1"}})
    assert "booking_id" not in data(bare)
    assert (data(wrapped)["booking_id"], wrapped.ordering_key, wrapped.provider_id) == ("bk_1", "bk_1", "x1")


def test_two_events_of_one_booking_stay_two() -> None:
    """The id may be the booking's, so the body's hash is part of what makes the event."""
    one, two = (draft(ADAPTER, {"event": "booking.updated", "id": "bk_1", "status": status}) for status in "ab")
    assert one.dedupe[:3] == two.dedupe[:3] == ("booking.updated", None, "bk_1")
    assert one.dedupe != two.dedupe


@pytest.mark.parametrize(
    ("times", "wanted"),
    [
        ({"timestamp": "2026-02-03T12:00:00Z", "created_at": "2026-02-03T11:00:00Z"}, "2026-02-03T12:00:00.000Z"),
        ({"timestamp": "soon", "created_at": "2026-02-03T13:00:00+02:00"}, "2026-02-03T11:00:00.000Z"),
        ({"occurred_at": 1_770_120_000}, "2026-02-03T12:00:00.000Z"),
        ({"timestamp": 1_770_120_000_000}, None),
        ({"timestamp": "2026-02-03T12:00:00"}, None),
        ({}, None),
    ],
)
def test_the_events_time_is_read_but_not_guessed(times: dict[str, Any], wanted: str | None) -> None:
    """Without a zone it is none; a number is in seconds or it is nothing."""
    assert draft(ADAPTER, {"event": "booking.updated", **times}).occurred_at == wanted


@pytest.mark.parametrize(
    ("amount", "wanted"),
    [
        ("45.00", "45.00"),
        (45, "45"),
        (45.5, "45.5"),
        (-0.1, "-0.1"),
        (1e22, "10000000000000000000000"),
        ("45,00", None),
        ("€45", None),
        ("1e3", None),
        ("٤٥", None),
        (".5", None),
        ("5.", None),
        (True, None),
        (1e300, None),
        ({"value": 1}, None),
    ],
)
def test_amounts_are_decimal_or_absent(amount: object, wanted: str | None) -> None:
    """What is no plain decimal number stays in raw."""
    assert data(draft(ADAPTER, {"event": "payment.succeeded", "data": {"amount": amount}})).get("amount") == wanted


@pytest.mark.parametrize("broken", ["text", 7, True, [], [{}], ""])
def test_a_mapped_event_without_an_object_is_kept_for_later(broken: object) -> None:
    """Quarantine, not an empty event."""
    with pytest.raises(Unmappable, match="data is not an object"):
        ADAPTER.normalise(verified(ADAPTER, {"event": "booking.confirmed", "data": broken}))


def test_a_contact_may_be_an_address_or_an_object() -> None:
    """Both forms of the same person."""
    for contact in ("+34600111222", {"phone": "+34600111222"}, {"phone_number": "+34600111222"}):
        only = draft(ADAPTER, {"event": "conversation.opened", "data": {"contact": contact}})
        assert data(only)["contact"] == {"id": "+34600111222", "phone": "+34600111222", "role": "customer"}
