"""What the one decoder does with JSON that is valid, invalid, or left to the reader; and how long it may take."""

import contextlib
import time

import msgspec
import pytest

from adapters.decoding import MAX_CONTAINERS, Unreadable, decode_json

READ: dict[str, tuple[bytes, object]] = {
    "400 digits": (b"9" * 400, int("9" * 400)),
    "4300 digits": (b"-" + b"9" * 4_299, -int("9" * 4_299)),
    "beyond 64 bits": (b"18446744073709551616", 2**64),
    "a long fraction": (b"1." + b"9" * 400, 2.0),
    "next to nothing": (b"1e-5000", 0.0),
    "escaped controls": (b'"\\u0000\\u0001\\r\\n"', "\0\1\r\n"),
    "a surrogate pair": (b'"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
    "line separators": ('"\u2028\ufeff"'.encode(), "\u2028\ufeff"),
    "three equal keys": (b'{"a":1,"b":2,"a":3,"a":4}', {"a": 4, "b": 2}),
    "a key that means something elsewhere": (b'{"__proto__":{"a":1}}', {"__proto__": {"a": 1}}),
    "blanks around": (b" \r\n\t{} ", {}),
}
UNREADABLE: dict[str, bytes] = {
    "5000 digits": b"9" * 5_000,
    "beyond a double": b"1e400",
    "half a surrogate pair": b'"\\ud800"',
    "half a pair as key": b'{"\\udc00":1}',
    "the wrong half first": b'"\\ude00\\ud83d"',
    "a surrogate in bytes": b'"\xed\xa0\x80"',
    "no UTF-8": b'"\xff"',
    "an overlong form": b'"\xc0\xaf"',
    "UTF-16": "{}".encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a bare control": b'"\0"',
    "a bare line feed": b'"\n"',
    "NaN": b"NaN",
    "a leading zero": b"01",
    "a trailing comma": b"[1,]",
    "single quotes": b"{'a':1}",
    "a comment": b"{}/**/",
    "two values": b"{}{}",
    "nothing": b"",
    "an end too early": b'{"a":',
}


@pytest.mark.parametrize("case", READ)
def test_what_is_read(case: str) -> None:
    """As this says, and what is written again means the same."""
    body, value = READ[case]
    assert decode_json(body) == value
    assert decode_json(msgspec.json.encode(decode_json(body))) == value


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_unreadable(case: str) -> None:
    """Nothing but Unreadable, and no guess."""
    with pytest.raises(Unreadable):
        decode_json(UNREADABLE[case])


@pytest.mark.parametrize(("open_", "close"), [(b"{", b"}"), (b"[", b"]")])
def test_the_number_of_objects_is_bounded(open_: bytes, close: bytes) -> None:
    """As many as may be are read; one more is not."""
    many = [open_ + close] * (MAX_CONTAINERS - 1)
    assert len(decode_json(b"[" + b",".join(many) + b"]")) == MAX_CONTAINERS - 1
    with pytest.raises(Unreadable, match="more than"):
        decode_json(b"[" + b",".join([*many, b"{}"]) + b"]")


@pytest.mark.parametrize(
    "body",
    [
        b"{" + b",".join(b'"k%d":1' % number for number in range(90_000)) + b"}",
        b"[" + b",".join([b"0"] * 520_000) + b"]",
        b"[" + b",".join([b"{}"] * 340_000) + b"]",
        b"[" + b"[[]]," * 170_000 + b"0]",
        b"{" + b",".join([b'"a":1'] * 170_000) + b"}",
        b"[" + b",".join([b"9" * 4_000] * 250) + b"]",
        b'"' + b"\\u0041" * 170_000 + b'"',
        b"[" * 1_000_000,
    ],
    ids=["keys", "numbers", "objects", "nested", "one key", "long numbers", "escapes", "depth"],
)
def test_a_flood_takes_no_time(body: bytes) -> None:
    """A megabyte of whatever is costliest is read or refused in a tenth of a second of the processor."""
    began_s = time.thread_time()
    with contextlib.suppress(Unreadable):
        decode_json(body)
    assert time.thread_time() - began_s < 0.1
