"""Careful reading: any value in, a checked one out, or nothing. And the one way from bytes to values."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from adapters.decoding import MAX_DEPTH, Unreadable, decode_json, decode_object
from adapters.reading import decimal_string, e164, error_of, ident, lower, mask, party, text, whatsapp_phone
from gateway.conformance.fuzz import JSON
from schemas.event import Error
from schemas.timestamps import canonical, canonical_epoch_seconds, format_ms, parse_iso_ms

quick = settings(max_examples=80, database=None, deadline=None)


@quick
@given(JSON)
def test_readers_take_anything(value: object) -> None:
    """Nothing a provider can write makes them raise, and what they return has its form."""
    for read in (text, lower, ident, e164, whatsapp_phone, decimal_string, canonical, canonical_epoch_seconds):
        result = read(value)
        assert result is None or (isinstance(result, str) and result)
    error_of(value, [value])
    party(value, "customer")
    mask(value, "a", "b")


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("a", "a"), ("", None), (7, "7"), (10**30, "1" + "0" * 30), (True, None), (0.5, None), (None, None), ([], None)],
)
def test_an_identifier_may_be_a_number(value: object, wanted: str | None) -> None:
    """Written out; a truth value is none."""
    assert ident(value) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("+34600111222", True),
        ("34600111222", False),
        ("+0600111222", False),
        ("+346001112223334", True),
        ("+3460011122233344", False),
        ("+34 600 111 222", False),
        ("+123456", False),
        ("+", False),
        (34600111222, False),
    ],
)
def test_a_phone_is_e164_only_where_that_is_certain(value: object, wanted: bool) -> None:
    """With its plus, 7 to 15 digits, no country code of 0."""
    assert (e164(value) is not None) is wanted


def test_a_cause_is_put_together_from_what_is_there() -> None:
    """The first that has a code, the first that has words."""
    assert error_of(None, {"code": 7}, [{"title": "why"}]) == Error(code="7", message="why")
    assert error_of("why", {"message": "later"}) == Error(message="why")
    assert error_of(None, [], {}, 7) is UNSET


def test_masking_leaves_null_and_absent_alone() -> None:
    """A mask says that there was something."""
    body: dict[str, Any] = {"a": {"b": None}, "c": {"b": {"d": 1}}, "e": "x"}
    for path in (("a", "b"), ("a", "z"), ("c", "b"), ("e", "b"), ("z", "b")):
        mask(body, *path)
    assert body == {"a": {"b": None}, "c": {"b": "[redacted]"}, "e": "x"}


@quick
@given(st.binary(max_size=64) | st.text(max_size=64).map(str.encode) | JSON.map(msgspec.json.encode))
def test_decoding_fails_in_one_way(body: bytes) -> None:
    """A value that can be encoded again, or Unreadable."""
    try:
        value = decode_json(body)
    except Unreadable:
        return
    assert json.loads(msgspec.json.encode(value)) == json.loads(body)


@pytest.mark.parametrize("shape", [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth_has_a_bound(shape: tuple[bytes, bytes]) -> None:
    """Exactly at the bound it is read, one deeper it is not, and far deeper it is not either."""
    opening, closing = shape
    for depth, is_readable in ((MAX_DEPTH, True), (MAX_DEPTH + 1, False), (100_000, False)):
        body = opening * (depth - 1) + b"{}" + closing * (depth - 1)
        if is_readable:
            decode_json(body)
        else:
            with pytest.raises(Unreadable, match="deeper"):
                decode_json(body)


def test_many_brackets_side_by_side_are_not_deep() -> None:
    """A flood of small objects is wide, not deep."""
    assert len(decode_object(b'{"a":[' + b",".join([b"{}"] * 5_000) + b"]}")["a"]) == 5_000


@pytest.mark.parametrize("body", [b"null", b"[1,2]", b'"x"', b"7", b"true"])
def test_an_object_is_an_object(body: bytes) -> None:
    """JSON, but not an object."""
    with pytest.raises(Unreadable, match="not an object"):
        decode_object(body)


def test_of_two_keys_the_last_one_wins() -> None:
    """And only our own re-encoding travels on, so nobody after us reads the other."""
    assert decode_object(b'{"a":1,"a":2}') == {"a": 2}


@quick
@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_a_canonical_time_is_recognised_as_it_would_be_written(epoch_ms: int) -> None:
    """The short way and the long way give the same, for every millisecond of the years 1 to 9999."""
    written = format_ms(epoch_ms)
    assert canonical(written) == written
    assert parse_iso_ms(written) == epoch_ms
    assert canonical(written.replace("Z", "+00:00")) == written


@pytest.mark.parametrize(
    "written",
    [
        "2026-02-30T12:00:00.000Z",
        "2026-02-03T24:00:00.000Z",
        "2026-02-03T12:60:00.000Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59.999-01:00",
        "2026-02-03T12:00:00",
        "2026-02-03",
        "now",
        "٢٠٢٦-02-03T12:00:00.000Z",
        7,
        None,
    ],
)
def test_what_is_no_time_is_none(written: object) -> None:
    """No such day, no such hour, before the year 1 or after 9999 in UTC, without zone."""
    if written == "2026-02-03T24:00:00.000Z" and canonical(written) is not None:
        assert canonical(written) == "2026-02-04T00:00:00.000Z"  # Pythons from 3.14 on read ISO 8601's midnight
    else:
        assert canonical(written) is None
