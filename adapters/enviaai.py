"""enviaai: a WhatsApp gateway. Documentation: docs.enviaai.app (webhooks overview, concepts, set-up guide).

D = documented, I = inferred. What a body holds: ``schemas/enviaai.py``.

- Proof, D: ``X-EnviaAI-Signature: sha256=<hex>``, HMAC-SHA256 of the raw body under the secret given when the webhook
  was made. The page computes it over ``JSON.stringify(body)``: that is what was sent. No signed time.
- Eight events, D. ``eventId`` is named in prose as the key against repeats, D, but stands in no sample: read beside
  ``event`` and inside ``data``, I. Without it: instance, message and recipient, which a retry does not change.
- Acknowledge within 5 s, D; retries after 0, 30 s, 2 m, 10 m, 1 h and 6 h, D: 7 h 12 m 30 s in all.
- The time that fits an event best is that of what happened (``deliveredAt``, ``readAt``), then ``data.timestamp``, then
  the envelope's.
- ``qrCode`` logs a device in to the business's WhatsApp: it is kept in ``data.qr_code`` alone, never in raw.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

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
)
from adapters.proving import check_hmac, is_open, sign_hmac
from adapters.reading import ContentForm, error_of, ident, other, read_object, text, whatsapp_phone
from adapters.sampling import fill
from schemas.enviaai import SAMPLES
from schemas.event import Channel, Content, Message, Party
from schemas.timestamps import canonical

_HEADER = b"x-enviaai-signature"

_EVENT_MAP: Final = {
    "message.received": "message.received",
    "message.sent": "message.sent",
    "message.delivered": "message.delivered",
    "message.read": "message.read",
    "message.failed": "message.failed",
    "instance.connected": "channel.connected",
    "instance.disconnected": "channel.disconnected",
    "instance.qr_updated": "channel.qr_updated",
}

_TIME_OF: Final = {"message.delivered": "deliveredAt", "message.read": "readAt"}
"""Where the time of what happened stands, if not in ``timestamp``."""

_CONTENT_TYPES: Final[dict[str, ContentForm]] = {
    "text": "text",
    "image": "image",
    "audio": "audio",
    "video": "video",
    "document": "document",
    "location": "location",
    "contact": "contact",
    "reaction": "reaction",
}
"""Only ``text`` is documented; the others are WhatsApp's own words, I."""


def verify(request: Request, source: Source, keys: Keys, now_ms: int) -> Proof:
    """Check the signature over the raw body."""
    if is_open(source):
        return Proof("unauthenticated")
    if not source.secrets:
        raise NotProven("no secret is configured; check the setting secrets")
    check_hmac(request, source, _HEADER, "sha256", bare=False)
    return Proof("hmac-sha256")


def normalise(verified: VerifiedRequest) -> list[Draft]:
    """One event a request."""
    body = read_object(verified)
    name = text(body.get("event"))
    data = body.get("data")
    fields: dict[str, Any] = data if isinstance(data, dict) else {}
    qr_code = text(fields.get("qrCode"))
    if fields.get("qrCode") is not None:
        fields["qrCode"] = REDACTED
    account = ident(fields.get("instanceId"))
    event_id = ident(body.get("eventId")) or ident(fields.get("eventId"))
    canonical_type = _EVENT_MAP.get(name) if name else None
    if name is None or canonical_type is None:
        dedupe = (name, event_id) if event_id else (name, account, verified.body_sha256)
        return [
            other(
                body,
                name,
                dedupe,
                provider_id=event_id,
                occurred_at=canonical(body.get("timestamp")),
                account=account,
                channel="whatsapp",
                ordering_key=ident(fields.get("chatId")),
            )
        ]
    if data is not fields:
        raise Unmappable(f"{name}: data is not an object")
    parts: tuple[str | None, ...]
    if canonical_type.startswith("message."):
        message = _message(fields, inbound=canonical_type == "message.received")
        payload: Message | Channel = message
        parts = (account, message.message_id or None, ident(fields.get("to")))
        ordering_key = message.conversation_id or None
    else:
        payload = _channel(fields, qr_code if canonical_type == "channel.qr_updated" else None)
        parts = (account, text(body.get("timestamp")))
        ordering_key = account
    happened_at = canonical(fields.get(_TIME_OF.get(canonical_type, "timestamp")))
    return [
        Draft(
            type=canonical_type,
            data=payload,
            dedupe=(name, event_id) if event_id else (name, *parts),
            raw=body,
            provider_type=name,
            provider_id=event_id,
            occurred_at=happened_at or canonical(fields.get("timestamp")) or canonical(body.get("timestamp")),
            account=account,
            channel="whatsapp",
            ordering_key=ordering_key,
        )
    ]


