"""It takes what was received for something that was sent."""

from msgspec.structs import replace

from adapters.contract import Draft, Ignored, VerifiedRequest
from tests.broken_adapters import sound


def normalise(verified: VerifiedRequest) -> list[Draft] | Ignored:
    drafts = sound.normalise(verified)
    if isinstance(drafts, list):
        drafts = [replace(draft, type="message.sent") if draft.type != "other" else draft for draft in drafts]
    return drafts


ADAPTER = replace(sound.ADAPTER, normalise=normalise)
