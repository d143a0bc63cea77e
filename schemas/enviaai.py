"""What enviaai sends (docs.enviaai.app: webhooks overview, concepts, set-up guide).

The envelope, documented::

    event      string    the name, one of the eight below
    timestamp  string    ISO 8601, UTC
    data       object    by event:

    message.*            messageId, instanceId, chatId
    message.received     + from, type, content, contactName, isGroup, timestamp (may be missing)
    message.delivered    + to, status, deliveredAt            message.read: readAt
    message.failed       + to, status, error {code, message}
    instance.connected   instanceId, phone, profileName
    instance.disconnected   instanceId, reason
    instance.qr_updated  instanceId, qrCode (a login credential), expiresAt

Inferred: ``message.sent`` has the fields of ``message.delivered``; ``metadata`` given on sending comes back in
``data``; media come as ``mediaUrl``, ``mimeType``, ``filename``, ``caption``; ``eventId``, which the prose names,
stands beside ``event``. Phone numbers are WhatsApp's: international, without ``+``.
"""

from typing import Any, Final

_MESSAGE = {"messageId": "msg_<id>", "instanceId": "inst_xyz789", "chatId": "chat_<customer>"}
_INBOUND = {**_MESSAGE, "from": "<phone>"}
_OUTBOUND = {**_MESSAGE, "to": "<phone>"}
_WHO = {"timestamp": "<time>", "contactName": "Customer <customer>", "isGroup": False}
_IMAGE = {"mediaUrl": "https://media.example.com/<id>.jpg", "mimeType": "image/jpeg", "filename": "photo.jpg"}


def _sample(event: str, data: object) -> dict[str, Any]:
    return {"event": event, "timestamp": "<time>", "data": data}


SAMPLES: Final[dict[str, Any]] = {
    "message.received__documented": _sample(
        "message.received", {**_INBOUND, "type": "text", "content": "Hello!", **_WHO}
    ),
    "message.received__no_timestamp": _sample(
        "message.received", {**_INBOUND, "type": "text", "content": "Hello!", "isGroup": False}
    ),
    "message.received__image": _sample(
        "message.received", {**_INBOUND, "type": "image", **_IMAGE, "caption": "The receipt", **_WHO}
    ),
    "message.received__group": _sample(
        "message.received", {**_INBOUND, "type": "text", "content": "Hello all!", **_WHO, "isGroup": True}
    ),
    "message.received__event_id": {
        **_sample("message.received", {**_INBOUND, "type": "text", "content": "Hello!", **_WHO}),
        "eventId": "evt_<id>",
    },
    "message.received__data_null": {**_sample("message.received", None), "note": "<id>"},
    "message.sent__metadata": _sample(
        "message.sent", {**_OUTBOUND, "status": "sent", "metadata": {"orderId": "order_<id>"}}
    ),
    "message.delivered__documented": _sample(
        "message.delivered", {**_OUTBOUND, "status": "delivered", "deliveredAt": "<later>"}
    ),
    "message.read__documented": _sample("message.read", {**_OUTBOUND, "status": "read", "readAt": "<later>"}),
    "message.failed__documented": _sample(
        "message.failed",
        {
            **_OUTBOUND,
            "status": "failed",
            "error": {"code": "recipient_not_found", "message": "The recipient is not on WhatsApp"},
        },
    ),
    "message.edited__unknown": _sample("message.edited", {**_INBOUND, "content": "Hello again!"}),
    # An instance's events have no id of their own, so a fresh event is one of a fresh instance.
    "instance.connected__documented": _sample(
        "instance.connected", {"instanceId": "inst_<id>", "phone": "5511999999999", "profileName": "My Business"}
    ),
    "instance.disconnected__documented": _sample(
        "instance.disconnected", {"instanceId": "inst_<id>", "reason": "logged_out"}
    ),
    "instance.qr_updated__documented": _sample(
        "instance.qr_updated",
        {"instanceId": "inst_<id>", "qrCode": "data:image/png;base64,<id>", "expiresAt": "<later>"},
    ),
}
