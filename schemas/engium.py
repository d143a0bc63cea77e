"""What Engium sends (freetimeup.app/en/docs: webhooks, authentication, conversations).

Documented: the families ``conversation.*``, ``booking.*``, ``payment.*``; the names ``conversation.message.received``,
``.delivered``, ``.read``, ``booking.confirmed``, ``booking.cancelled``; that an API object is written in snake_case,
with ``recipient`` (``+`` and digits), ``channel`` (whatsapp, sms, voice), ``message.text``, ``media_url``,
``media_type``, ids like ``sess_…``, and a tenant that is a UUID.

No delivery is published, so the envelope is inferred, and read in more than one way::

    event | type | event_type               the name
    id | event_id                           of the event
    timestamp | created_at | occurred_at    ISO 8601 with a zone, or seconds since the epoch
    tenant_id                               the account
    data | payload                          what happened; without either, the top level is that

The payload, inferred after the API: its fields, or an object under the family's name (``message``, ``conversation``,
``booking``, ``payment``) with them.
"""

from typing import Any, Final

_TENANT = "7d0a1f52-3f0e-4a9b-9a57-2f4b6f1f9b11"


def _sample(event: str, **payload: Any) -> dict[str, Any]:
    return {"id": "evt_<id>", "event": event, "timestamp": "<time>", "tenant_id": _TENANT, "data": payload}


def _message(event: str, **more: Any) -> dict[str, Any]:
    return _sample(
        event,
        message_id="msg_<id>",
        conversation_id="sess_<customer>",
        channel="whatsapp",
        recipient="+<phone>",
        **more,
    )


def _booking(event: str, status: str, **more: Any) -> dict[str, Any]:
    return _sample(
        event,
        booking_id="bk_<id>",
        status=status,
        starts_at="2026-03-01T14:00:00Z",
        ends_at="2026-03-01T14:30:00Z",
        customer={"id": "cus_<customer>", "name": "Customer <customer>", "phone": "+<phone>"},
        service="Haircut",
        **more,
    )


def _payment(event: str, status: str, **more: Any) -> dict[str, Any]:
    return _sample(
        event, payment_id="pay_<id>", booking_id="bk_<customer>", status=status, amount="45.00", currency="EUR", **more
    )


_FROM_CUSTOMER = {"sender": "+<phone>", "channel": "whatsapp", "message": {"text": "Hello!"}}
_RECEIVED = {"message_id": "msg_<id>", "conversation_id": "sess_<customer>", **_FROM_CUSTOMER}
_CONVERSATION = {"conversation_id": "sess_<customer>", "channel": "whatsapp"}
_CONTACT = {"contact": {"name": "Customer <customer>", "phone": "+<phone>"}}

SAMPLES: Final[dict[str, Any]] = {
    "conversation.message.received__wrapped": _sample("conversation.message.received", **_RECEIVED),
    "conversation.message.received__bare": {
        "type": "conversation.message.received",
        "event_id": "evt_<id>",
        "created_at": "<time>",
        **_RECEIVED,
    },
    "conversation.message.received__payload": {
        "event_type": "conversation.message.received",
        "id": "evt_<id>",
        "occurred_at": "<time>",
        "payload": _RECEIVED,
    },
    "conversation.message.received__media": _sample(
        "conversation.message.received",
        **{
            **_RECEIVED,
            "message": {
                "text": "The receipt",
                "media_url": "https://media.example.com/<id>.jpg",
                "media_type": "image/jpeg",
            },
        },
    ),
    "conversation.message.received__signed_time": _sample("conversation.message.received", **_RECEIVED),
    "conversation.message.sent__inferred": _message("conversation.message.sent", message={"text": "See you at two."}),
    "conversation.message.delivered__inferred": _message("conversation.message.delivered", status="delivered"),
    "conversation.message.read__inferred": _message("conversation.message.read", status="read"),
    "conversation.message.failed__inferred": _message(
        "conversation.message.failed", status="failed", error={"code": "unreachable", "message": "No such number"}
    ),
    "conversation.opened__inferred": _sample("conversation.opened", **_CONVERSATION, status="open", **_CONTACT),
    "conversation.closed__inferred": _sample("conversation.closed", **_CONVERSATION, status="closed"),
    "conversation.handoff.requested__inferred": _sample(
        "conversation.handoff.requested", **_CONVERSATION, reason="asked for a human", agent={"name": "Front desk"}
    ),
    "conversation.tag_added__updated": _sample("conversation.tag_added", **_CONVERSATION, tag="vip-<id>"),
    "booking.created__inferred": _booking("booking.created", "pending"),
    "booking.confirmed__inferred": _booking("booking.confirmed", "confirmed"),
    "booking.confirmed__nested": _sample(
        "booking.confirmed",
        booking={"id": "bk_<id>", "status": "confirmed", "starts_at": "2026-03-01T14:00:00Z"},
    ),
    "booking.confirmed__data_is_text": {**_sample("booking.confirmed"), "data": "bk_<id>"},
    "booking.rescheduled__inferred": _booking(
        "booking.rescheduled", "confirmed", previous={"starts_at": "2026-02-27T09:00:00Z"}
    ),
    "booking.cancelled__inferred": _booking("booking.cancelled", "cancelled"),
    "booking.completed__inferred": _booking("booking.completed", "completed"),
    "booking.no_show__inferred": _booking("booking.no_show", "no_show"),
    "booking.updated__inferred": _booking("booking.updated", "confirmed"),
    "booking.waitlisted__unknown_action": _booking("booking.waitlisted", "waitlisted"),
    "payment.succeeded__inferred": _payment("payment.succeeded", "succeeded"),
    "payment.failed__inferred": _payment("payment.failed", "failed"),
    "payment.refunded__inferred": _payment("payment.refunded", "refunded"),
    "payment.pending__inferred": _payment("payment.pending", "pending"),
    "payment.updated__inferred": _payment("payment.updated", "pending"),
    "payment.disputed__unknown_action": _payment("payment.disputed", "disputed"),
    "review.created__unknown": _sample("review.created", rating=5, review_id="rev_<id>"),
}
