"""It decodes the header and lets the error out."""

from msgspec.structs import replace

from adapters.contract import Keys, Proof, Request, Source
from tests.broken_adapters import sound


def verify(request: Request, source: Source, keys: Keys, now_ms: int) -> Proof:
    (request.header(b"x-acme-signature") or b"").decode("ascii")
    return sound.verify(request, source, keys, now_ms)


ADAPTER = replace(sound.ADAPTER, verify=verify)
