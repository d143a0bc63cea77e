"""The canonical event: the one kind of thing a subscriber ever receives.

Whatever a provider sends becomes an ``Event``: who sent it (``provider``, ``source``, ``account``), what happened
(``type``, ``data``), when, how it was proven, and what the provider wrote (``raw``). The families are message,
conversation, booking, payment, channel and other; ``type`` is ``<family>.<action>`` and ``data.kind`` the family.

Rules that consumers may rely on:

- every key at the top and in ``provenance`` is always present, ``null`` if unknown (``raw`` alone is left out where a
  subscriber says ``raw = false``);
- inside ``data`` a field that is not known is absent, never ``null``; only ``kind`` is always there;
- times are ``YYYY-MM-DDTHH:MM:SS.mmmZ``;
- ``id`` is a function of the source and of the provider's own identifiers, so a retry has the same one.

``event.schema.json`` and ``event.ts`` are generated from this file by ``python -m schemas.generate``.
"""

import hashlib
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from schemas.timestamps import Timestamp

SCHEMA_VERSION: Literal["1.0"] = "1.0"
SCHEMA_ID = "https://gateway.invalid/schemas/event/1.0"
"""The ``$id`` of the JSON Schema: a name, not an address (``.invalid`` can never resolve)."""

MessageType = Literal["message.received", "message.sent", "message.delivered", "message.read", "message.failed"]
ConversationType = Literal["conversation.opened", "conversation.closed", "conversation.handoff", "conversation.updated"]
BookingType = Literal[
    "booking.created",
    "booking.confirmed",
    "booking.rescheduled",
    "booking.cancelled",
    "booking.completed",
    "booking.no_show",
    "booking.updated",
]
PaymentType = Literal["payment.succeeded", "payment.failed", "payment.refunded", "payment.pending", "payment.updated"]
ChannelType = Literal["channel.connected", "channel.disconnected", "channel.qr_updated"]
OtherType = Literal["other"]

EventType = Literal[MessageType, ConversationType, BookingType, PaymentType, ChannelType, OtherType]

EVENT_TYPES: tuple[str, ...] = get_args(EventType)
"""Every type, in the order of the families."""

CREDENTIAL_TYPE = "channel.qr_updated"
"""The one type that carries a login credential: only a subscriber that names it literally receives it."""


