"""A message without text is a channel to it."""

from msgspec.structs import replace

from adapters.contract import Draft, Ignored, VerifiedRequest
from adapters.reading import table
from schemas.event import Channel
from tests.broken_adapters import sound


def _channel(draft: Draft) -> Draft:
    says_something = draft.type == "other" or table(draft.raw).get("text")
    return draft if says_something else replace(draft, data=Channel())


def normalise(verified: VerifiedRequest) -> list[Draft] | Ignored:
    drafts = sound.normalise(verified)
    return [_channel(draft) for draft in drafts] if isinstance(drafts, list) else drafts


ADAPTER = replace(sound.ADAPTER, normalise=normalise)
