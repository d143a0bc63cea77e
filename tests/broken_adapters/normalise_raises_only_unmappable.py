"""It trusts that text is text."""

from msgspec.structs import replace

from adapters.contract import Draft, Ignored, VerifiedRequest
from tests.broken_adapters import sound


def _trimmed(draft: Draft) -> Draft:
    if "text" in draft.raw:
        draft.raw["text"].strip()
    return draft


def normalise(verified: VerifiedRequest) -> list[Draft] | Ignored:
    drafts = sound.normalise(verified)
    return [_trimmed(draft) for draft in drafts] if isinstance(drafts, list) else drafts


ADAPTER = replace(sound.ADAPTER, normalise=normalise)
