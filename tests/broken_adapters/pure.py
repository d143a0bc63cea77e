"""It looks at the clock."""

from time import time

from msgspec.structs import replace

from adapters.contract import Draft, Ignored, VerifiedRequest
from tests.broken_adapters import sound


def normalise(verified: VerifiedRequest) -> list[Draft] | Ignored:
    return sound.normalise(verified) if time() > 0 else []


ADAPTER = replace(sound.ADAPTER, normalise=normalise)
