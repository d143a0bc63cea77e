"""It passes the provider's time on as it is written."""

from msgspec.structs import replace

from adapters.contract import Draft, Ignored, VerifiedRequest
from tests.broken_adapters import sound


def _with_time_as_written(draft: Draft) -> Draft:
    return draft if draft.type == "other" else replace(draft, occurred_at=draft.raw.get("at"))


def normalise(verified: VerifiedRequest) -> list[Draft] | Ignored:
    drafts = sound.normalise(verified)
    return [_with_time_as_written(draft) for draft in drafts] if isinstance(drafts, list) else drafts


ADAPTER = replace(sound.ADAPTER, normalise=normalise)
