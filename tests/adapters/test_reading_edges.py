"""The readers at their edges: which lengths, which signs, which fields, which comes first."""

from typing import Any

import pytest
from msgspec import UNSET

from adapters.contract import Proof, Request, Source, Unmappable, VerifiedRequest
from adapters.decoding import Unreadable, decode_json
from adapters.reading import (
    decimal_string,
    e164,
    error_of,
    ident,
    lower,
    mask,
    other,
    party,
    read_object,
    table,
    text,
    whatsapp_phone,
)
from schemas.event import Error, Other, Party


@pytest.mark.parametrize(
    ("value", "is_phone"),
    [
        ("123456", False),
        ("1234567", True),
        ("123456789012345", True),
        ("1234567890123456", False),
        ("0234567", False),
        ("٣٤٦٠٠١١١٢٢٢", False),
        ("²³⁴⁵⁶⁷⁸⁹", False),
        ("34600-111222", False),
        ("", False),
    ],
)
def test_an_international_number_has_7_to_15_digits(value: str, is_phone: bool) -> None:
    """With its plus as ``e164`` wants it, without as WhatsApp writes it; ASCII digits, the first not 0."""
    assert e164(f"+{value}") == (f"+{value}" if is_phone else None)
    assert e164(value) is None
    assert whatsapp_phone(value) == (f"+{value}" if is_phone else None)
    assert whatsapp_phone(f"+{value}") == (f"+{value}" if is_phone else None)
    assert e164(f"++{value}") is None


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("12.50", "12.50"),
        ("-12", "-12"),
        ("--12", None),
        ("+12", None),
        ("12.", None),
        (".5", None),
        ("1.2.3", None),
        ("1e5", None),
        ("", None),
        ("-", None),
        ("٣", None),
        ("1.٣", None),
        ("9" * 40, "9" * 40),
        ("9" * 41, None),
        (0, "0"),
        (12, "12"),
        (1e-7, "0.0000001"),
        (0.1, "0.1"),
        (-2.5, "-2.5"),
        (True, None),
        (False, None),
        (1e30, None),
        (-1e30, None),
        (9e29, "9" + "0" * 29),
        (-9e29, "-9" + "0" * 29),
        (10**31, None),
        (float("nan"), None),
        (float("inf"), None),
        (None, None),
        ([1], None),
    ],
)
def test_a_decimal_string_has_no_exponent_and_a_bound(value: object, wanted: str | None) -> None:
    """Strings that are one stay as they are; numbers are written out; what is larger than any amount is none."""
    assert decimal_string(value) == wanted


@pytest.mark.parametrize("value", ["", 7, True, None, [], {}, b"x", 0.5])
def test_what_says_nothing_is_no_text(value: object) -> None:
    """Neither as it is nor in lower case."""
    assert text(value) is None
    assert lower(value) is None


def test_texts_and_identifiers_as_they_are() -> None:
    """Lower case only where asked; an identifier may be a number, and 0 is one."""
    assert (text("Ab"), lower("Ab"), ident("Ab")) == ("Ab", "ab", "Ab")
    assert (ident(0), ident(-7), ident(False), ident(1.0)) == ("0", "-7", None, None)


def test_an_object_is_itself_and_everything_else_is_empty() -> None:
    """The same dictionary, not a copy: it may be masked in place."""
    document: dict[str, Any] = {"a": 1}
    assert table(document) is document
    assert [dict(table(value)) for value in (None, list[str](), "x", 7)] == [{}] * 4


def verified(body: bytes) -> VerifiedRequest:
    """A body, taken as proven."""
    return VerifiedRequest(Request((), body), Source(name="s"), Proof("test"), "")


def test_a_body_is_read_as_an_object_or_not_at_all() -> None:
    """With the reason why."""
    assert read_object(verified(b'{"a":1}')) == {"a": 1}
    with pytest.raises(Unmappable) as refused:
        read_object(verified(b"[]"))
    assert refused.value.reason == str(refused.value) == "the body is JSON, but not an object"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'"\xff"', "the body is not UTF-8"),
        (b"[" * 100_000, "the body nests deeper than 128 levels"),
        (b"{", "the body is not JSON: "),
        (b"1" * 5_000, "the body is not JSON: "),
        (b"[" * 129 + b"]" * 129, "the body nests deeper than 128 levels"),
        (b'{"a":' * 100 + b"[" * 29 + b"]" * 29 + b"}" * 100, "the body nests deeper than 128 levels"),
        (b'[{"a":1},' + b"[" * 128 + b"]" * 128 + b"]", "the body nests deeper than 128 levels"),
        (b'{"b":1,"a":' + b'{"a":' * 127 + b"{}" + b"}" * 128, "the body nests deeper than 128 levels"),
    ],
)
def test_bytes_that_cannot_be_kept_say_why(body: bytes, why: str) -> None:
    """Whatever went wrong inside, one failure with one sentence."""
    with pytest.raises(Unreadable) as refused:
        decode_json(body)
    assert str(refused.value).startswith(why)


