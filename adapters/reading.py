"""Careful reading of what a provider sent: a value of the wrong type counts as absent, never as an error.

Adapters decode a body once, with ``read_object``, and take from the plain dictionaries what they know. Every function
here takes any value whatever; ``None`` means "not there, or not usable". ``value or UNSET`` turns that into an absent
field of the canonical event.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, Literal

from msgspec import UNSET, UnsetType

from adapters.contract import REDACTED, Draft, Unmappable, VerifiedRequest
from adapters.decoding import Unreadable, decode_object
from schemas.event import Error, Other, Party

ContentForm = Literal["text", "image", "audio", "video", "document", "location", "contact", "reaction", "unknown"]
"""``Content.type``."""

NOTHING: Final[Mapping[str, Any]] = {}
"""Stands for an object that is not there."""


def read_object(verified: VerifiedRequest) -> dict[str, Any]:
    """The body as a dictionary, fresh: it may be redacted in place. Raises ``Unmappable``."""
    try:
        return decode_object(verified.request.body)
    except Unreadable as error:
        raise Unmappable(str(error)) from None


def text(value: object) -> str | None:
    """A string that says something."""
    return value if isinstance(value, str) and value else None


def lower(value: object) -> str | None:
    """A string that says something, in lower case: channels and statuses."""
    return value.lower() if isinstance(value, str) and value else None


def ident(value: object) -> str | None:
    """An identifier: a string, or an integer written out (some providers change their minds)."""
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def table(value: object) -> Mapping[str, Any]:
    """An object, or an empty one."""
    return value if isinstance(value, dict) else NOTHING


def e164(value: object) -> str | None:
    """A phone number that the provider writes with its ``+``."""
    if isinstance(value, str) and value[:1] == "+" and _is_international(value[1:]):
        return value
    return None


def whatsapp_phone(value: object) -> str | None:
    """The phone number in a WhatsApp id: WhatsApp writes full international numbers, without the ``+``.

    Groups and devices have ids too; they are longer than a number can be, or hold other characters.
    """
    if isinstance(value, str) and _is_international(value):
        return "+" + value
    return e164(value)


def _is_international(digits: str) -> bool:
    """7 to 15 digits, as E.164 allows; no country code begins with 0."""
    return 7 <= len(digits) <= 15 and digits.isascii() and digits.isdigit() and digits[0] != "0"


def decimal_string(value: object) -> str | None:
    """A number, or a string that is a decimal number, as a decimal string without exponent."""
    if isinstance(value, str):
        whole, dot, fraction = value.removeprefix("-").partition(".")
        is_decimal = value.isascii() and whole.isdigit() and (fraction.isdigit() if dot else True)
        return value if is_decimal and len(value) <= 40 else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e30 < value < 1e30:
        return None
    return format(Decimal(repr(value)), "f")


def error_of(*candidates: object) -> Error | UnsetType:
    """Why something failed, from whatever is there: objects, lists of objects, sentences. What comes first wins."""
    code: str | None = None
    message: str | None = None
    for candidate in candidates:
        found = candidate[0] if isinstance(candidate, list) and candidate else candidate
        if isinstance(found, dict):
            code = code or ident(found.get("code"))
            message = message or next((words for key in _REASONS if (words := text(found.get(key)))), None)
        else:
            message = message or text(found)
    return Error(code=code or UNSET, message=message or UNSET) if code or message else UNSET


_REASONS = ("message", "description", "reason", "title", "error", "detail")


def party(value: object, role: Literal["customer", "business", "agent"]) -> Party | UnsetType:
    """Somebody, written as a string (an address) or as an object with the usual fields."""
    if isinstance(value, dict):
        number = next((value[key] for key in ("phone", "phone_number") if key in value), None)
        fields = {
            "id": ident(value.get("id")) or ident(number),
            "phone": e164(number),
            "name": text(value.get("name")),
            "email": text(value.get("email")),
        }
    else:
        fields = {"id": text(value), "phone": e164(value)}
    known = {name: word for name, word in fields.items() if word}
    return Party(role=role, **known) if known else UNSET


def other(
    body: dict[str, Any],
    name: str | None,
    dedupe: tuple[str | None, ...],
    **known: Any,
) -> Draft:
    """The draft of an event nobody has mapped yet: kept whole, under the provider's name. ``body`` is redacted."""
    return Draft(
        type="other",
        data=Other(name=name or "", payload=body),
        dedupe=dedupe,
        raw=body,
        provider_type=name,
        **known,
    )


def mask(body: object, *path: str) -> None:
    """Redact, in place, the value at ``path``, if there is one and it is not null."""
    for key in path[:-1]:
        if not isinstance(body, dict):
            return
        body = body.get(key)
    if isinstance(body, dict) and body.get(path[-1]) is not None:
        body[path[-1]] = REDACTED
