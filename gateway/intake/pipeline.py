"""What a request is: pure, from bytes to one of four outcomes.

::

    receive(request, source, adapter, keys, now_ms)
        prove       NotProven   → Rejected      401; counted, a sample of the bytes kept for operators
        normalise   Unmappable  → Quarantined   200; the exact bytes kept, can be normalised again
                    Ignored     → Ignored       200; counted
                    [Draft, …]  → Events        200 once they are on disk

The order matters: nothing is parsed before it is proven, and nothing unproven can become a duplicate of anything.
"""

import itertools
import secrets

import msgspec

from adapters.contract import (
    Adapter,
    Draft,
    Ignored,
    Keys,
    NotProven,
    Request,
    Source,
    Unmappable,
    VerifiedRequest,
    prove,
)
from schemas.event import FAMILY_OF, SCHEMA_VERSION, Event, Provenance, event_id
from schemas.timestamps import format_ms

MAX_EVENTS_PER_REQUEST = 1_000
"""More in one request is no webhook but an import; it goes to quarantine, where an operator sees it."""

_encode = msgspec.json.Encoder().encode


class Item(msgspec.Struct, frozen=True, gc=False):
    """One event, ready for the log: decoded for who wants to look, encoded for who wants to keep it."""

    event: Event
    """Without ``raw``."""
    event_json: bytes
    """The event without ``raw``, compact JSON."""
    raw_json: bytes
    """What the provider sent for it, redacted and encoded anew by us."""


class Events(msgspec.Struct, frozen=True):
    """Proven and mapped."""

    events: tuple[Item, ...]


class Quarantined(msgspec.Struct, frozen=True):
    """Proven, not mappable."""

    reason: str
    verified: str
    """How it was proven, as in ``provenance.verified``."""


class Rejected(msgspec.Struct, frozen=True):
    """Not proven. The reason is for operators, never for the sender."""

    reason: str


Outcome = Events | Ignored | Quarantined | Rejected


def receive(request: Request, source: Source, adapter: Adapter, keys: Keys, now_ms: int) -> Outcome:
    """Say what a request is. Never raises for anything a sender can write.

    ``keys`` holds the public key the adapter asked for with ``key_wanted``, if any; ``now_ms`` is milliseconds since
    the epoch. An adapter that breaks its contract in ``normalise`` loses nothing: what is proven is quarantined.
    """
    try:
        verified = prove(adapter, request, source, keys, now_ms)
    except NotProven as error:
        return Rejected(error.reason)
    return understand(verified, adapter, now_ms)


def understand(verified: VerifiedRequest, adapter: Adapter, received_ms: int) -> Events | Ignored | Quarantined:
    """Map a proven request. Used by ``receive``, and again when quarantine is retried after an adapter was mended."""
    method = verified.proof.method
    try:
        drafts = adapter.normalise(verified)
        if isinstance(drafts, Ignored):
            return drafts
        if not 0 < len(drafts) <= MAX_EVENTS_PER_REQUEST:
            return Quarantined(
                f"{len(drafts)} events in one request; 1 to {MAX_EVENTS_PER_REQUEST} can be kept", method
            )
        return Events(tuple(_items(drafts, verified, adapter, received_ms)))
    except Unmappable as error:
        return Quarantined(error.reason, method)
    except Exception as error:  # an adapter's defect must not cost an event; the class is named, its text may be secret
        return Quarantined(f"the adapter {adapter.name} failed with {type(error).__name__}", method)


def _items(drafts: list[Draft], verified: VerifiedRequest, adapter: Adapter, received_ms: int) -> list[Item]:
    source, body_sha256 = verified.source, verified.body_sha256
    received_at = format_ms(received_ms)
    adapter_version = f"{adapter.name}/{adapter.version}"
    items: list[Item] = []
    ids: set[str] = set()
    for draft in drafts:
        if FAMILY_OF.get(draft.type) is not type(draft.data):
            raise Unmappable(f"the adapter {adapter.name} maps to {draft.type} with data of another family")
        parts = [source.name, *[part or body_sha256 for part in draft.dedupe]]
        identity = event_id(parts)
        if identity in ids:  # two events of one request stay two; a retry counts them in the same order
            identity = event_id([*parts, f"#{len(items)}"])
        ids.add(identity)
        event = Event(
            id=identity,
            type=draft.type,  # type: ignore[arg-type]  # looked up in FAMILY_OF above
            schema=SCHEMA_VERSION,
            occurred_at=draft.occurred_at,
            received_at=received_at,
            provider=adapter.name,
            source=source.name,
            account=draft.account,
            channel=draft.channel,
            ordering_key=draft.ordering_key,
            origin=draft.origin,
            data=draft.data,
            provenance=Provenance(
                provider_type=draft.provider_type,
                provider_id=draft.provider_id,
                adapter=adapter_version,
                verified=verified.proof.method,
                raw_sha256=body_sha256,
            ),
        )
        items.append(Item(event, _encode(event), _encode(draft.raw)))
    return items


_PROCESS = "req_" + secrets.token_hex(6)
_count = itertools.count(1)


def request_id() -> str:
    """A fresh name for one request, for logs and answers: chance for the process, a count within it."""
    return f"{_PROCESS}{next(_count):08x}"
