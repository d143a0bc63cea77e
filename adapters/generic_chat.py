"""A generic chat provider, after the page "Receiving Events - Webhooks" (docs.oneroute.io).

D = documented, I = inferred. What a body holds: ``schemas/generic_chat.py``.

- Proof: the newer page signs, D: ``x-oneroute-signature`` holds the HMAC-SHA512 of the body as 128 hex digits (with
  ``sha512=`` in front is accepted too, I), and names one sender address, 174.138.104.128, D. The older page has no
  proof at all, D. So a source may ask for a signature, a secret path token, an address, or several: all it names must
  hold.
- Two events, D: ``newMessage`` and ``smsDeliveryReport``. A message whose sender has ``authUser`` true was written by
  an agent, I. The newest page has a section on campaign events whose bodies it does not show: they become ``other``.
- No id is documented as unique: a message is told by its id, if it has one, and the body; a report by id, status and
  ``externalId``.
- The answer must be exactly 200, D. Acknowledgement and retries: not documented, treated as if there were none.
- ``Channel.credentials`` can hold real secrets, and ``Channel.webhookUrl`` is our own URL, path token included. Both
  are masked wherever they stand, before anything is kept.
"""

import hashlib
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

from msgspec import UNSET, UnsetType

from adapters.contract import (
    REDACTED,
    Adapter,
    Draft,
    Keys,
    NotProven,
    Proof,
    Request,
    Setting,
    Source,
    Unmappable,
    VerifiedRequest,
    secrets_equal,
)
from adapters.proving import check_hmac, sign_hmac
from adapters.reading import ContentForm, e164, ident, lower, other, party, read_object, table, text
from adapters.sampling import fill
from schemas.event import Content, Error, Message, Party
from schemas.generic_chat import SAMPLES
from schemas.timestamps import canonical

_HEADER = b"x-oneroute-signature"
_MASKED: Final = frozenset({"credentials", "webhookUrl"})

_REPORT_TYPES: Final = {
    "delivered": "message.delivered",
    "undelivered": "message.failed",
    "failed": "message.failed",
    "rejected": "message.failed",
    "pending": "message.sent",
}
"""``conversation.status`` → type, for ``smsDeliveryReport``."""

_CONTENT_TYPES: Final[dict[str, ContentForm]] = {
    "TEXT": "text",
    "IMAGE": "image",
    "VIDEO": "video",
    "DOCUMENT": "document",
    "AUDIO": "audio",
    "LOCATION": "location",
    "CONTACT": "contact",
}
"""``TEXT`` is documented, the four with a URL follow from the names of the fields, the rest is I."""
_MEDIA: Final[tuple[tuple[str, ContentForm], ...]] = (
    ("imageUrl", "image"),
    ("videoUrl", "video"),
    ("documentUrl", "document"),
    ("audioUrl", "audio"),
)


def verify(request: Request, source: Source, keys: Keys, now_ms: int) -> Proof:
    """Check everything the source asks for: signature, path token, address."""
    methods: list[str] = []
    if source.secrets:
        check_hmac(request, source, _HEADER, "sha512", bare=True)
        methods.append("hmac-sha512")
    if source.path_token_sha256 is not None:
        given = hashlib.sha256(request.path_token or b"").digest()
        if not request.path_token or not secrets_equal(given, source.path_token_sha256):
            raise NotProven("the path token is missing or another one; check the setting path_token")
        methods.append("path-token")
    if source.allow_ips:
        address = _address(request.client_ip or "")
        if address is None or not any(address in network for network in source.allow_ips):
            raise NotProven("the sender's address is not allowed; check the settings allow_ips and trusted_proxies")
        methods.append("address")
    if not methods and not source.unauthenticated:
        raise NotProven("no proof is configured; check the settings secrets, path_token and allow_ips")
    return Proof("+".join(methods) or "unauthenticated")


