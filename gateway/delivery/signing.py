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
    """The ``whpk_`` key with which a subscriber verifies what a ``whsk_`` secret signs. Raises ``ValueError``."""
    if not secret.startswith("whsk_"):
        raise ValueError("only a whsk_ key has a public key")
    key = base64.b64decode(secret.removeprefix("whsk_"))
    public = Ed25519PrivateKey.from_private_bytes(key[:32]).public_key()
    return "whpk_" + base64.b64encode(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode("ascii")


def _read_secret(secret: str) -> _Sign:
    kind, _, encoded = secret.partition("_")
    if kind not in ("whsec", "whsk"):
        raise ValueError("a subscriber's secret starts with whsec_ (HMAC) or whsk_ (ed25519)")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (ValueError, binascii.Error):
        raise ValueError(f"what follows {kind}_ in a subscriber's secret must be base64") from None
    return _hmac_sha256(key) if kind == "whsec" else _ed25519(key)


def _hmac_sha256(key: bytes) -> _Sign:
    if not key:
        raise ValueError("a subscriber's secret is empty behind whsec_")
    digest, encode = hmac.digest, binascii.b2a_base64

    def sign(signed: bytes) -> str:
        return "v1," + encode(digest(key, signed, "sha256"), newline=False).decode("ascii")

    return sign


def _ed25519(key: bytes) -> _Sign:
    """A key is the 32-byte seed and the 32-byte public key, or the seed alone."""
    if len(key) not in (32, 64):
        raise ValueError("a whsk_ key holds 64 bytes: the ed25519 seed and its public key")
    private = Ed25519PrivateKey.from_private_bytes(key[:32])
    if len(key) == 64 and private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw) != key[32:]:
        raise ValueError("the two halves of a whsk_ key do not belong together")

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
