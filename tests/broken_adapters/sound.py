"""An adapter without a fault: notes, one or several a request. Invented; it is here to be broken.

A body is ``{account, attempt, events: [{event, id, at, chat, from, text, key}]}``; ``attempt`` counts in a retry.
"""

from typing import Any, Final

from msgspec import UNSET

from adapters.contract import (
    Adapter,
    Draft,
    Ignored,
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
from adapters.reading import ident, mask, other, party, read_object, text
from adapters.sampling import fill
from schemas.event import Content, Message
from schemas.timestamps import canonical

_PING = {"event": "ping"}
_NOTE = {
    "event": "note.added",
    "id": "note_<id>",
    "at": "<time>",
    "chat": "chat_<customer>",
    "from": "+<phone>",
    "text": "Hello!",
    "key": "key-<id>",
}
_SECOND = {**_NOTE, "id": "note_<uuid>", "text": "Hello again!"}


def _sample(*events: dict[str, str]) -> dict[str, Any]:
    return {"account": "acme-1", "attempt": 1, "events": list(events)}


SAMPLES: Final[dict[str, Any]] = {
    "note.added__one": _sample(_NOTE),
    "note.added__two": _sample(_NOTE, _PING, _SECOND),
    "note.added__no_list": {**_sample(), "events": "<id>"},
    "note.burned__unknown": _sample({**_NOTE, "event": "note.burned"}),
    "ping__alone": _sample(_PING),
}


def verify(request: Request, source: Source, keys: Keys, now_ms: int) -> Proof:
    if is_open(source):
        return Proof("unauthenticated")
    if not source.secrets:
        raise NotProven("no secret is configured; check the setting secrets")
    check_hmac(request, source, b"x-acme-signature", "sha256", bare=False)
    return Proof("hmac-sha256")


def normalise(verified: VerifiedRequest) -> list[Draft] | Ignored:
    body = read_object(verified)
    if "events" not in body:
        return [other(body, None, (None, verified.body_sha256))]
    events = body["events"]
    if not isinstance(events, list) or not events or not all(isinstance(event, dict) for event in events):
        raise Unmappable("events is not a list of objects")
    account = ident(body.get("account"))
    drafts = [draft(event, account, verified) for event in events if event.get("event") != "ping"]
    return drafts or Ignored("ping", "says only that the line is alive")


def draft(event: dict[str, Any], account: str | None, verified: VerifiedRequest) -> Draft:
    mask(event, "key")
    name, note_id, words = text(event.get("event")), ident(event.get("id")), text(event.get("text"))
    dedupe = (name, account, note_id)
    if name != "note.added":
        return other(event, name, dedupe, account=account)
    return Draft(
        type="message.received",
        data=Message(
            message_id=note_id or UNSET,
            direction="inbound",
            sender=party(event.get("from"), "customer"),
            content=Content(type="text", text=words) if words else UNSET,
        ),
        dedupe=dedupe,
        raw=event,
        provider_type=name,
        provider_id=note_id,
        occurred_at=canonical(event.get("at")),
        account=account,
        ordering_key=ident(event.get("chat")),
    )


def sample(case: str, seed: int) -> bytes:
    return fill(SAMPLES, case, seed)


def sign(body: bytes, source: Source, now_ms: int) -> dict[str, str]:
    return {"content-type": "application/json", "x-acme-signature": "sha256=" + sign_hmac(body, source, "sha256")}


ADAPTER: Final = Adapter(
    name="sound",
    version=1,
    title="Acme",
    documentation=("https://acme.example/webhooks",),
    proven_by="HMAC-SHA256 of the raw body, as sha256=<hex> in X-Acme-Signature",
    settings=(
        Setting(
            name="secrets",
            kind="secrets",
            doc="the webhook's secrets",
            example='secrets = ["env:ACME_SECRET"]',
            required=True,
            proof=True,
        ),
    ),
    ack_deadline_s=5.0,
    retry_horizon_s=60,
    redacts=("events.*.key",),
    event_map={"note.added": "message.received"},
    ignored={"ping": "says only that the line is alive"},
    cases=tuple(SAMPLES),
    verify=verify,
    normalise=normalise,
    sample=sample,
    sign=sign,
    setup="Enter {url} as the webhook URL.",
)
