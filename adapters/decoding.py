"""The one way from bytes to JSON values. Its only failure is ``Unreadable``.

What a body may hold, and what becomes of it (a verified body that is unreadable is kept, in quarantine):

===================================  ===============================================================================
UTF-8, without a byte order mark     else unreadable; so are surrogates written as bytes
deep nesting                         up to ``MAX_DEPTH``
many objects and arrays              up to ``MAX_CONTAINERS``: a megabyte of ``{}`` would hold up everybody for 0.3 s
doubled keys                         the last one wins
integers                             exact, up to 4 300 digits; longer ones are unreadable
other numbers                        as doubles; too large for one: unreadable; too small: 0
controls that are escaped            as they are; who shows or forwards them escapes them again
controls that are not escaped        unreadable, as RFC 8259 has it
half a surrogate pair                unreadable: no UTF-8 could be written for it
NaN, comments, trailing commas …     unreadable
===================================  ===============================================================================
"""

from typing import Any

import msgspec

MAX_DEPTH = 128
"""How deep a body may nest. Deeper is no event of any provider, and would trouble whoever reads it after us."""

MAX_CONTAINERS = 100_000
"""How many objects and arrays a body may hold (brackets in its texts count as well)."""


class Unreadable(ValueError):
    """The bytes are not JSON that can be kept and forwarded. The message says what is wrong with them."""


def decode_json(body: bytes) -> Any:
    """Decode a body. Raises ``Unreadable`` and nothing else.

    Doubled keys: the last one wins, and only our own re-encoding is ever forwarded, so nobody after us can read
    another value than the one that was mapped. msgspec raises four different things for bad bytes (its own error,
    ``UnicodeDecodeError``, ``RecursionError``, ``ValueError`` for integers of thousands of digits): here one.
    """
    # Counting brackets costs nothing against reading.
    brackets = body.count(b"{") + body.count(b"[")
    if brackets > MAX_CONTAINERS:
        raise Unreadable(f"the body has more than {MAX_CONTAINERS} objects and arrays")
    try:
        value = msgspec.json.decode(body)
    except UnicodeDecodeError:
        raise Unreadable("the body is not UTF-8") from None
    except RecursionError:
        raise Unreadable(f"the body nests deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:  # msgspec.DecodeError is one; so is the limit on digits
        raise Unreadable(f"the body is not JSON: {error}") from None
    if brackets > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise Unreadable(f"the body nests deeper than {MAX_DEPTH} levels")
    return value


def decode_object(body: bytes) -> dict[str, Any]:
    """Decode a body that must be a JSON object. Raises ``Unreadable``."""
    value = decode_json(body)
    if not isinstance(value, dict):
        raise Unreadable("the body is JSON, but not an object")
    return value


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            break
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(child for child in item.values() if isinstance(child, dict | list))
            elif isinstance(item, list):
                below.extend(child for child in item if isinstance(child, dict | list))
        level = below
    return depth
