"""What the generic chat provider sends (docs.oneroute.io, "Receiving Events - Webhooks").

Documented, ``newMessage``::

    event         string
    message       object or null    sender {name, authUser, lastActivity}, externalId, content, contentType ("TEXT"),
                                    imageUrl, videoUrl, documentUrl, audioUrl, quoted_message_id, conversation_id
    conversation  object            id, subject, agent, customer {name, email}, lastMessageAt, status, country, read,
                                    createdAt, updatedAt, agent_id,
                                    Channel {id, phone, identifier, medium ("WHATSAPP"), credentials, description, name,
                                    type, provider, country, env ("LIVE"), status, webhookUrl}

Documented, ``smsDeliveryReport``: ``message`` is null and ``conversation`` is the SMS: id, externalId, status, reason,
from, to, units, delivered_time, createdAt. The page shows it as an API answer; that it is pushed too is inferred.

Inferred: ``sender.authUser`` true means that an agent wrote the message; ``message.id`` and ``message.createdAt`` may
be there; the statuses of an SMS besides ``delivered`` are pending, undelivered, failed and rejected.
"""

from typing import Any, Final

_CHANNEL = {
    "id": "8bad2edc-6f2c-4f6e-9d3f-0d1f6f1c1c55",
    "phone": None,
    "identifier": "support-line",
    "medium": "WHATSAPP",
    "credentials": None,
    "description": "Support",
    "name": "Support",
    "type": "CUSTOM",
    "provider": None,
    "country": "NG",
    "env": "LIVE",
    "status": "ACTIVE",
    "webhookUrl": "https://hooks.example.com/in/chat",
}
_CONVERSATION_ID = "bf9d96d9-e495-489a-a22a-206b0ea44d<customer>"


def _message(**more: Any) -> dict[str, Any]:
    return {
        "sender": {"name": "Customer <customer>", "authUser": False, "lastActivity": "<time>"},
        "externalId": None,
        "content": "Hello World! <id>",
        "contentType": "TEXT",
        "imageUrl": None,
        "videoUrl": None,
        "documentUrl": None,
        "audioUrl": None,
        "quoted_message_id": None,
        "conversation_id": _CONVERSATION_ID,
        **more,
    }


def _sample(message: dict[str, Any] | None, *, event: str = "newMessage", **channel: Any) -> dict[str, Any]:
    return {
        "event": event,
        "message": message,
        "conversation": {
            "id": _CONVERSATION_ID,
            "subject": None,
            "agent": None,
            "customer": {"name": "Customer <customer>", "email": "customer<customer>@example.com"},
            "lastMessageAt": "<time>",
            "status": "in-queue",
            "country": "NG",
            "read": False,
            "createdAt": "2022-01-29T07:27:52.676Z",
            "updatedAt": "<later>",
            "agent_id": None,
            "Channel": {**_CHANNEL, **channel},
        },
    }


def _report(status: str, reason: str, delivered_time: str | None) -> dict[str, Any]:
    return {
        "event": "smsDeliveryReport",
        "message": None,
        "conversation": {
            "id": "<id>",
            "externalId": "ext-<id>",
            "status": status,
            "reason": reason,
            "from": "Name",
            "to": "12345678",
            "units": 0,
            "delivered_time": delivered_time,
            "createdAt": "<time>",
        },
    }


_AGENT = {"name": "Support desk", "authUser": True, "lastActivity": "<time>"}
_IMAGE = {"contentType": "IMAGE", "content": "The receipt", "imageUrl": "https://media.example.com/<id>.jpg"}

SAMPLES: Final[dict[str, Any]] = {
    "newMessage__documented": _sample(_message()),
    "newMessage__path_token": _sample(_message()),
    "newMessage__address": _sample(_message()),
    "newMessage__credentials": _sample(_message(), credentials={"apiKey": "key-<id>", "login": "support"}),
    "newMessage__image": _sample(_message(**_IMAGE, id="<uuid>", createdAt="<time>")),
    "newMessage__external_id": _sample(_message(externalId="wamid.<id>", quoted_message_id="wamid.quoted")),
    "newMessage.agent__auth_user": _sample(_message(sender=_AGENT)),
    "newMessage__null_message": {**_sample(None), "note": "<id>"},
    "newMessage__message_is_text": {**_sample(None), "message": "Hello <id>"},
    "smsDeliveryReport.delivered__documented": _report("delivered", "Message delivered to handset", "<later>"),
    "smsDeliveryReport.pending__documented": _report("pending", "Message accepted", None),
    "smsDeliveryReport.undelivered__reason": _report("undelivered", "Handset switched off", None),
    "smsDeliveryReport.failed__reason": _report("failed", "Invalid number", None),
    "smsDeliveryReport.rejected__reason": _report("rejected", "Blocked by the network", None),
    "smsDeliveryReport.buffered__unknown": _report("buffered", "Waiting", None),
    "conversationClosed__unknown": _sample(None, event="conversationClosed", credentials={"apiKey": "key-<id>"}),
}
