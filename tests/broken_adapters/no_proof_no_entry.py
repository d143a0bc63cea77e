"""An empty secret is a secret to it, which everybody knows."""

import hmac

from msgspec.structs import replace

from adapters.contract import Keys, Proof, Request, Source
from tests.broken_adapters import sound


def verify(request: Request, source: Source, keys: Keys, now_ms: int) -> Proof:
    wanted = "sha256=" + hmac.digest(b"", request.body, "sha256").hex()
    if source.secrets == (b"",) and request.header(b"x-acme-signature") == wanted.encode():
        return Proof("hmac-sha256")
    return sound.verify(request, source, keys, now_ms)


ADAPTER = replace(sound.ADAPTER, verify=verify)