@lru_cache(maxsize=1_024)
def _address(written: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(written)
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


def normalise(verified: VerifiedRequest) -> list[Draft]:
    """One event a request."""
    body = read_object(verified)
    _mask(body)
    name = text(body.get("event"))
    if name == "newMessage":
        return [_new_message(body, verified)]
    conversation = table(body.get("conversation"))
    if name == "smsDeliveryReport":
        if conversation is not body.get("conversation"):
            raise Unmappable("smsDeliveryReport: conversation is not an object")
        status = lower(conversation.get("status"))
        if status in _REPORT_TYPES:
            return [_report(body, conversation, status)]
    channel = table(conversation.get("Channel"))
    return [
        other(
            body,
            name,
            (name, verified.body_sha256),
            occurred_at=canonical(conversation.get("updatedAt")),
            account=ident(channel.get("id")),
            channel="sms" if name == "smsDeliveryReport" else lower(channel.get("medium")),
            ordering_key=ident(conversation.get("id")),
        )
    ]


def _mask(value: dict[str, Any] | list[Any]) -> None:
    """Mask the two fields in place, wherever they stand: events that are not documented may nest them elsewhere."""
    if isinstance(value, list):
        for inner in value:
            if isinstance(inner, (dict, list)):
                _mask(inner)
        return
    for key, inner in value.items():  # a value is replaced, no key is added: the loop may go on
        if inner is not None and key in _MASKED:
            value[key] = REDACTED
        elif isinstance(inner, (dict, list)):  # no deeper than the decoder lets it be
            _mask(inner)


def _new_message(body: dict[str, Any], verified: VerifiedRequest) -> Draft:
    message, conversation = table(body.get("message")), table(body.get("conversation"))
    if body.get("message") is not None and message is not body["message"]:
        raise Unmappable("newMessage: message is not an object")
    if body.get("message") is None and conversation is not body.get("conversation"):
        raise Unmappable("newMessage: neither message nor conversation is an object")
    channel, sender = table(conversation.get("Channel")), table(message.get("sender"))
    by_agent = sender.get("authUser") is True
    customer = _customer(conversation.get("customer"), None if by_agent else text(sender.get("name")))
    message_id = ident(message.get("id")) or ident(message.get("externalId"))
    conversation_id = ident(message.get("conversation_id")) or ident(conversation.get("id"))
    sha256 = verified.body_sha256
    times = (message.get("createdAt"), conversation.get("lastMessageAt"), conversation.get("updatedAt"))
    return Draft(
        type="message.sent" if by_agent else "message.received",
        data=Message(
            message_id=message_id or UNSET,
            conversation_id=conversation_id or UNSET,
            direction="outbound" if by_agent else "inbound",
            sender=party({"name": sender.get("name")}, "agent") if by_agent else customer,
            recipient=customer if by_agent else _line(channel),
            content=_content(message),
            reply_to=ident(message.get("quoted_message_id")) or UNSET,
        ),
        dedupe=("newMessage", message_id, sha256) if message_id else ("newMessage", sha256),
        raw=body,
        provider_type="newMessage",
        occurred_at=next((time for value in times if (time := canonical(value))), None),
        account=ident(channel.get("id")),
        channel=lower(channel.get("medium")),
        ordering_key=conversation_id,
    )


def _customer(value: object, name: str | None) -> Party | UnsetType:
    known = table(value)
    return party({**known, "name": name or known.get("name")}, "customer")


def _line(channel: Any) -> Party | UnsetType:
    """Our side: the channel a customer writes to."""
    return party(
        {"id": channel.get("identifier"), "name": channel.get("name"), "phone": channel.get("phone")}, "business"
    )


def _content(message: Any) -> Content | UnsetType:
    words, form = text(message.get("content")), text(message.get("contentType"))
    media_url, media_form = next(((url, form) for key, form in _MEDIA if (url := text(message.get(key)))), (None, None))
    if not (words or form or media_url):
        return UNSET
    content_type = _CONTENT_TYPES.get(form.upper(), "unknown") if form else media_form
    return Content(
        type=content_type or "text",
        text=UNSET if media_url else words or UNSET,
        media_url=media_url or UNSET,
        caption=words or UNSET if media_url else UNSET,
    )


def _report(body: dict[str, Any], sms: Any, status: str) -> Draft:
    """The report's ``conversation`` is the SMS itself."""
    canonical_type = _REPORT_TYPES[status]
    failed = canonical_type == "message.failed"
    sms_id, reason, written_status = ident(sms.get("id")), text(sms.get("reason")), text(sms.get("status"))
    sender, recipient, units = ident(sms.get("from")), ident(sms.get("to")), sms.get("units")
    metadata: dict[str, Any] = {}
    if reason and not failed:
        metadata["reason"] = reason
    if isinstance(units, int | float) and not isinstance(units, bool):
        metadata["units"] = units
    # createdAt is when the SMS was made: the time of no event but that one.
    happened_at = sms.get("createdAt") if status == "pending" else sms.get("delivered_time")
    return Draft(
        type=canonical_type,
        data=Message(
            message_id=sms_id or UNSET,
            direction="outbound",
            status=written_status or UNSET,
            sender=Party(id=sender, phone=e164(sender) or UNSET, role="business") if sender else UNSET,
            recipient=Party(id=recipient, phone=e164(recipient) or UNSET, role="customer") if recipient else UNSET,
            error=Error(message=reason) if failed and reason else UNSET,
            metadata=metadata or UNSET,
        ),
        dedupe=("smsDeliveryReport", sms_id, written_status, ident(sms.get("externalId"))),
        raw=body,
        provider_type="smsDeliveryReport",
        occurred_at=canonical(happened_at) or canonical(sms.get("updatedAt")),
        channel="sms",
        ordering_key=sms_id,
    )


def sample(case: str, seed: int) -> bytes:
    """A body as the provider writes it."""
    return fill(SAMPLES, case, seed)


def sign(body: bytes, source: Source, now_ms: int) -> dict[str, str]:
    """The headers of the newer page. A path token travels in the URL, and an address in the packets."""
    headers = {"content-type": "application/json"}
    if source.secrets:
        headers["x-oneroute-signature"] = sign_hmac(body, source, "sha512")
    return headers


ADAPTER: Final = Adapter(
    name="generic_chat",
    version=1,
    title="Generic chat (OneRoute)",
    documentation=("https://docs.oneroute.io/others/receiving-events-webhooks",),
    proven_by="HMAC-SHA512 of the raw body in x-oneroute-signature, a secret path token, the sender's address: "
    "all that the source names",
    settings=(
        Setting(
            name="secrets",
            kind="secrets",
            doc="the account's secret key, which signs; newest first",
            example='secrets = ["env:CHAT_SECRET"]',
            proof=True,
        ),
        Setting(
            name="path_token",
            kind="secret",
            doc="at least 128 random bits, at the end of the URL: for accounts that do not sign",
            example='path_token = "env:CHAT_TOKEN"',
            proof=True,
        ),
        Setting(
            name="allow_ips",
            kind="networks",
            doc="the addresses requests come from",
            example='allow_ips = ["174.138.104.128"]',
            proof=True,
        ),
    ),
    ack_deadline_s=None,
    retry_horizon_s=0,
    redacts=("conversation.Channel.credentials", "conversation.Channel.webhookUrl"),
    event_map={
        "newMessage": "message.received",
        "newMessage.agent": "message.sent",
        **{f"smsDeliveryReport.{status}": canonical_type for status, canonical_type in _REPORT_TYPES.items()},
    },
    ignored={},
    cases=tuple(SAMPLES),
    verify=verify,
    normalise=normalise,
    sample=sample,
    sign=sign,
    setup="On the provider's Settings page, or on a single channel, enter {url} as the webhook URL. With a path token, "
    "the token is part of that URL: whoever knows the URL can send.",
)
