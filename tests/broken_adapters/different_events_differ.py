"""It tells events by their account alone."""

from msgspec.structs import replace

from adapters.contract import Draft, Ignored, VerifiedRequest
from tests.broken_adapters import sound

believes_itself = True


def normalise(verified: VerifiedRequest) -> list[Draft] | Ignored:
    drafts = sound.normalise(verified)
    return [replace(draft, dedupe=draft.dedupe[:2]) for draft in drafts] if isinstance(drafts, list) else drafts


ADAPTER = replace(sound.ADAPTER, normalise=normalise)
