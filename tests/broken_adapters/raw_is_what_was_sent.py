"""It keeps of raw what it knows."""

from typing import Any

from msgspec.structs import replace

from adapters.contract import Draft, Ignored, VerifiedRequest
from tests.broken_adapters import sound

_KNOWN = ("event", "id", "at", "chat", "from", "text", "key")


def _known(raw: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in raw.items() if name in _KNOWN}


def normalise(verified: VerifiedRequest) -> list[Draft] | Ignored:
    drafts = sound.normalise(verified)
    return [replace(draft, raw=_known(draft.raw)) for draft in drafts] if isinstance(drafts, list) else drafts


ADAPTER = replace(sound.ADAPTER, normalise=normalise)
