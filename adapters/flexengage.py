"""flexEngage: receipts by SMS. Documentation: docs.flexengage.com (integration guide, signature verification).

D = documented, I = inferred. What a body holds: ``schemas/flexengage.py``.

- Proof, D: ``x-fr-wh-authorization`` holds the base64 of an RSA signature with SHA-256 over the raw body; that its
  padding is PKCS#1 v1.5 is I (and holds for the page's own example). ``x-fr-wh-pk`` names where the public key is, in
  PEM; keys may change from one request to the next, D.
- That header is the sender's to write, so it may only name https, an allow-listed host spelled exactly, no user, the
  default port. The test host counts only where the source says ``environment = "test"``. A source may pin a key
  instead.
- The key proves flexEngage, not the brand: another customer's genuine request would verify too. So a source lists its
  ``accounts``, and the signed ``brandId`` must be one of them. That is looked at after the signature, not before.
- One name is published, D: ``NOTIFICATION.SMS.RECEIPT``. It is read as "an SMS was sent", I. Other names: ``other``.
- A retry has a new ``attemptId``, D, so its body differs: an event is told by brand and ``id``, D.
- Retries for up to 1 h, D. A webhook that fails too often may be disabled, D. Acknowledgement: not documented.

flexms and withflex are other companies.
"""

import binascii
from base64 import b64encode
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
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
    Unmappable,
    VerifiedRequest,
)
from adapters.decoding import Unreadable, decode_object
from adapters.proving import is_open
from adapters.reading import e164, ident, other, read_object, table, text
from adapters.sampling import fill
from schemas.event import Content, Message, Party
from schemas.flexengage import BRAND, SAMPLES
from schemas.timestamps import canonical

_SIGNATURE = b"x-fr-wh-authorization"
_KEY = b"x-fr-wh-pk"
_HOSTS: Final = {
    "production": (b"assets.webhooks.flexengage.com",),
    "test": (b"assets.webhooks.flexengage.com", b"assets.webhooks.flexengage-test.com"),
}
"""environment → hosts whose keys count."""
_PATH_BYTES: Final = frozenset(range(0x21, 0x7F)) - frozenset(b'"#<>\\^`{|}')
"""What may follow the host: RFC 3986 without the fragment. So no parser can find another host in it than we did."""
_MAX_URL_BYTES = 2_048

_EVENT_MAP: Final = {"NOTIFICATION.SMS.RECEIPT": "message.sent"}


def key_wanted(request: Request, source: Source) -> str | None:
    """The URL of the public key, unless one is pinned. Raises ``NotProven`` for a place keys cannot come from."""
    if is_open(source):
        return None
    _signature(request)  # a request without one is refused before anything is fetched for it
    return None if source.public_key else _key_url(request, source)


def verify(request: Request, source: Source, keys: Keys, now_ms: int) -> Proof:
    """Check the signature over the raw body, then whose account it is."""
    if is_open(source):
        return Proof("unauthenticated")
    if not source.accounts:
        raise NotProven("no account is configured; check the setting accounts")
    signature = _signature(request)
    pem = source.public_key or keys.get(_key_url(request, source))
    if pem is None:
        raise NotProven("there is no key at the URL in the header x-fr-wh-pk")
    key = _public_key(pem)
    if key is None:
        raise NotProven("what stands at the URL in x-fr-wh-pk, or in the setting public_key, is no RSA key in PEM")
    try:
        key.verify(signature, request.body, _PADDING, _HASH)
    except InvalidSignature:
        raise NotProven("the header x-fr-wh-authorization does not fit the body and the key") from None
    if _brand(request.body) not in source.accounts:
        raise NotProven("the signed brandId is none of the source's accounts; check the setting accounts")
    return Proof("rsa-sha256")


_PADDING, _HASH = PKCS1v15(), SHA256()


def _signature(request: Request) -> bytes:
    given = request.header(_SIGNATURE)
    if given is None:
        raise NotProven("the header x-fr-wh-authorization is missing")
    try:
        signature = binascii.a2b_base64(given, strict_mode=True)
    except ValueError:
        signature = b""
    if not signature or b64encode(signature) != given:  # one signature, one spelling
        raise NotProven("the header x-fr-wh-authorization is not base64")
    return signature


def _key_url(request: Request, source: Source) -> str:
    url = request.header(_KEY)
    if url is None:
        raise NotProven("the header x-fr-wh-pk is missing")
    for host in _HOSTS.get(source.environment, ()):
        plain = b"https://" + host + b"/"
        for start in (plain, b"https://" + host + b":443/"):
            if url.startswith(start) and len(url) <= _MAX_URL_BYTES and _PATH_BYTES.issuperset(url[len(start) :]):
                # Without the port that goes without saying: one key, one spelling, and the fetcher takes no other.
                return (plain + url[len(start) :]).decode("ascii")
    raise NotProven("the header x-fr-wh-pk does not lead to flexEngage's key host; check the setting environment")


