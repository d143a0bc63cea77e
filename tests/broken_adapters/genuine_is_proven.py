"""It refuses a content type with a parameter, which the provider may write."""

from msgspec.structs import replace

from adapters.contract import Keys, NotProven, Proof, Request, Source
from tests.broken_adapters import sound


def verify(request: Request, source: Source, keys: Keys, now_ms: int) -> Proof:
    if (request.header(b"content-type") or b"application/json") != b"application/json" and not source.unauthenticated:
        raise NotProven("the content type is not JSON")
    return sound.verify(request, source, keys, now_ms)


ADAPTER = replace(sound.ADAPTER, verify=verify)
