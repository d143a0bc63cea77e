"""Providers that do not exist: one that sends many events in a request, and one whose adapter breaks its contract.

Named by path in the tests' configurations, as somebody's own adapter would be.
"""

from typing import Any

from adapters.contract import Adapter, Draft, Ignored, Keys, NotProven, Proof, Request, Source, VerifiedRequest
from adapters.reading import read_object
from schemas.event import Message, Other


def verify(request: Request, source: Source, keys: Keys, now_ms: int) -> Proof:
    """Proven by saying please; a body that says so makes it fail in ways the contract forbids."""
    if request.header(b"x-please") != b"yes":
        raise NotProven("it did not say please")
    if request.body == b"defect in verify":
        raise KeyError("a secret value")
    return Proof("please")


def normalise(verified: VerifiedRequest) -> list[Draft] | Ignored:
    """``{"items": [{"id", "key", "type"?}, …]}``, one event each; without items it is ignored."""
    if verified.body == b"defect in normalise":
        raise RuntimeError("a secret value")
    body = read_object(verified)
    items: list[dict[str, Any]] = body.get("items", [])
    if "items" not in body:
        return Ignored("ping", "nothing happened")
    return [
        Draft(
            type=item.get("type", "message.received"),
            data=Other(name="x", payload={}) if item.get("wrong_family") else Message(),
            dedupe=("item", item["id"]),
            raw=item,
            provider_type="item",
            ordering_key=item.get("key"),
        )
        for item in items
    ]


def sample(case: str, seed: int) -> bytes:
    """Not used."""
    return b'{"items":[]}'


def sign(body: bytes, source: Source, now_ms: int) -> dict[str, str]:
    """Say please."""
    return {"x-please": "yes"}


ADAPTER = Adapter(
    name="adapters_for_tests",
    version=1,
    title="Many",
    documentation=(),
    proven_by="the header x-please",
    settings=(),
    ack_deadline_s=None,
    retry_horizon_s=0,
    redacts=(),
    event_map={"item": "message.received"},
    ignored={"ping": "nothing happened"},
    cases=("item",),
    verify=verify,
    normalise=normalise,
    sample=sample,
    sign=sign,
)
