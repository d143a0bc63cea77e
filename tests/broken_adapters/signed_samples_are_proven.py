"""It signs without saying with what."""

from msgspec.structs import replace

from adapters.contract import Source
from tests.broken_adapters import sound


def sign(body: bytes, source: Source, now_ms: int) -> dict[str, str]:
    headers = sound.sign(body, source, now_ms)
    return {**headers, "x-acme-signature": headers["x-acme-signature"].removeprefix("sha256=")}


ADAPTER = replace(sound.ADAPTER, sign=sign)