class Party(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody at one end of a message, a booking or a payment."""

    id: Annotated[str, Meta(description="The identifier exactly as the provider writes it.")] | UnsetType = UNSET
    phone: (
        Annotated[str, Meta(pattern=r"^\+[0-9]{4,15}$", description="E.164 with a leading +, only where certain.")]
        | UnsetType
    ) = UNSET
    name: Annotated[str, Meta(description="A name to show.")] | UnsetType = UNSET
    email: Annotated[str, Meta(description="An e-mail address as the provider writes it.")] | UnsetType = UNSET
    role: (
        Annotated[
            Literal["customer", "business", "agent"],
            Meta(description="customer: the person outside; business: our side's number; agent: a human or bot on it."),
        ]
        | UnsetType
    ) = UNSET


class Content(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a message says or carries."""

    type: (
        Annotated[
            Literal["text", "image", "audio", "video", "document", "location", "contact", "reaction", "unknown"],
            Meta(description="The form of the content; unknown if the provider names a form this list lacks."),
        ]
        | UnsetType
    ) = UNSET
    text: Annotated[str, Meta(description="The words of the message.")] | UnsetType = UNSET
    media_url: Annotated[str, Meta(description="Where the provider keeps the file.")] | UnsetType = UNSET
    media_type: Annotated[str, Meta(description="The file's MIME type.")] | UnsetType = UNSET
    filename: Annotated[str, Meta(description="The file's name.")] | UnsetType = UNSET
    caption: Annotated[str, Meta(description="Words that accompany the file.")] | UnsetType = UNSET


class Error(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a message failed, in the provider's words."""

    code: Annotated[str, Meta(description="The provider's code.")] | UnsetType = UNSET
    message: Annotated[str, Meta(description="The provider's sentence.")] | UnsetType = UNSET


class Campaign(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The bulk sending a message belongs to."""

    id: Annotated[str, Meta(description="The provider's id of the campaign.")] | UnsetType = UNSET
    name: Annotated[str, Meta(description="The campaign's name.")] | UnsetType = UNSET


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="message", tag_field="kind"):
    """A message, or news of one: received, sent, delivered, read, failed."""

    message_id: Annotated[str, Meta(description="The provider's id of the message.")] | UnsetType = UNSET
    conversation_id: Annotated[str, Meta(description="The conversation it belongs to.")] | UnsetType = UNSET
    direction: (
        Annotated[Literal["inbound", "outbound"], Meta(description="inbound: from the customer to the business.")]
        | UnsetType
    ) = UNSET
    status: Annotated[str, Meta(description="The provider's own word for the state.")] | UnsetType = UNSET
    sender: Annotated[Party, Meta(description="Who wrote it.")] | UnsetType = UNSET
    recipient: Annotated[Party, Meta(description="Whom it is for.")] | UnsetType = UNSET
    content: Annotated[Content, Meta(description="What it says or carries.")] | UnsetType = UNSET
    error: Annotated[Error, Meta(description="Why it failed.")] | UnsetType = UNSET
    campaign: Annotated[Campaign, Meta(description="The bulk sending it belongs to.")] | UnsetType = UNSET
    is_group: Annotated[bool, Meta(description="Whether it was written in a group chat.")] | UnsetType = UNSET
    reply_to: Annotated[str, Meta(description="The id of the message it answers.")] | UnsetType = UNSET
    metadata: (
        Annotated[dict[str, Any], Meta(description="What the sender attached on sending, and facts without a field.")]
        | UnsetType
    ) = UNSET


class Conversation(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="conversation", tag_field="kind"
):
    """A conversation that was opened, closed, handed to a human, or changed otherwise."""

    conversation_id: Annotated[str, Meta(description="The provider's id of the conversation.")] | UnsetType = UNSET
    status: Annotated[str, Meta(description="The provider's own word for the state.")] | UnsetType = UNSET
    contact: Annotated[Party, Meta(description="The customer.")] | UnsetType = UNSET
    agent: Annotated[Party, Meta(description="Who serves the customer.")] | UnsetType = UNSET
    reason: Annotated[str, Meta(description="Why it changed.")] | UnsetType = UNSET


class Booking(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="booking", tag_field="kind"):
    """An appointment and what became of it."""

    booking_id: Annotated[str, Meta(description="The provider's id of the booking.")] | UnsetType = UNSET
    status: Annotated[str, Meta(description="The provider's own word for the state.")] | UnsetType = UNSET
    starts_at: Annotated[Timestamp, Meta(description="When it starts.")] | UnsetType = UNSET
    ends_at: Annotated[Timestamp, Meta(description="When it ends.")] | UnsetType = UNSET
    contact: Annotated[Party, Meta(description="The customer.")] | UnsetType = UNSET
    service: Annotated[str, Meta(description="What was booked.")] | UnsetType = UNSET
    previous: (
        Annotated[dict[str, Any], Meta(description="What was true before the change, as the provider writes it.")]
        | UnsetType
    ) = UNSET


class Payment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="payment", tag_field="kind"):
    """A payment and what became of it."""

    payment_id: Annotated[str, Meta(description="The provider's id of the payment.")] | UnsetType = UNSET
    status: Annotated[str, Meta(description="The provider's own word for the state.")] | UnsetType = UNSET
    amount: (
        Annotated[
            str, Meta(pattern=r"^-?[0-9]+(\.[0-9]+)?$", description="A decimal number as a string, in major units.")
        ]
        | UnsetType
    ) = UNSET
    currency: Annotated[str, Meta(description="ISO 4217, as the provider writes it.")] | UnsetType = UNSET
    contact: Annotated[Party, Meta(description="Who pays.")] | UnsetType = UNSET
    booking_id: Annotated[str, Meta(description="The booking it pays for.")] | UnsetType = UNSET


class Channel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="channel", tag_field="kind"):
    """A channel (a connected number or account) that came, went or wants a login."""

    channel_id: Annotated[str, Meta(description="The provider's id of the channel.")] | UnsetType = UNSET
    status: Annotated[str, Meta(description="The provider's own word for the state.")] | UnsetType = UNSET
    phone: (
        Annotated[str, Meta(pattern=r"^\+[0-9]{4,15}$", description="The channel's number, E.164 with a leading +.")]
        | UnsetType
    ) = UNSET
    profile_name: Annotated[str, Meta(description="The name customers see.")] | UnsetType = UNSET
    reason: Annotated[str, Meta(description="Why it changed.")] | UnsetType = UNSET
    qr_code: (
        Annotated[str, Meta(description="A LOGIN CREDENTIAL as a data: URL; only in channel.qr_updated.")] | UnsetType
    ) = UNSET
    expires_at: Annotated[Timestamp, Meta(description="When the credential ends.")] | UnsetType = UNSET


class Other(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="other", tag_field="kind"):
    """Proven, but of a type this gateway has no mapping for: kept whole rather than lost."""

    name: Annotated[str, Meta(description="The provider's name for it, or an empty string.")] | UnsetType = UNSET
    payload: Annotated[Any, Meta(description="What the provider sent, redacted.")] | UnsetType = UNSET


Data = Message | Conversation | Booking | Payment | Channel | Other

FAMILY_OF: dict[str, type[msgspec.Struct]] = {
    **dict.fromkeys(get_args(MessageType), Message),
    **dict.fromkeys(get_args(ConversationType), Conversation),
    **dict.fromkeys(get_args(BookingType), Booking),
    **dict.fromkeys(get_args(PaymentType), Payment),
    **dict.fromkeys(get_args(ChannelType), Channel),
    "other": Other,
}
"""Which class ``data`` has for each type."""


class Provenance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the event comes from and how that was proven."""

    provider_type: Annotated[
        str | None, Meta(description="The provider's own name of the event; null if it gives none.")
    ]
    provider_id: Annotated[str | None, Meta(description="The provider's own id of the event; null if it gives none.")]
    adapter: Annotated[str, Meta(description="The adapter and its version, as name/version.", examples=["enviaai/1"])]
    verified: Annotated[
        str,
        Meta(
            description="How the request was proven: proofs joined by +, or unauthenticated.",
            examples=["hmac-sha256", "header", "rsa-sha256", "path-token+address"],
        ),
    ]
    raw_sha256: Annotated[
        str,
        Meta(pattern="^[0-9a-f]{64}$", description="SHA-256 of the whole request body, byte for byte as received."),
    ]


class Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that happened at a provider, in the one form every subscriber understands."""

    id: Annotated[
        str,
        Meta(
            pattern="^evt_[a-z2-7]{26}$",
            description="The same for every retry of the same provider event. Store it and ignore repeats.",
            examples=["evt_hdvgbpm7wgvb2yt2wqsgnew4cu"],
        ),
    ]
    type: Annotated[EventType, Meta(description="family.action, or exactly other.")]
    schema: Annotated[Literal["1.0"], Meta(description="The version of this schema.")]
    occurred_at: Annotated[
        Timestamp | None, Meta(description="The provider's time of the event; null if it states none, never invented.")
    ]
    received_at: Annotated[Timestamp, Meta(description="When the gateway received the request.")]
    provider: Annotated[str, Meta(description="Who sent it: the adapter's name.", examples=["enviaai"])]
    source: Annotated[str, Meta(description="The configured inbound URL it came through.", examples=["enviaai-br"])]
    account: Annotated[
        str | None, Meta(description="The provider-side account: instance, brand, tenant or sender line.")
    ]
    channel: Annotated[
        str | None,
        Meta(description="whatsapp, sms, email, voice, instagram, facebook, livechat …: an open set, lower case."),
    ]
    ordering_key: Annotated[
        str | None, Meta(description="Events with the same key can be delivered in order; null means no order.")
    ]
    origin: Annotated[
        Literal["live", "backfill", "test"],
        Meta(description="live: pushed by the provider; backfill: fetched later; test: a test delivery."),
    ]
    data: Annotated[Data, Meta(description="What happened; its kind is the family of type.")]
    provenance: Annotated[Provenance, Meta(description="Where it comes from and how that was proven.")]
    raw: Annotated[Any, Meta(description="What the provider sent for this event, redacted.")] | UnsetType = UNSET


_encode = msgspec.json.Encoder().encode
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
"""Base32 two letters at a time: the standard library's encoder is Python too and takes three times as long."""
_SHIFTS = tuple(range(120, -1, -10))


def event_id(parts: list[str] | tuple[str, ...]) -> str:
    """Derive an event's id from its dedupe parts, the source's name first.

    ``evt_`` and the lower-case RFC 4648 base32, without padding, of the first 16 bytes of SHA-256 over the compact
    JSON array of the parts. A JSON array and not a joined string, so that no two lists of parts can collide.

    >>> event_id(["enviaai-br", "message.received", "msg_abc123"])
    'evt_hdvgbpm7wgvb2yt2wqsgnew4cu'
    """
    number = int.from_bytes(hashlib.sha256(_encode(parts)).digest()[:16], "big") << 2  # 130 bits: 26 letters of 5
    return "evt_" + "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])
