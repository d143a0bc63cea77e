"""Several partitions: the events of one request go where they belong, and the account is that of one store."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.store.layout import partition_of
from tests.intake.served import PLEASE, Served, serving
from tests.support.stores import StoreServer

ADAPTER = Path(__file__).parent / "adapters_for_tests.py"
PARTITIONS = 4


@pytest.fixture
def gateway(valkey: StoreServer, tmp_path: Path) -> Iterator[Served]:
    """A gateway on four partitions."""
    config = f"""
    [store]
    url = "{valkey.url}"
    partitions = {PARTITIONS}
    [sources.many]
    adapter = "{ADAPTER}"
    unauthenticated = true
    """
    with serving(tmp_path, config, {}) as served:
        yield served


def send(gateway: Served, *items: tuple[str, str | None]) -> list[tuple[str, str]]:
    """One request with these events (id, ordering key); each event's id and status."""
    body = json.dumps({"items": [{"id": name, "key": key} for name, key in items]}).encode()
    answer = gateway.post("/in/many", body, PLEASE)
    assert answer.status == 200
    return [(event["id"], event["status"]) for event in answer.json["events"]]


def entries(gateway: Served) -> list[list[dict[str, str]]]:
    """The events of each partition, in order."""
    logs = [gateway.run(log.read(0, 10_000)) for log in gateway.gateway.logs]
    return [[json.loads(entry.event_json) for entry in found] for found in logs]


def test_each_event_is_where_its_key_leads(gateway: Served) -> None:
    """A request with many events is answered in their order, whatever partitions they are in, and counted once."""
    items = [(f"e{number}", f"chat_{number % 7}" if number % 3 else None) for number in range(60)]
    answers = send(gateway, *items)
    assert [status for _, status in answers] == ["logged"] * 60
    found = entries(gateway)
    places = {event["id"]: number for number, events in enumerate(found) for event in events}
    for (identity, _), (_, key) in zip(answers, items, strict=True):
        assert places[identity] == partition_of("many", key, identity, PARTITIONS)
    assert Counter(places.values()).keys() == set(range(PARTITIONS))
    by_key = [event["id"] for events in found for event in events if event["ordering_key"] == "chat_1"]
    assert by_key == [identity for (identity, _), (_, key) in zip(answers, items, strict=True) if key == "chat_1"]
    ledger = gateway.ledger()
    assert (ledger.requests.accepted, ledger.requests.received) == (1, 1)
    assert (ledger.events.produced, ledger.events.logged, ledger.unaccounted) == (60, 60, 0)


def test_duplicates_are_found_in_every_partition(gateway: Served) -> None:
    """A retry, whole or mixed with new events, is told event by event."""
    items = [(f"e{number}", f"chat_{number}") for number in range(20)]
    first = send(gateway, *items)
    assert send(gateway, *items) == [(identity, "duplicate") for identity, _ in first]
    mixed = send(gateway, *items[:10], *[(f"n{number}", f"chat_{number}") for number in range(10)])
    assert [status for _, status in mixed] == ["duplicate"] * 10 + ["logged"] * 10
    ledger = gateway.ledger()
    assert (ledger.events.produced, ledger.events.logged, ledger.events.duplicate) == (60, 30, 30)
    assert (ledger.requests.accepted, ledger.unaccounted) == (3, 0)


def test_the_other_outcomes_are_counted_once(gateway: Served) -> None:
    """Ignored, quarantined and rejected requests have one place, not four."""
    assert gateway.post("/in/many", b"{}", PLEASE).json["status"] == "ignored"
    assert gateway.post("/in/many", b"hello", PLEASE).json["status"] == "quarantined"
    assert gateway.post("/in/many", b"{}").status == 401
    send(gateway, ("a", None))
    while (requests := gateway.ledger().requests).rejected == 0:
        pass
    assert (requests.accepted, requests.ignored, requests.quarantined, requests.rejected) == (1, 1, 1, 1)
    assert gateway.ledger().unaccounted == 0
