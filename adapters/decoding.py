"""The one way from bytes to JSON values. Its only failure is ``Unreadable``."""

from typing import Any

import msgspec

MAX_DEPTH = 128
"""How deep a body may nest. Deeper is no event of any provider, and would trouble whoever reads it after us."""


class Unreadable(ValueError):
    """The bytes are not JSON that can be kept and forwarded. The message says what is wrong with them."""


def decode_json(body: bytes) -> Any:
    """Decode a body. Raises ``Unreadable`` and nothing else.

    Doubled keys: the last one wins, and only our own re-encoding is ever forwarded, so nobody after us can read
    another value than the one that was mapped. msgspec raises four different things for bad bytes (its own error,
    ``UnicodeDecodeError``, ``RecursionError``, ``ValueError`` for integers of thousands of digits): here one.
    """
    try:
        value = msgspec.json.decode(body)
    except UnicodeDecodeError:
        raise Unreadable("the body is not UTF-8") from None
    except RecursionError:
        raise Unreadable(f"the body nests deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:  # msgspec.DecodeError is one; so is the limit on digits
        raise Unreadable(f"the body is not JSON: {error}") from None
    # Counting brackets costs nothing against walking; few bodies have more than MAX_DEPTH of them.
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
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