@pytest.mark.parametrize(
    "body", [b'{"a":' * 99 + b"[" * 29 + b"]" * 29 + b"}" * 99, b'[{"a":1},' + b"[" * 127 + b"]" * 127 + b"]"]
)
def test_the_depth_of_objects_and_lists_is_counted_together(body: bytes) -> None:
    """128 levels of either kind are read, with many brackets or few."""
    decode_json(body)


def test_why_something_failed_comes_from_the_first_that_says_it() -> None:
    """A code and words may come from different places; the first of a list counts; words have an order of names."""
    assert error_of({"code": 1}, {"code": 2, "message": "m"}) == Error(code="1", message="m")
    assert error_of([{"message": "first"}, {"message": "second"}], {"message": "third"}) == Error(message="first")
    assert error_of({"detail": "d", "reason": "r", "description": "x"}) == Error(message="x")
    assert error_of({"message": "", "error": "e"}, "later") == Error(message="e")
    assert error_of({"code": ""}, "words", "more words") == Error(message="words")
    assert error_of([], "words") == Error(message="words")
    assert error_of({"code": "c"}) == Error(code="c")
    assert error_of() is UNSET


def test_somebody_is_read_from_an_address_or_an_object() -> None:
    """The id is the object's own or its number; unknown fields are absent; nobody is UNSET."""
    assert party("+34600111222", "customer") == Party(role="customer", id="+34600111222", phone="+34600111222")
    assert party("someone", "agent") == Party(role="agent", id="someone")
    assert party({"id": 7, "name": "N", "email": "e@example.com"}, "business") == Party(
        role="business", id="7", name="N", email="e@example.com"
    )
    assert party({"phone": "+34600111222"}, "agent") == Party(role="agent", id="+34600111222", phone="+34600111222")
    assert party({"id": 7, "phone": "+34600111222"}, "agent") == Party(role="agent", id="7", phone="+34600111222")
    assert party({"phone": 5, "phone_number": "+34600111222"}, "agent") == Party(role="agent", id="5")
    assert party({"phone_number": "34600111222", "id": ""}, "agent") == Party(role="agent", id="34600111222")
    assert party({}, "customer") is UNSET
    assert party(None, "customer") is UNSET


def test_what_nobody_has_mapped_is_kept_whole() -> None:
    """Under the provider's name, or none."""
    body = {"a": 1}
    draft = other(body, "thing.happened", ("thing.happened", "1"), account="acc")
    assert (draft.type, draft.data, draft.raw) == ("other", Other(name="thing.happened", payload=body), body)
    assert (draft.dedupe, draft.provider_type, draft.account) == (("thing.happened", "1"), "thing.happened", "acc")
    unnamed = other(body, None, (None,))
    assert (unnamed.data, unnamed.provider_type) == (Other(name="", payload=body), None)


@pytest.mark.parametrize(
    ("body", "path", "wanted"),
    [
        ({"a": {"b": {"c": 1}}}, ("a", "b", "c"), {"a": {"b": {"c": "[redacted]"}}}),
        ({"a": 0}, ("a",), {"a": "[redacted]"}),
        ({"a": ""}, ("a",), {"a": "[redacted]"}),
        ({"a": None}, ("a",), {"a": None}),
        ({"a": [{"b": 1}]}, ("a", "b"), {"a": [{"b": 1}]}),
        ({"a": "text"}, ("a", "b", "c"), {"a": "text"}),
        ({"a": {"b": 1}, "b": 2}, ("a", "b"), {"a": {"b": "[redacted]"}, "b": 2}),
        ([1], ("a",), [1]),
        ([1], ("a", "b"), [1]),
    ],
)
def test_a_mask_takes_what_stands_at_its_path(body: Any, path: tuple[str, ...], wanted: Any) -> None:
    """And nothing else, whatever stands on the way."""
    mask(body, *path)
    assert body == wanted
