"""It masks a key that is text, but not one that is an object."""

from typing import Any

from msgspec.structs import replace

from adapters.contract import Draft, Ignored, VerifiedRequest
from adapters.decoding import decode_object
from tests.broken_adapters import sound


def normalise(verified: VerifiedRequest) -> list[Draft] | Ignored:
    drafts = sound.normalise(verified)
    if isinstance(drafts, list):
        for draft, event in zip(drafts, _events(verified), strict=False):
            if not isinstance(event["key"], str):
                draft.raw["key"] = event["key"]
    return drafts


def _events(verified: VerifiedRequest) -> list[dict[str, Any]]:
    events = decode_object(verified.body).get("events")
    return [event for event in events if "key" in event] if isinstance(events, list) else []


ADAPTER = replace(sound.ADAPTER, normalise=normalise)
