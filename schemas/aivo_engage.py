"""What Aivo Engage sends (helpaivoen.aivohelp.com, article 698654; the Spanish article 696015 shows the same body).

One kind of body, documented::

    message_id       string    WhatsApp's id of the message, wamid.…
    message_status   string    sent, delivered, read, error     (the prose calls the field msg_status)
    channel          object    channel_type ("Whatsapp"), name, sender_id (the business's number)
    campaign         object    id, name
    event_name       string    msg_status
    event_timestamp  string    seconds since the epoch
    recipient        object    id (the customer's number)

Numbers are written without ``+``; on WhatsApp they are full international numbers.

Inferred: an ``error`` status says why in one of ``error``, ``errors``, ``reason``, ``description``, ``code``; nothing
of it is published.
"""

from typing import Any, Final


def _status(status: str, **more: Any) -> dict[str, Any]:
    return {
        "message_id": "wamid.<id>",
        "message_status": status,
        "channel": {"channel_type": "Whatsapp", "name": "Channel Name", "sender_id": "5491100000000"},
        "campaign": {"id": "074116ff-76f3-47b7-8be2-92f465718a3e", "name": "campaign name"},
        "event_name": "msg_status",
        "event_timestamp": "<epoch_s>",
        "recipient": {"id": "<phone>"},
        **more,
    }


def _as_the_prose_says(status: str) -> dict[str, Any]:
    body = _status(status)
    return {("msg_status" if name == "message_status" else name): value for name, value in body.items()}


SAMPLES: Final[dict[str, Any]] = {
    "msg_status.delivered__documented": _status("delivered"),
    "msg_status.sent__documented": _status("sent"),
    "msg_status.read__documented": _status("read"),
    "msg_status.read__as_the_prose_says": _as_the_prose_says("read"),
    "msg_status.error__description": _status("error", code=131026, description="Message undeliverable"),
    "msg_status.error__list": _status("error", errors=[{"code": "131047", "title": "Re-engagement message"}]),
    "msg_status.queued__unknown": _status("queued"),
    "campaign_finished__unknown": {
        "event_name": "campaign_finished",
        "event_timestamp": "<epoch_s>",
        "campaign": {"id": "<uuid>", "name": "campaign name"},
    },
}