@lru_cache(maxsize=64)
def _public_key(pem: bytes) -> RSAPublicKey | None:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, RSAPublicKey) else None


def _brand(body: bytes) -> str | None:
    try:
        return text(decode_object(body).get("brandId"))
    except Unreadable:
        return None


def normalise(verified: VerifiedRequest) -> list[Draft]:
    """One event a request."""
    body = read_object(verified)
    name = text(body.get("type"))
    data = body.get("data")
    fields = table(data)
    event_id, brand = ident(body.get("id")), ident(body.get("brandId"))
    phone = ident(fields.get("phoneNumber"))
    created = canonical(body.get("created"))
    canonical_type = _EVENT_MAP.get(name) if name else None
    if name is None or canonical_type is None:
        return [
            other(
                body,
                name,
                (name, brand, event_id),
                provider_id=event_id,
                occurred_at=created,
                account=brand,
                ordering_key=phone or event_id,
                origin="test" if verified.source.environment == "test" else "live",
            )
        ]
    if data is not fields:
        raise Unmappable(f"{name}: data is not an object")
    words, locale = text(fields.get("message")), text(fields.get("locale"))
    return [
        Draft(
            type=canonical_type,
            data=Message(
                direction="outbound",
                recipient=Party(id=phone, phone=e164(phone) or UNSET, role="customer") if phone else UNSET,
                content=Content(type="text", text=words) if words else UNSET,
                metadata={"locale": locale} if locale else UNSET,
            ),
            dedupe=(name, brand, event_id),
            raw=body,
            provider_type=name,
            provider_id=event_id,
            occurred_at=created,
            account=brand,
            channel="sms",
            ordering_key=phone or event_id,
            origin="test" if verified.source.environment == "test" else "live",
        )
    ]


def sample(case: str, seed: int) -> bytes:
    """A body as flexEngage writes it."""
    return fill(SAMPLES, case, seed)


def sign(body: bytes, source: Source, now_ms: int) -> dict[str, str]:
    """The headers flexEngage sends.

    Only flexEngage has its private key. The simulator signs with its own: ``source.options`` holds it in PEM as
    ``signing_key``, and as ``key_url`` where its public half stands.
    """
    headers = {"content-type": "application/json"}
    if (pem := source.options.get("signing_key")) is not None:
        signature = _private_key(pem if isinstance(pem, bytes) else str(pem).encode()).sign(body, _PADDING, _HASH)
        headers["x-fr-wh-authorization"] = b64encode(signature).decode()
    if (url := source.options.get("key_url")) is not None:
        headers["x-fr-wh-pk"] = str(url)
    return headers


@lru_cache(maxsize=8)
def _private_key(pem: bytes) -> RSAPrivateKey:
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, RSAPrivateKey):
        raise TypeError("the option signing_key is no RSA key")
    return key


ADAPTER: Final = Adapter(
    name="flexengage",
    version=1,
    title="flexEngage",
    documentation=(
        "https://docs.flexengage.com/webhooks/webhooks-integration-guide.html",
        "https://docs.flexengage.com/webhooks/signature-verification.html",
        "https://docs.flexengage.com/webhooks-api.html",
        "https://docs.flexengage.com/webhooks/supported-event-types.html",
    ),
    proven_by="RSA signature with SHA-256 of the raw body in x-fr-wh-authorization, and the signed brandId",
    settings=(
        Setting(
            name="accounts",
            kind="texts",
            doc="your brand ids; the key proves the provider, not the brand",
            example=f'accounts = ["{BRAND}"]',
            required=True,
            proof=True,
        ),
        Setting(
            name="environment",
            kind="text",
            doc="test: keys from flexEngage's test host count too, and events are marked as test",
            example='environment = "test"',
            choices=("production", "test"),
        ),
        Setting(
            name="public_key",
            kind="file",
            doc="a pinned public key in PEM, instead of fetching the one a request names",
            example='public_key = "file:flex.pem"',
        ),
    ),
    ack_deadline_s=None,
    retry_horizon_s=3_600,
    redacts=(),
    event_map=_EVENT_MAP,
    ignored={},
    cases=tuple(SAMPLES),
    verify=verify,
    normalise=normalise,
    sample=sample,
    sign=sign,
    key_wanted=key_wanted,
    setup="Ask flexEngage's support to enable notifications for your brand, then make a webhook for {url} with the "
    "call below; the URL must be https. Put your brand id into this source's accounts.",
    management={
        "register": "POST https://api.flexengage.com/v1/{brandId}/webhooks  (Authorization: Bearer …)  "
        '{"endpoint": "{url}", "events": ["NOTIFICATION.SMS.RECEIPT"], "enabled": true}  → 201 with Location',
        "enable or disable": 'PATCH https://api.flexengage.com/v1/{brandId}/webhooks/{id}  {"enabled": true}',
        "events of 7 days": "GET https://api.flexengage.com/v1/{brandId}/webhooks/{id}/events",
    },
)
