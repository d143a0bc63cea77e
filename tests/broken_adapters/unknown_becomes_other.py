"""It ignores what has no name."""

from msgspec.structs import replace

from adapters.contract import Draft, Ignored, VerifiedRequest
from tests.broken_adapters import sound


def normalise(verified: VerifiedRequest) -> list[Draft] | Ignored:
    if verified.body == b"{}":
        return Ignored("", "there is nothing in it")
    return sound.normalise(verified)


ADAPTER = replace(sound.ADAPTER, normalise=normalise)
