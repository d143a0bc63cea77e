"""It knows the first of several secrets only."""

from msgspec.structs import replace

from adapters.contract import Keys, Proof, Request, Source
from tests.broken_adapters import sound


def verify(request: Request, source: Source, keys: Keys, now_ms: int) -> Proof:
    return sound.verify(request, replace(source, secrets=source.secrets[:1]), keys, now_ms)


ADAPTER = replace(sound.ADAPTER, verify=verify)
