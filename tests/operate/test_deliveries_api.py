"""Deliveries that wait and dead letters by cause: lists that a page cannot tear."""

import asyncio

import msgspec
import pytest

from gateway.config import StoreSettings
from gateway.store.dead_letters import DeadLetter
from gateway.store.layout import key_hash
from gateway.store.parked import Attempt, Change, Parked
from tests.operate.office import NOW_MS, Office, office


async def fill(at: Office) -> list[str]:
    """Ten events for ``crm``: dead 1-3, parked 4-6, held 7-8 behind 4, unread 9-10; ``app`` has read none of them."""
    ids = [(await at.log_event(number, ordering_key="chat")).id for number in range(10)]
    await at.subscribe("crm")
    await at.subscribe("app")
    key = key_hash("enviaai-br", "chat")
    history = (Attempt(number=1, at_ms=NOW_MS, cause="http_500", status=500, duration_ms=7),)
    changes = []
    for seq in (1, 2, 3):
        cause = "timeout" if seq == 1 else "http_500"
        letter = DeadLetter(
            seq=seq,
            event_id=ids[seq - 1],
            event_type="message.received",
            subscriber="crm",
            cause=cause,
            status=None if seq == 1 else 500,
            detail="why",
            attempts=3,
            first_failed_ms=NOW_MS,
            died_ms=NOW_MS + seq,
            history=history,
        )
        changes.append(Change("dead", seq, at_ms=letter.died_ms, info=msgspec.json.encode(letter), answer=b"no"))
    for seq, due_ms in ((4, 9_000), (5, 5_000), (6, 5_000)):
        parked = Parked(attempt=1, key=key if seq == 4 else "", cause="http_500", status=500, history=history)
        changes.append(Change("park", seq, parked.key, NOW_MS + due_ms, msgspec.json.encode(parked)))
    changes += [Change("hold", seq, key) for seq in (7, 8)]
    await at.settle("crm", 8, *changes)
    return ids


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_paging_shows_each_delivery_once_in_one_order(store_settings: StoreSettings, limit: int) -> None:
    """By subscriber, then dead, parked by due time, held, unread; whatever the size of the pages."""

    async def run() -> None:
        async with office(store_settings, crm={}, app={}) as at:
            ids = await fill(at)
            found, after = [], None
            while True:
                path = f"/api/deliveries?limit={limit}" + (f"&after={after}" if after else "")
                page = (await at.reader.get(path)).json()
                assert len(page["items"]) <= limit
                found += page["items"]
                after = page["next"]
                if after is None:
                    break
            told = [(item["subscriber"], item["state"], item["sequence"]) for item in found]
            assert told == [
                *[("app", "pending", seq) for seq in range(1, 11)],
                *[("crm", "dead_letter", seq) for seq in (1, 2, 3)],
                *[("crm", "parked", seq) for seq in (5, 6, 4)],
                *[("crm", "held", seq) for seq in (7, 8)],
                *[("crm", "pending", seq) for seq in (9, 10)],
            ]
            assert [item["event_id"] for item in found] == [ids[item["sequence"] - 1] for item in found]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("state", "seqs"), [("dead", [1, 2, 3]), ("parked", [5, 6, 4]), ("held", [7, 8]), ("pending", [9, 10])]
)
def test_one_state_of_one_subscriber(store_settings: StoreSettings, state: str, seqs: list[int]) -> None:
    """Only those; with what is known of the attempts."""

    async def run() -> None:
        async with office(store_settings, crm={}, app={}) as at:
            await fill(at)
            items = (await at.reader.get(f"/api/deliveries?subscriber=crm&state={state}")).json()["items"]
            assert [item["sequence"] for item in items] == seqs
            tried = state in ("dead", "parked")
            assert all(bool(item["history"]) is tried for item in items)
            assert all((item["due_at"] is not None) is (state == "parked") for item in items)
            assert all((item["died_at"] is not None) is (state == "dead") for item in items)

    asyncio.run(run())


def test_what_cannot_be_listed_is_refused(store_settings: StoreSettings) -> None:
    """Nobody's deliveries, no such state, a cursor of another list."""

    async def run() -> None:
        async with office(store_settings) as at:
            await fill(at)
            other = (await at.reader.get("/api/events?limit=1")).json()["next"]
            for path, status in (
                ("subscriber=nobody", 404),
                ("state=lost", 400),
                (f"after={other}", 400),
                ("after=eTpjcm06MDo5OjA6MQ", 400),
                ("limit=0", 400),
            ):
                answer = await at.reader.get(f"/api/deliveries?{path}")
                assert answer.status_code == status, (path, answer.text)
                if path == "state=lost":
                    assert answer.json()["detail"] == "state: Invalid enum value 'lost'", "named as it was asked for"

    asyncio.run(run())


def test_many_of_one_due_time_are_paged_without_a_gap(store_settings: StoreSettings) -> None:
    """More than the store is asked for at once share a millisecond, and each is shown once."""

    async def run() -> None:
        async with office(store_settings) as at:
            await at.subscribe("crm")
            due = at.keys[0].subscriber("crm")
            members = [part for seq in range(1, 2_301) for part in (5_000, seq)]
            await at.store.call("ZADD", due.due, *members)
            parked = msgspec.json.encode(Parked(attempt=1))
            await at.store.call("HSET", due.parked, *[part for seq in range(1, 2_301) for part in (seq, parked)])
            found, after = [], ""
            for _ in range(3):
                page = (await at.reader.get(f"/api/deliveries?state=parked&limit=900{after}")).json()
                found += [item["sequence"] for item in page["items"]]
                after = f"&after={page['next']}"
            assert page["next"] is None
            assert sorted(found) == list(range(1, 2_301))

    asyncio.run(run())


def test_dead_letters_by_cause_and_a_group_tried_again(store_settings: StoreSettings) -> None:
    """The commonest first, with an example; and the order for the group moves it whole and nothing else."""

    async def run() -> None:
        async with office(store_settings, crm={}, app={}) as at:
            ids = await fill(at)
            items = (await at.reader.get("/api/dead/causes")).json()["items"]
            assert [(item["cause"], item["count"], item["words"]) for item in items] == [
                ("http_500", 2, "answers 500"),
                ("timeout", 1, "does not answer in time"),
            ]
            assert (items[0]["example"], items[0]["subscribers"]) == (ids[2], {"crm": 2})
            assert items[0]["first_died_at"] < items[0]["last_died_at"]
            assert (await at.reader.get("/api/dead/causes?subscriber=app")).json()["items"] == []
            assert (await at.reader.get("/api/dead/causes?subscriber=nobody")).status_code == 404
            moved = await at.operator.post("/api/dead/retry", json={"cause": "http_500"})
            assert moved.json()["moved"] == 2
            rest = (await at.reader.get("/api/dead/causes")).json()["items"]
            assert [item["cause"] for item in rest] == ["timeout"]
            (letter,) = (await at.reader.get("/api/dead")).json()["items"]
            assert letter["history"][0]["cause"] == "http_500"

    asyncio.run(run())
