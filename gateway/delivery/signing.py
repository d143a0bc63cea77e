"""Signing as in Standard Webhooks 1.0: pure.

``v1`` is HMAC-SHA256 with a ``whsec_`` secret, ``v1a`` is ed25519 with a ``whsk_`` key. Both sign
``<webhook-id>.<webhook-timestamp>.<body>``. All of a subscriber's secrets sign, so that a secret can be replaced
without a moment at which deliveries do not verify.

Source: the specification at github.com/standard-webhooks/standard-webhooks, "spec/standard-webhooks.md".
"""

import base64
import binascii
import hmac
import re
from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_Sign = Callable[[bytes], str]


class Signer:
    """All secrets of one subscriber, decoded once. Raises ``ValueError`` for one that is no secret; never shows it."""

    def __init__(self, secrets: Sequence[str]) -> None:
        if not secrets:
            raise ValueError("no secret: every delivery is signed")
        self._signs: tuple[_Sign, ...] = tuple(_read_secret(secret) for secret in secrets)

    def sign(self, event_id: str, timestamp_s: int, body: bytes) -> str:
        """The value of ``webhook-signature``: one signature for each secret, separated by spaces."""
        signed = f"{event_id}.{timestamp_s}.".encode() + body
        signs = self._signs
        if len(signs) == 1:
            return signs[0](signed)
        return " ".join([sign(signed) for sign in signs])

    def __repr__(self) -> str:
        return f"Signer({len(self._signs)} secrets)"


def public_key(secret: str) -> str:
    """The ``whpk_…`` of a ``whsk_…``: with it a subscriber verifies ``v1a``, and can sign nothing. Not a secret.

    Raises ``ValueError`` for anything but a ``whsk_`` key; never shows it.
    """
    kind, key = _decode_secret(secret)
    if kind != "whsk":
        raise ValueError("only a whsk_ key has a public half")
    return "whpk_" + base64.b64encode(_public_bytes(_private_key(key))).decode("ascii")


def _read_secret(secret: str) -> _Sign:
    kind, key = _decode_secret(secret)
    return _hmac_sha256(key) if kind == "whsec" else _ed25519(key)


def _decode_secret(secret: str) -> tuple[str, bytes]:
    kind, _, encoded = secret.partition("_")
    if kind not in ("whsec", "whsk"):
        raise ValueError("a subscriber's secret starts with whsec_ (HMAC) or whsk_ (ed25519)")
    try:
        return kind, base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (ValueError, binascii.Error):
        raise ValueError(f"what follows {kind}_ in a subscriber's secret must be base64") from None


def _hmac_sha256(key: bytes) -> _Sign:
    if not key:
        raise ValueError("a subscriber's secret is empty behind whsec_")
    digest, encode = hmac.digest, binascii.b2a_base64

    def sign(signed: bytes) -> str:
        return "v1," + encode(digest(key, signed, "sha256"), newline=False).decode("ascii")

    return sign


def _private_key(key: bytes) -> Ed25519PrivateKey:
    """A key is the 32-byte seed and the 32-byte public key, or the seed alone."""
    if len(key) not in (32, 64):
        raise ValueError("a whsk_ key holds 64 bytes: the ed25519 seed and its public key")
    private = Ed25519PrivateKey.from_private_bytes(key[:32])
    if len(key) == 64 and _public_bytes(private) != key[32:]:
        raise ValueError("the two halves of a whsk_ key do not belong together")
    return private


def _public_bytes(private: Ed25519PrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _ed25519(key: bytes) -> _Sign:
    private = _private_key(key)

    def sign(signed: bytes) -> str:
        return "v1a," + base64.b64encode(private.sign(signed)).decode("ascii")

    return sign


_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_OURS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def header_problem(name: str, value: str) -> str | None:
    """Why a subscriber may not have this header of its own, in words; ``None`` if it may.

    Not allowed are what would end or split the header, and names that frame, sign or describe the delivery.
    """
    if not _NAME.fullmatch(name):
        return f"{name!r} is not a header's name"
    lower = name.lower()
    if lower in _OURS or lower.startswith(("webhook-", "gateway-", "ce-")):
        return f"the header {lower} is the gateway's to write"
    if not _VALUE.fullmatch(value):
        return f"the value of the header {lower} may hold printable ASCII only"
    return None
