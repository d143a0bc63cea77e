"""What an Engium payload says: its fields → the canonical event's ``data``.

No delivery is published. The names of the fields follow the documented API (``recipient``, ``channel``,
``message.text``, ``media_url``, ``media_type``, snake_case); everything else here is inferred, and whatever is not
there under these names is simply absent. ``amount`` is taken as it is written, in major units.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from msgspec import UNSET, UnsetType

from adapters.reading import ContentForm, decimal_string, error_of, ident, party, table, text
from schemas.event import Booking, Content, Conversation, Data, Message, Party, Payment
from schemas.timestamps import canonical

_Fields = Mapping[str, Any]
_Role = Literal["customer", "business", "agent"]
_CONTACT = ("contact", "customer", "recipient")
_FORMS: Final[dict[str, ContentForm]] = {"image": "image", "audio": "audio", "video": "video"}
"""First half of a MIME type → form."""


def _conversation_id(fields: _Fields) -> str | None:
    return ident(fields.get("conversation_id")) or ident(fields.get("session_id"))


def _message(fields: _Fields, own_id: str | None, canonical_type: str) -> Message:
    inbound = canonical_type == "message.received"
    recipient_role: _Role = "business" if inbound else "customer"
    sender_role: _Role = "customer" if inbound else "business"
    customer = ("contact", "customer")
    metadata = fields.get("metadata")
    return Message(
        message_id=ident(fields.get("message_id")) or own_id or UNSET,
        conversation_id=_conversation_id(fields) or UNSET,
        direction="inbound" if inbound else "outbound",
        status=text(fields.get("status")) or UNSET,
        sender=_party(fields, ("sender", "from", *customer) if inbound else ("sender", "from"), sender_role),
        recipient=_party(fields, ("recipient", "to") if inbound else ("recipient", "to", *customer), recipient_role),
        content=_content(fields),
        error=error_of(fields.get("error")),
        metadata=metadata if isinstance(metadata, dict) else UNSET,
    )


def _content(fields: _Fields) -> Content | UnsetType:
    words = text(fields.get("text")) or text(fields.get("message"))
    media_url, media_type = text(fields.get("media_url")), text(fields.get("media_type"))
    if not (words or media_url):
        return UNSET
    form = _FORMS.get((media_type or "").partition("/")[0], "document" if media_type else "unknown")
    return Content(
        type=form if media_url else "text",
        text=UNSET if media_url else words or UNSET,
        media_url=media_url or UNSET,
        media_type=media_type or UNSET,
        caption=words or UNSET if media_url else UNSET,
    )


def _conversation(fields: _Fields, own_id: str | None, canonical_type: str) -> Conversation:
    return Conversation(
        conversation_id=_conversation_id(fields) or own_id or UNSET,
        status=text(fields.get("status")) or UNSET,
        contact=_party(fields, _CONTACT, "customer"),
        agent=_party(fields, ("agent",), "agent"),
        reason=text(fields.get("reason")) or UNSET,
    )


def _booking(fields: _Fields, own_id: str | None, canonical_type: str) -> Booking:
    service, previous = fields.get("service"), fields.get("previous")
    return Booking(
        booking_id=ident(fields.get("booking_id")) or own_id or UNSET,
        status=text(fields.get("status")) or UNSET,
        starts_at=canonical(fields.get("starts_at")) or canonical(fields.get("start_time")) or UNSET,
        ends_at=canonical(fields.get("ends_at")) or canonical(fields.get("end_time")) or UNSET,
        contact=_party(fields, _CONTACT, "customer"),
        service=text(service) or text(table(service).get("name")) or UNSET,
        previous=previous if isinstance(previous, dict) else UNSET,
    )


def _payment(fields: _Fields, own_id: str | None, canonical_type: str) -> Payment:
    return Payment(
        payment_id=ident(fields.get("payment_id")) or own_id or UNSET,
        status=text(fields.get("status")) or UNSET,
        amount=decimal_string(fields.get("amount")) or UNSET,
        currency=text(fields.get("currency")) or UNSET,
        contact=_party(fields, _CONTACT, "customer"),
        booking_id=ident(fields.get("booking_id")) or UNSET,
    )


ORDERING_FIELDS: Final = ("conversation_id", "session_id", "booking_id", "payment_id")


def _party(fields: _Fields, keys: tuple[str, ...], role: _Role) -> Party | UnsetType:
    return next((found for key in keys if (found := party(fields.get(key), role))), UNSET)


_Read = Callable[[_Fields, str | None, str], Data]
_Order = Callable[[_Fields, str | None], str | None]
READERS: Final[dict[str, tuple[_Read, _Order]]] = {
    "message": (_message, lambda fields, own_id: _conversation_id(fields)),
    "conversation": (_conversation, lambda fields, own_id: _conversation_id(fields) or own_id),
    "booking": (_booking, lambda fields, own_id: ident(fields.get("booking_id")) or own_id),
    "payment": (_payment, lambda fields, own_id: ident(fields.get("payment_id")) or own_id),
}
"""family → how its payload is read, and its ordering key."""