def _message(fields: dict[str, Any], *, inbound: bool) -> Message:
    sender = _party(fields.get("from"), "customer" if inbound else "business")
    if inbound and (name := text(fields.get("contactName"))):
        sender = (
            Party(id=sender.id, phone=sender.phone, name=name, role="customer")
            if sender
            else Party(name=name, role="customer")
        )
    metadata, is_group = fields.get("metadata"), fields.get("isGroup")
    return Message(
        message_id=ident(fields.get("messageId")) or UNSET,
        conversation_id=ident(fields.get("chatId")) or UNSET,
        direction="inbound" if inbound else "outbound",
        status=text(fields.get("status")) or UNSET,
        sender=sender,
        recipient=_party(fields.get("to"), "business" if inbound else "customer"),
        content=_content(fields),
        error=error_of(fields.get("error")),
        is_group=is_group if isinstance(is_group, bool) else UNSET,
        metadata=metadata if isinstance(metadata, dict) else UNSET,
    )


def _party(value: object, role: Literal["customer", "business"]) -> Party | UnsetType:
    if not (address := ident(value)):
        return UNSET
    return Party(id=address, phone=whatsapp_phone(address) or UNSET, role=role)


def _content(fields: dict[str, Any]) -> Content | UnsetType:
    form = text(fields.get("type"))
    words = text(fields.get("content"))
    media_url = text(fields.get("mediaUrl"))
    caption = text(fields.get("caption"))
    if not (form or words or media_url or caption):
        return UNSET
    return Content(
        type=_CONTENT_TYPES.get(form.lower(), "unknown") if form else UNSET,
        text=words or UNSET,
        media_url=media_url or UNSET,
        media_type=text(fields.get("mimeType")) or UNSET,
        filename=text(fields.get("filename")) or UNSET,
        caption=caption or UNSET,
    )


def _channel(fields: dict[str, Any], qr_code: str | None) -> Channel:
    return Channel(
        channel_id=ident(fields.get("instanceId")) or UNSET,
        status=text(fields.get("status")) or UNSET,
        phone=whatsapp_phone(fields.get("phone")) or UNSET,
        profile_name=text(fields.get("profileName")) or UNSET,
        reason=text(fields.get("reason")) or UNSET,
        qr_code=qr_code or UNSET,
        expires_at=canonical(fields.get("expiresAt")) or UNSET,
    )


def sample(case: str, seed: int) -> bytes:
    """A body as enviaai writes it."""
    return fill(SAMPLES, case, seed)


def sign(body: bytes, source: Source, now_ms: int) -> dict[str, str]:
    """The headers enviaai sends."""
    headers = {"content-type": "application/json"}
    if source.secrets:
        headers["x-enviaai-signature"] = "sha256=" + sign_hmac(body, source, "sha256")
    return headers


_MANAGEMENT: Final[Mapping[str, str]] = {
    "register": "POST https://api.enviaai.app/v1/webhooks  (Authorization: Bearer …)  "
    '{"url": "{url}", "events": ["message.received", …], "secret": "<the secret of this source>"}',
    "look": "GET https://api.enviaai.app/v1/webhooks and /v1/webhooks/{id}",
    "change": "PUT https://api.enviaai.app/v1/webhooks/{id}",
    "remove": "DELETE https://api.enviaai.app/v1/webhooks/{id}",
    "test": 'POST https://api.enviaai.app/v1/webhooks/{id}/test  {"event": "message.received"}',
    "attempts": "GET https://api.enviaai.app/v1/webhooks/{id}/logs?limit=50  (status and times, no payloads)",
}

ADAPTER: Final = Adapter(
    name="enviaai",
    version=1,
    title="EnviaAI",
    documentation=(
        "https://docs.enviaai.app/api-reference/webhooks/overview",
        "https://docs.enviaai.app/concepts/webhooks",
        "https://docs.enviaai.app/guides/webhooks-setup",
    ),
    proven_by="HMAC-SHA256 of the raw body, as sha256=<hex> in X-EnviaAI-Signature",
    settings=(
        Setting(
            name="secrets",
            kind="secrets",
            doc="the secrets given when the webhook was made, newest first; any one of them proves",
            example='secrets = ["env:ENVIAAI_SECRET"]',
            required=True,
            proof=True,
        ),
    ),
    ack_deadline_s=5.0,
    retry_horizon_s=30 + 120 + 600 + 3_600 + 21_600,
    redacts=("data.qrCode",),
    event_map=_EVENT_MAP,
    ignored={},
    cases=tuple(SAMPLES),
    verify=verify,
    normalise=normalise,
    sample=sample,
    sign=sign,
    setup="In the EnviaAI dashboard, or with the calls below, make a webhook with the URL {url}, the events you want "
    "and a secret of at least 16 random bytes; put the same secret into this source's secrets.",
    management=_MANAGEMENT,
)
