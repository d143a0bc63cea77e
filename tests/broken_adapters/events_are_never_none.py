"""An empty list of events is an empty list of events to it."""

from msgspec.structs import replace

from adapters.contract import Draft, Ignored, Unmappable, VerifiedRequest
from tests.broken_adapters import sound


def normalise(verified: VerifiedRequest) -> list[Draft] | Ignored:
    drafts: list[Draft] | Ignored
    try:
        drafts = sound.normalise(verified)
    except Unmappable:
        if b'"events":[]' not in verified.body:
            raise
        drafts = []
    return drafts


ADAPTER = replace(sound.ADAPTER, normalise=normalise)
