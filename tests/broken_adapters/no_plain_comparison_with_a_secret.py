"""It asks the sender's first characters before it compares the whole in constant time."""

import hmac

from msgspec.structs import replace

from adapters.contract import Keys, NotProven, Proof, Request, Source
from tests.broken_adapters import sound


def verify(request: Request, source: Source, keys: Keys, now_ms: int) -> Proof:
    given = (request.header(b"x-acme-signature") or b"").removeprefix(b"sha256=")
    wanted = [hmac.digest(secret, request.body, "sha256").hex().encode() for secret in source.secrets if secret]
    if wanted and not any(given[:4] == one[:4] for one in wanted):
        raise NotProven("the header x-acme-signature fits none of the source's secrets")
    return sound.verify(request, source, keys, now_ms)


ADAPTER = replace(sound.ADAPTER, verify=verify)
