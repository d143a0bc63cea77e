"""It takes null for an event without a name."""

from msgspec.structs import replace

from adapters.contract import Draft, Ignored, VerifiedRequest
from adapters.reading import other
from tests.broken_adapters import sound


def normalise(verified: VerifiedRequest) -> list[Draft] | Ignored:
    if verified.body == b"null":
        return [other({}, None, (None, verified.body_sha256))]
    return sound.normalise(verified)


ADAPTER = replace(sound.ADAPTER, normalise=normalise)
