"""It proves the body without white space at its end."""

from msgspec.structs import replace

from adapters.contract import Keys, Proof, Request, Source
from tests.broken_adapters import sound


def verify(request: Request, source: Source, keys: Keys, now_ms: int) -> Proof:
    return sound.verify(replace(request, body=request.body.rstrip()), source, keys, now_ms)


ADAPTER = replace(sound.ADAPTER, verify=verify)
