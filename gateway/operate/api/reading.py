"""Bodies of requests to the API, read by hand: whatever is wrong with one is a 400 that says what."""

from typing import Any, TypeVar

import msgspec

from adapters.decoding import Unreadable, decode_object
from gateway import problems
from gateway.operate.refusals import Refused

T = TypeVar("T")


def read_object(body: bytes) -> dict[str, Any]:
    """A body that is a JSON object. Raises ``Refused``."""
    try:
        return decode_object(body)
    except Unreadable as error:
        raise Refused(problems.BAD_REQUEST, str(error)) from None


def read_order(body: bytes, kind: type[T]) -> T:
    """A body of a documented shape; an empty one is ``{}``. Raises ``Refused``."""
    try:
        return msgspec.convert(read_object(body or b"{}"), kind)
    except msgspec.ValidationError as error:
        raise Refused(problems.BAD_REQUEST, f"the body does not fit: {error}") from None
