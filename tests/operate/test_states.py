"""Where one event stands with each subscriber."""

import asyncio
from typing import Any

import msgspec

from gateway.config import StoreSettings
from gateway.store.dead_letters import DeadLetter
from gateway.store.firsts import First
from gateway.store.parked import Change, Parked
from tests.operate.office import NOW_MS, SUBSCRIBER_SECRET, Office, office


async def states(at: Office, event_id: str) -> dict[str, dict[str, Any]]:
    """The delivery states of an event, by subscriber."""
    detail = (await at.reader.get(f"/api/events/{event_id}")).json()
    return {each["subscriber"]: each for each in detail["deliveries"]}


def dead(seq: int, event_id: str, cause: str = "http_500", died_ms: int = NOW_MS) -> Change:
    """What buries an event that the cursor passes."""
    letter = DeadLetter(
        seq=seq,
        event_id=event_id,
        event_type="message.received",
        subscriber="crm",
        cause=cause,
        status=500,
        detail="the subscriber answered 500 Internal Server Error",
        attempts=10,
        first_failed_ms=NOW_MS - 1_000,
        died_ms=died_ms,
    )
    answer = f"<h1>Oops</h1> {SUBSCRIBER_SECRET}".encode()
    return Change("dead", seq, at_ms=died_ms, info=msgspec.json.encode(letter), answer=answer)


def test_each_state_is_told_from_its_trace(store_settings: StoreSettings) -> None:
    """Pending, parked, in flight, held and dead letter are certain, with what is known of them."""

    async def run() -> None:
        async with office(store_settings) as at:
            await at.subscribe("crm")
            ids = [(await at.log_event(number)).id for number in range(6)]
            parked = Parked(attempt=2, first_failed_ms=NOW_MS - 9_000, cause="timeout", detail="no answer", key="k")
            flying = Parked(attempt=0, in_flight=True)
            await at.settle(
                "crm",
                4,
                Change("park", 1, key="k", at_ms=NOW_MS + 30_000, info=msgspec.json.encode(parked)),
                Change("hold", 2, key="k"),
                Change("park", 3, at_ms=NOW_MS + 20_000, info=msgspec.json.encode(flying)),
                dead(4, ids[3]),
            )
            found = [(await states(at, each))["crm"] for each in ids]
            names = ["parked", "held", "in_flight", "dead_letter", "pending", "pending"]
            assert [each["state"] for each in found] == names
            assert all(each["certain"] for each in found)
            assert (found[0]["attempts"], found[0]["cause"]) == (2, "timeout")
            assert found[0]["due_at"] == "2026-02-03T12:00:30.000Z"
            assert found[0]["words"] == "crm does not answer in time; attempt 3 is due at 2026-02-03T12:00:30.000Z"
            assert found[2]["words"] == "attempt 1 is on the wire"
            assert found[3]["words"] == "given up after 10 attempts: crm answers 500"
            assert found[3]["answer"] == "<h1>Oops</h1> [credential]"

    asyncio.run(run())


def test_what_was_delivered_at_once_is_certain_while_it_is_remembered(store_settings: StoreSettings) -> None:
    """Whatever the counts and the types of today allow: the attempt says when and with which status."""

    async def run() -> None:
        async with office(store_settings, crm={}, billing={"types": ("payment.*",)}) as at:
            events = [await at.log_event(number) for number in range(3)]
            for name in ("crm", "billing"):
                await at.subscribe(name)
                first = First(seq=2, at_ms=NOW_MS, duration_ms=1_250, status=201)
                await at.settle(name, 3, delivered=1, filtered=2, firsts=[first])
            found = await states(at, events[1].id)
            for name in ("crm", "billing"):
                state = found[name]
                assert (state["state"], state["certain"], state["attempts"]) == ("delivered", True, 1)
                assert (state["status"], state["last_attempt_at"]) == (201, "2026-02-03T12:00:00.000Z")
                began = "2026-02-03T11:59:58.750Z"
                assert state["words"] == f"{name} answered 201, 1250 ms after attempt 1 began at {began}"
            beside = await states(at, events[0].id)
            assert not any(beside[name]["certain"] for name in ("crm", "billing")), "of its neighbours nothing is known"

    asyncio.run(run())


def test_delivered_is_certain_only_where_nothing_else_can_have_been(store_settings: StoreSettings) -> None:
    """An event without a trace: the counts and the types decide, and what they cannot decide is said."""

    async def run() -> None:
        async with office(store_settings, crm={}, billing={"types": ("payment.*",)}, mixed={}, old={}) as at:
            for name in ("crm", "billing", "mixed"):
                await at.subscribe(name)
            event = await at.log_event(0)
            await at.log_event(1)
            await at.subscribe("old", 1)  # from the second event on
            await at.settle("crm", 2, delivered=2)
            await at.settle("billing", 2, filtered=2)
            await at.settle("mixed", 2, delivered=1, filtered=1)
            found = await states(at, event.id)
            assert [(name, found[name]["state"], found[name]["certain"]) for name in sorted(found)] == [
                ("billing", "filtered", True),
                ("crm", "delivered", True),
                ("mixed", "delivered", False),
                ("old", "not_offered", True),
            ]
            assert found["crm"]["words"] == "crm answered 2xx; when is no longer kept"
            assert (found["crm"]["attempts"], found["crm"]["last_attempt_at"]) == (None, None)
            mixed = "by the types of today; it could also have been filtered; when is no longer kept"
            assert found["mixed"]["words"] == mixed

    asyncio.run(run())
