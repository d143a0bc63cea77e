"""What flexEngage sends (docs.flexengage.com: integration guide, supported event types).

The envelope, documented::

    id         string    of the event; looks like a ULID
    brandId    string    the customer's account
    webhookId  string    of the subscription
    attemptId  string    of this attempt: another one in a retry, so the body differs
    created    string    ISO 8601, UTC
    type       string    hierarchical; one name is published: NOTIFICATION.SMS.RECEIPT
    data       object    documented for "these events": phoneNumber, message, locale

Inferred: that this ``data`` belongs to that name.
"""

from typing import Any, Final

BRAND: Final = "yourBrandId"
"""The account of the samples."""


def _sample(name: str, data: object) -> dict[str, Any]:
    return {
        "id": "<ulid>",
        "brandId": BRAND,
        "webhookId": "9e21c694-ee9e-48a7-b016-522fd8ef08c1",
        "attemptId": "<again>",
        "created": "<time>",
        "type": name,
        "data": data,
    }


SAMPLES: Final[dict[str, Any]] = {
    "NOTIFICATION.SMS.RECEIPT__documented": _sample(
        "NOTIFICATION.SMS.RECEIPT", {"phoneNumber": "+<phone>", "message": "I am an SMS message", "locale": "en-US"}
    ),
    "NOTIFICATION.SMS.RECEIPT__no_phone": _sample("NOTIFICATION.SMS.RECEIPT", {"message": "I am an SMS message"}),
    "NOTIFICATION.SMS.RECEIPT__data_missing": _sample("NOTIFICATION.SMS.RECEIPT", None),
    "NOTIFICATION.EMAIL.RECEIPT__unknown": _sample(
        "NOTIFICATION.EMAIL.RECEIPT", {"email": "customer<customer>@example.com", "subject": "Your receipt"}
    ),
}
