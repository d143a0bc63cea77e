"""What the tests of the adapters share."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from adapters.contract import Adapter, Draft, Keys, NotProven, Proof, Request, Source, VerifiedRequest, prove

NOW_MS = 1_770_120_005_412
"""2026-02-03T12:00:05.412Z"""


def request(body: bytes, headers: Mapping[str, str | bytes] | None = None, **more: Any) -> Request:
    """A request with these headers."""
    pairs = tuple(
        (name.lower().encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in (headers or {}).items()
    )
    return Request(headers=pairs, body=body, **more)


def signed(adapter: Adapter, body: bytes, source: Source, **more: Any) -> Request:
    """A request as the provider would send it to this source."""
    return request(body, adapter.sign(body, source, NOW_MS), **more)


def refusal(adapter: Adapter, asked: Request, source: Source, keys: Keys | None = None) -> str:
    """Why a request is not proven; the test fails if it is."""
    with pytest.raises(NotProven) as caught:
        adapter.verify(asked, source, keys or {}, NOW_MS)
    return caught.value.reason


def method(adapter: Adapter, asked: Request, source: Source, keys: Keys | None = None) -> str:
    """How a request is proven."""
    return adapter.verify(asked, source, keys or {}, NOW_MS).method


def verified(adapter: Adapter, document: Any, source: Source | None = None) -> VerifiedRequest:
    """A body, taken as proven."""
    body = document if isinstance(document, bytes) else msgspec.json.encode(document)
    trusting = msgspec.structs.replace(adapter, verify=lambda *_: Proof("test"))
    return prove(trusting, request(body), source or Source(name="test"), {}, NOW_MS)


def draft(adapter: Adapter, document: Any, source: Source | None = None) -> Draft:
    """The one draft of a body."""
    drafts = adapter.normalise(verified(adapter, document, source))
    assert isinstance(drafts, list)
    (only,) = drafts
    return only


def data(only: Draft) -> Any:
    """A draft's data as JSON."""
    return msgspec.to_builtins(only.data)
