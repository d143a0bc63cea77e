"""It takes an empty text for a missing id."""

from msgspec.structs import replace

from adapters.contract import Draft, Ignored, VerifiedRequest
from tests.broken_adapters import sound


def normalise(verified: VerifiedRequest) -> list[Draft] | Ignored:
    drafts = sound.normalise(verified)
    return (
        [replace(draft, dedupe=tuple(part or "" for part in draft.dedupe)) for draft in drafts]
        if isinstance(drafts, list)
        else drafts
    )


ADAPTER = replace(sound.ADAPTER, normalise=normalise)
