"""It lets the attempt into the ordering key."""

from msgspec.structs import replace

from adapters.contract import Draft, Ignored, VerifiedRequest
from adapters.decoding import decode_object
from adapters.reading import ident
from tests.broken_adapters import sound

believes_itself = True


def _attempt(verified: VerifiedRequest) -> str | None:
    return ident(decode_object(verified.body).get("attempt"))


def normalise(verified: VerifiedRequest) -> list[Draft] | Ignored:
    drafts = sound.normalise(verified)
    return [replace(draft, ordering_key=_attempt(verified)) for draft in drafts] if isinstance(drafts, list) else drafts


ADAPTER = replace(sound.ADAPTER, normalise=normalise)
