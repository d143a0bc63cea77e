"""What a request is, without sockets and stores: which of the four outcomes, and which ids its events have."""

import hashlib
import json
from typing import Any

import msgspec
import pytest

from adapters.contract import Ignored, Request, Source
from gateway.intake.pipeline import MAX_EVENTS_PER_REQUEST, Events, Outcome, Quarantined, Rejected, receive, request_id
from schemas.event import event_id
from schemas.timestamps import format_ms
from tests.intake.adapters_for_tests import ADAPTER

NOW_MS = 1_770_120_005_412
SOURCE = Source(name="many")


def outcome(document: Any, *, please: bytes = b"yes") -> Outcome:
    """What a body is; ``please`` proves it."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return receive(Request(((b"x-please", please),), body), SOURCE, ADAPTER, {}, NOW_MS)


def ids(items: list[dict[str, Any]]) -> list[str]:
    """The ids of the events of a request with these items."""
    found = outcome({"items": items})
    assert isinstance(found, Events)
    return [item.event.id for item in found.events]


def test_what_is_not_proven_is_rejected_before_it_is_read() -> None:
    """A body that could not even be mapped is rejected, not quarantined, and the reason is the proof's."""
    assert outcome(b"defect in normalise", please=b"no") == Rejected("it did not say please")


def test_what_is_proven_and_not_readable_is_quarantined() -> None:
    """An adapter's own refusal gives the reason; a defect of it is named without its text, which may be secret."""
    found = outcome(b"[]")
    assert isinstance(found, Quarantined)
    assert (found.reason, found.verified) == ("the body is JSON, but not an object", "please")
    assert outcome(b"defect in normalise") == Quarantined(
        "the adapter adapters_for_tests failed with RuntimeError", "please"
    )
    wrong = outcome({"items": [{"id": "1", "wrong_family": True}]})
    assert wrong == Quarantined(
        "the adapter adapters_for_tests maps to message.received with data of another family", "please"
    )


def test_what_an_adapter_ignores_is_ignored() -> None:
    """With its reason."""
    assert outcome({}) == Ignored("ping", "nothing happened")


@pytest.mark.parametrize(("number", "kept"), [(0, False), (1, True), (MAX_EVENTS_PER_REQUEST, True)])
def test_a_request_has_one_event_to_a_thousand(number: int, kept: bool) -> None:
    """None at all, and one more than the bound, go to quarantine, where somebody sees them."""
    items = [{"id": f"{each}"} for each in range(number)]
    assert isinstance(outcome({"items": items}), Events if kept else Quarantined)
    if number == MAX_EVENTS_PER_REQUEST:
        more = outcome({"items": [*items, {"id": "one more"}]})
        assert more == Quarantined("1001 events in one request; 1 to 1000 can be kept", "please")


def test_an_id_comes_from_source_and_dedupe_parts() -> None:
    """The source's name first; a retry of the request has the same ids."""
    items = [{"id": "1"}, {"id": "2"}]
    assert ids(items) == [event_id(["many", "item", "1"]), event_id(["many", "item", "2"])]
    assert ids(items) == ids(items)


@pytest.mark.parametrize("missing", [None, ""])
def test_a_missing_part_is_the_hash_of_the_body(missing: str | None) -> None:
    """So that two requests without an id are two events, and the same bytes again are one."""
    document = {"items": [{"id": missing}]}
    digest = hashlib.sha256(json.dumps(document).encode()).hexdigest()
    assert ids(document["items"]) == [event_id(["many", "item", digest])]
    assert ids([{"id": missing, "other": 1}]) != ids(document["items"])


def test_two_events_of_one_request_stay_two() -> None:
    """Those with the same parts are told apart by their place, the same in a retry."""
    first, second, third = ids([{"id": "1"}, {"id": "1"}, {"id": "1"}])
    assert first == event_id(["many", "item", "1"])
    assert second == event_id(["many", "item", "1", "#1"])
    assert third == event_id(["many", "item", "1", "#2"])


def test_an_event_says_where_it_comes_from() -> None:
    """Provider, source, adapter with its version, how it was proven, and the hash of the exact bytes; raw beside it."""
    document = {"items": [{"id": "1", "key": "chat"}]}
    found = outcome(document)
    assert isinstance(found, Events)
    (item,) = found.events
    event = json.loads(item.event_json)
    assert event["provenance"] == {
        "provider_type": "item",
        "provider_id": None,
        "adapter": "adapters_for_tests/1",
        "verified": "please",
        "raw_sha256": hashlib.sha256(json.dumps(document).encode()).hexdigest(),
    }
    assert (event["provider"], event["source"], event["ordering_key"]) == ("adapters_for_tests", "many", "chat")
    assert event["received_at"] == format_ms(NOW_MS) == "2026-02-03T12:00:05.412Z"
    assert msgspec.json.decode(item.raw_json) == document["items"][0]
    assert "raw" not in event


def test_requests_have_names_of_their_own() -> None:
    """One process never gives a name twice."""
    names = [request_id() for _ in range(1_000)]
    assert len(set(names)) == 1_000
    assert all(name.startswith("req_") for name in names)
    assert len({len(name) for name in names}) == 1
