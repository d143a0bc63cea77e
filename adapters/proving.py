"""Proofs that several providers share: an HMAC of the raw body in a header."""

import binascii
import hmac
from typing import Literal

from adapters.contract import NotProven, Request, Source, secrets_equal


def check_hmac(
    request: Request,
    source: Source,
    header: bytes,
    algorithm: Literal["sha256", "sha512"],
    *,
    bare: bool,
) -> None:
    """Check that ``header`` holds the HMAC of the body under one of the source's secrets, as ``<algorithm>=<hex>``.

    ``bare``: the hex digits may also stand alone. Raises ``NotProven``.
    """
    given = request.header(header)
    if given is None:
        raise NotProven(f"the header {header.decode()} is missing")
    marker = algorithm.encode() + b"="
    if given[: len(marker)].lower() == marker:
        given = given[len(marker) :]
    elif not bare:
        raise NotProven(f"the header {header.decode()} does not begin with {marker.decode()}")
    check_hex_hmac(given, request.body, source, algorithm, header)


def check_hex_hmac(
    given: bytes, signed: bytes, source: Source, algorithm: Literal["sha256", "sha512"], header: bytes
) -> None:
    """Check hex digits against the HMAC of ``signed`` under each secret. Raises ``NotProven``."""
    try:
        signature = binascii.unhexlify(given)  # unlike bytes.fromhex it allows no white space
    except ValueError:
        raise NotProven(f"the header {header.decode()} is not hex") from None
    for secret in source.secrets:
        if secret and secrets_equal(signature, hmac.digest(secret, signed, algorithm)):
            return
    raise NotProven(f"the header {header.decode()} fits none of the source's secrets; check its setting secrets")


def sign_hmac(body: bytes, source: Source, algorithm: Literal["sha256", "sha512"]) -> str:
    """The hex digits a provider would send, made with the newest secret."""
    return hmac.digest(source.secrets[0], body, algorithm).hex()


def is_open(source: Source) -> bool:
    """Whether the source asks for no proof at all: somebody typed that, and no proof is configured beside it."""
    configured = source.secrets or source.path_token_sha256 or source.allow_ips or source.public_key or source.accounts
    return source.unauthenticated and not configured
