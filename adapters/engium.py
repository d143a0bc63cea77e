"""Engium: conversations, bookings and payments. Documentation: freetimeup.app/en/docs (webhooks).

D = documented, I = inferred. What a body holds: ``schemas/engium.py``.

- Proof, D: ``X-Engium-Signature`` with HMAC-SHA256 under the webhook's secret, which the API tells once. How it is
  written is not documented: ``sha256=<hex>`` and bare hex, any case, over the raw body, are accepted, I.
- A signed time is not documented. ``signed_time = true`` asks for the header in the form ``t=<seconds>,v1=<hex>`` with
  the HMAC over ``<t>.<body>``, I; the time may then be 15 minutes away: a retry comes up to 13 minutes after the first
  attempt, and nothing says that it is signed anew.
- Five names are published, D; families are told by the first word, actions by a table, I. An unknown action of a
  booking, a payment or a conversation is an update of it; an unknown kind of message is ``other``.
- The envelope is I, and its ``id`` may be the booking's as well as the event's: an event is told by tenant, id and the
  body's hash together.
- Acknowledge within 10 s, D; five retries after 1, 5, 25, 125 and 625 s, D.
- What a payload's fields are called is I: ``engium_payload.py``.
"""

from typing import Final

from adapters.contract import (
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
from adapters.engium_payload import ORDERING_FIELDS, READERS
from adapters.proving import check_hex_hmac, check_hmac, is_open, sign_hmac
from adapters.reading import ident, lower, other, read_object, table, text
from adapters.sampling import fill
from schemas.engium import SAMPLES
from schemas.timestamps import canonical, canonical_epoch_seconds

_HEADER = b"x-engium-signature"
_SIGNED_TIME_TOLERANCE_S = 900

_MESSAGES: Final = {
    f"conversation.message.{action}": f"message.{action}"
    for action in ("received", "sent", "delivered", "read", "failed")
}
_CONVERSATION_WORDS: Final = {
    "conversation.handoff": ("handoff",),
    "conversation.opened": ("opened", "created", "started", "reopened"),
    "conversation.closed": ("closed", "resolved", "ended"),
}
"""type → words of which one stands in the name; the first type that fits counts."""
_BOOKING_ACTIONS: Final = {
    "created": "booking.created",
    "confirmed": "booking.confirmed",
    "rescheduled": "booking.rescheduled",
    "cancelled": "booking.cancelled",
    "canceled": "booking.cancelled",
    "completed": "booking.completed",
    "no_show": "booking.no_show",
    "updated": "booking.updated",
}
_PAYMENT_ACTIONS: Final = {
    "succeeded": "payment.succeeded",
    "failed": "payment.failed",
    "refunded": "payment.refunded",
    "pending": "payment.pending",
    "updated": "payment.updated",
}


def _type_of(name: str) -> str | None:
    """The canonical type of a name; ``None``: unknown."""
    family, _, action = name.partition(".")
    if not action:
        return None
    if family == "booking":
        return _BOOKING_ACTIONS.get(action, "booking.updated")
    if family == "payment":
        return _PAYMENT_ACTIONS.get(action, "payment.updated")
    if family != "conversation":
        return None
    if action.startswith("message."):
        return _MESSAGES.get(name)
    words = action.replace("_", ".").replace("-", ".").split(".")  # whole words: "suspended" has not ended
    for canonical_type, known in _CONVERSATION_WORDS.items():
        if any(word in words for word in known):
            return canonical_type
    return "conversation.updated"


def verify(request: Request, source: Source, keys: Keys, now_ms: int) -> Proof:
    """Check the signature over the raw body, or over the signed time and the body."""
    if is_open(source):
        return Proof("unauthenticated")
    if not source.secrets:
        raise NotProven("no secret is configured; check the setting secrets")
    if source.options.get("signed_time") is True:
        _check_signed_time(request, source, now_ms)
    else:
        check_hmac(request, source, _HEADER, "sha256", bare=True)
    return Proof("hmac-sha256")


def _check_signed_time(request: Request, source: Source, now_ms: int) -> None:
    header = request.header(_HEADER)
    if header is None:
        raise NotProven("the header x-engium-signature is missing")
    fields = [field.partition(b"=") for field in header.split(b",")]
    times = [value for name, _, value in fields if name == b"t"]
    signatures = [value for name, _, value in fields if name == b"v1"]
    if len(times) != 1 or not times[0].isdigit() or len(times[0]) > 12 or len(signatures) != 1:
        raise NotProven("the header x-engium-signature is not t=<seconds>,v1=<hex>; check the setting signed_time")
    check_hex_hmac(signatures[0], times[0] + b"." + request.body, source, "sha256", _HEADER)
    if abs(now_ms / 1_000 - int(times[0])) > _SIGNED_TIME_TOLERANCE_S:
        raise NotProven("the signed time is more than 15 minutes away; check the clocks, or the setting signed_time")


def normalise(verified: VerifiedRequest) -> list[Draft]:
    """One event a request."""
    body = read_object(verified)
    name = next((found for key in ("event", "type", "event_type") if (found := text(body.get(key)))), None)
    event_id = ident(body.get("id")) or ident(body.get("event_id"))
    payload = next((body[key] for key in ("data", "payload") if body.get(key) is not None), body)
    fields = table(payload)
    tenant = ident(body.get("tenant_id")) or ident(fields.get("tenant_id"))
    dedupe = (name, tenant, event_id, verified.body_sha256)
    times = (body.get("timestamp"), body.get("created_at"), body.get("occurred_at"))
    occurred_at = next((time for value in times if (time := canonical(value) or canonical_epoch_seconds(value))), None)
    canonical_type = _type_of(name) if name else None
    if name is None or canonical_type is None:
        return [
            other(
                body,
                name,
                dedupe,
                provider_id=event_id,
                occurred_at=occurred_at,
                account=tenant,
                channel=lower(fields.get("channel")),
                ordering_key=next((key for k in ORDERING_FIELDS if (key := ident(fields.get(k)))), None),
            )
        ]
    if fields is not payload:
        raise Unmappable(f"{name}: data is not an object")
    family = canonical_type.partition(".")[0]
    own_id = ident(fields.get("id")) if payload is not body else None  # without an envelope, "id" is the event's
    if isinstance(nested := fields.get(family), dict):
        own_id = ident(nested.get("id"))
        fields = {**fields, **nested}
    read, ordering = READERS[family]
    return [
        Draft(
            type=canonical_type,
            data=read(fields, own_id, canonical_type),
            dedupe=dedupe,
            raw=body,
            provider_type=name,
            provider_id=event_id,
            occurred_at=occurred_at,
            account=tenant,
            channel=lower(fields.get("channel")),
            ordering_key=ordering(fields, own_id),
        )
    ]


def sample(case: str, seed: int) -> bytes:
    """A body as Engium may write it."""
    return fill(SAMPLES, case, seed)


def sign(body: bytes, source: Source, now_ms: int) -> dict[str, str]:
    """The headers Engium sends, in the form the source asks for."""
    headers = {"content-type": "application/json"}
    if source.secrets and source.options.get("signed_time") is True:
        seconds = str(now_ms // 1_000)
        signature = sign_hmac(seconds.encode() + b"." + body, source, "sha256")
        headers["x-engium-signature"] = f"t={seconds},v1={signature}"
    elif source.secrets:
        headers["x-engium-signature"] = "sha256=" + sign_hmac(body, source, "sha256")
    return headers


ADAPTER: Final = Adapter(
    name="engium",
    version=1,
    title="Engium",
    documentation=("https://freetimeup.app/en/docs/webhooks", "https://freetimeup.app/en/docs/authentication"),
    proven_by="HMAC-SHA256 of the raw body in X-Engium-Signature, as hex with or without sha256= in front",
    settings=(
        Setting(
            name="secrets",
            kind="secrets",
            doc="the webhook_secret that the API tells once, when the webhook is made; newest first",
            example='secrets = ["env:ENGIUM_SECRET"]',
            required=True,
            proof=True,
        ),
        Setting(
            name="signed_time",
            kind="flag",
            doc="whether X-Engium-Signature has the form t=…,v1=… and signs the time too",
            example="signed_time = true",
        ),
    ),
    ack_deadline_s=10.0,
    retry_horizon_s=1 + 5 + 25 + 125 + 625,
    redacts=(),
    event_map={
        **_MESSAGES,
        "conversation.opened": "conversation.opened",
        "conversation.closed": "conversation.closed",
        "conversation.handoff.requested": "conversation.handoff",
        "conversation.tag_added": "conversation.updated",
        **{f"booking.{action}": found for action, found in _BOOKING_ACTIONS.items() if action != "canceled"},
        "booking.waitlisted": "booking.updated",
        **{f"payment.{action}": found for action, found in _PAYMENT_ACTIONS.items()},
        "payment.disputed": "payment.updated",
    },
    ignored={},
    cases=tuple(SAMPLES),
    verify=verify,
    normalise=normalise,
    sample=sample,
    sign=sign,
    setup="In the Engium dashboard, or with the call below, make a webhook for {url}; it must be https. The answer "
    "shows webhook_secret once: put it into this source's secrets.",
    management={
        "register": "POST https://api.engium.app/api/v1/webhooks  (Authorization: Bearer eng_live_…, X-Tenant-ID: …)  "
        '{"url": "{url}", "events": ["*"], "description": "gateway", "is_active": true}',
    },
)
