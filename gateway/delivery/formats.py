"""The forms a subscriber can have its events in: canonical as it is, or as CloudEvents 1.0, structured or binary. Pure.

Source: the specification at github.com/cloudevents/spec, "cloudevents/spec.md" and "cloudevents/bindings/
http-protocol-binding.md". The whole canonical event is ``data``; the attributes repeat what routers ask for.
"""

import re
from collections.abc import Callable
from typing import Literal
from urllib.parse import quote

import msgspec
from msgspec import UNSET, UnsetType

from schemas.event import SCHEMA_ID

Format = Literal["canonical", "cloudevents-structured", "cloudevents-binary"]
Headers = list[tuple[str, str]]
Dress = Callable[[bytes], tuple[bytes, Headers]]
"""Canonical body → body and headers as sent."""

CONTENT_TYPES: dict[Format, str] = {
    "canonical": "application/json",
    "cloudevents-structured": "application/cloudevents+json",
    "cloudevents-binary": "application/json",
}

SUBJECT_BYTES = 1_024
"""A longer ordering key is no ``subject``: in a header it would cost the delivery. It is in ``data`` all the same."""

_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
"""HTTP binding, 3.1.3.2: printable ASCII but space, double quote and percent goes into a header as it is."""
_NOT_IN_STRINGS = re.compile(
    "[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(17))
    + "]"
)
"""Specification, "Type System": control characters and code points that are no characters."""


class _Head(msgspec.Struct, frozen=True, gc=False):
    id: str
    type: str
    source: str
    received_at: str
    occurred_at: str | None = None
    ordering_key: str | None = None

    @property
    def subject(self) -> str | UnsetType:
        key = self.ordering_key
        if not key or len(quote(key, safe=_SAFE)) > SUBJECT_BYTES or _NOT_IN_STRINGS.search(key):
            return UNSET
        return key


class _CloudEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    specversion: str = "1.0"
    id: str
    source: str
    type: str
    time: str
    subject: str | UnsetType
    datacontenttype: str = "application/json"
    dataschema: str = SCHEMA_ID
    data: msgspec.Raw


_decode_head = msgspec.json.Decoder(_Head).decode
_encode = msgspec.json.Encoder().encode


def dress_for(format_: Format) -> Dress | None:
    """How a canonical body becomes what is sent; ``None`` if it is sent as it is."""
    return {"canonical": None, "cloudevents-structured": structured, "cloudevents-binary": binary}[format_]


def structured(canonical: bytes) -> tuple[bytes, Headers]:
    """All in the body: attributes, and the event as ``data``."""
    head = _decode_head(canonical)
    event = _CloudEvent(
        id=head.id,
        source=_source(head),
        type=head.type,
        time=head.occurred_at or head.received_at,
        subject=head.subject,
        data=msgspec.Raw(canonical),
    )
    return _encode(event), []


def binary(canonical: bytes) -> tuple[bytes, Headers]:
    """The event is the body, the attributes are headers."""
    head = _decode_head(canonical)
    headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", quote(head.id, safe=_SAFE)),
        ("ce-source", quote(_source(head), safe=_SAFE)),
        ("ce-type", quote(head.type, safe=_SAFE)),
        ("ce-time", head.occurred_at or head.received_at),
        ("ce-dataschema", SCHEMA_ID),
    ]
    if head.subject is not UNSET:
        headers.append(("ce-subject", quote(head.subject, safe=_SAFE)))
    return canonical, headers


def _source(head: _Head) -> str:
    return f"/sources/{head.source}"
