"""Aivo Engage: WhatsApp campaigns. Documentation: helpaivoen.aivohelp.com, article 698654.

D = documented, I = inferred. What a body holds: ``schemas/aivo_engage.py``.

- Proof, D: a header whose name and value the customer chooses and tells Aivo's support. It says who sends, and nothing
  about the body; there is no signature and no signed time. A source names the header and the values it may have.
- One event, D: ``msg_status``, in four statuses. Its page names the status field ``msg_status`` in prose and
  ``message_status`` in the sample, D: the sample's name is read first.
- An event is told by message and status, D (there is no event id): a message passes each status once. Statuses can
  arrive out of order, so consumers go by ``occurred_at``.
- Acknowledgement and retries are not documented: treated as if there were none.
- Numbers are international, D; the ``+`` is put in front for WhatsApp alone. ``error`` details, I.
"""

from typing import Final

from msgspec import UNSET

from adapters.contract import (
    Adapter,
    Draft,
    Keys,
    NotProven,
    Proof,
    Request,
    Setting,
    Source,
    VerifiedRequest,
    secrets_equal,
)
from adapters.proving import is_open
from adapters.reading import e164, error_of, ident, lower, other, read_object, table, text, whatsapp_phone
from adapters.sampling import fill
from schemas.aivo_engage import SAMPLES
from schemas.event import Campaign, Message, Party
from schemas.timestamps import canonical_epoch_seconds

_TYPES: Final = {
    "sent": "message.sent",
    "delivered": "message.delivered",
    "read": "message.read",
    "error": "message.failed",
}
"""``message_status`` → type, for the event ``msg_status``."""


def verify(request: Request, source: Source, keys: Keys, now_ms: int) -> Proof:
    """Compare the header with each of the values it may have."""
    if is_open(source):
        return Proof("unauthenticated")
    if source.header is None or not source.secrets:
        raise NotProven("no header is configured; check the settings header and secrets")
    given = request.header(source.header)
    if given is None:
        raise NotProven("the header named in the setting header is missing")
    if not any(secrets_equal(given, secret) for secret in source.secrets):
        raise NotProven("the header's value is none of the source's secrets; check the setting secrets")
    return Proof("header")


def normalise(verified: VerifiedRequest) -> list[Draft]:
    """One event a request."""
    body = read_object(verified)
    name = text(body.get("event_name"))
    status = text(body.get("message_status")) or text(body.get("msg_status"))
    canonical_type = _TYPES.get(status.lower()) if status and name == "msg_status" else None
    channel, recipient, campaign = table(body.get("channel")), table(body.get("recipient")), table(body.get("campaign"))
    channel_name = lower(channel.get("channel_type"))
    sender_id, recipient_id = ident(channel.get("sender_id")), ident(recipient.get("id"))
    occurred_at = canonical_epoch_seconds(body.get("event_timestamp"))
    if name is None or canonical_type is None:
        return [
            other(
                body,
                name,
                (name, verified.body_sha256),
                occurred_at=occurred_at,
                account=sender_id,
                channel=channel_name,
                ordering_key=_ordering_key(sender_id, recipient_id),
            )
        ]
    phone = whatsapp_phone if channel_name == "whatsapp" else e164
    campaign_id, campaign_name = ident(campaign.get("id")), text(campaign.get("name"))
    message_id = ident(body.get("message_id"))
    return [
        Draft(
            type=canonical_type,
            data=Message(
                message_id=message_id or UNSET,
                direction="outbound",
                status=status or UNSET,
                sender=(
                    Party(
                        id=sender_id,
                        phone=phone(sender_id) or UNSET,
                        name=text(channel.get("name")) or UNSET,
                        role="business",
                    )
                    if sender_id
                    else UNSET
                ),
                recipient=(
                    Party(id=recipient_id, phone=phone(recipient_id) or UNSET, role="customer")
                    if recipient_id
                    else UNSET
                ),
                error=(
                    error_of(body, body.get("error"), body.get("errors"))
                    if canonical_type == "message.failed"
                    else UNSET
                ),
                campaign=(
                    Campaign(id=campaign_id or UNSET, name=campaign_name or UNSET)
                    if campaign_id or campaign_name
                    else UNSET
                ),
            ),
            dedupe=(name, message_id, status),
            raw=body,
            provider_type=name,
            occurred_at=occurred_at,
            account=sender_id,
            channel=channel_name,
            ordering_key=_ordering_key(sender_id, recipient_id),
        )
    ]


def _ordering_key(sender_id: str | None, recipient_id: str | None) -> str | None:
    return f"{sender_id}:{recipient_id}" if sender_id and recipient_id else None


def sample(case: str, seed: int) -> bytes:
    """A body as Aivo Engage writes it."""
    return fill(SAMPLES, case, seed)


def sign(body: bytes, source: Source, now_ms: int) -> dict[str, str]:
    """The headers Aivo Engage sends."""
    headers = {"content-type": "application/json"}
    if source.header is not None and source.secrets:
        headers[source.header.decode("latin-1")] = source.secrets[0].decode("latin-1")
    return headers


ADAPTER: Final = Adapter(
    name="aivo_engage",
    version=1,
    title="Aivo Engage",
    documentation=(
        "https://helpaivoen.aivohelp.com/article/description-and-operation-of-the-engage-webhook-api-for-the-whatsapp-channel/698654",
    ),
    proven_by="A header, name and value as told to Aivo's support; it does not cover the body",
    settings=(
        Setting(
            name="header",
            kind="text",
            doc="the name of the header that was told to Aivo's support",
            example='header = "x-auth-token"',
            required=True,
        ),
        Setting(
            name="secrets",
            kind="secrets",
            doc="the values that header may have, newest first",
            example='secrets = ["env:AIVO_TOKEN"]',
            required=True,
            proof=True,
        ),
    ),
    ack_deadline_s=None,
    retry_horizon_s=0,
    redacts=(),
    event_map={f"msg_status.{status}": canonical_type for status, canonical_type in _TYPES.items()},
    ignored={},
    cases=tuple(SAMPLES),
    verify=verify,
    normalise=normalise,
    sample=sample,
    sign=sign,
    setup="Open a ticket with Aivo's support centre that names: the outgoing number; whether you want the statuses of "
    "one-time or of recurrent campaigns; the URL {url}; and an authentication header, its name and a long random "
    "value. Put both into this source's header and secrets.",
)
