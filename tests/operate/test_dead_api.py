"""Dead letters over HTTP: the list, and retry and drop."""

import asyncio
from typing import Any

from gateway.config import StoreSettings
from tests.operate.office import NOW_MS, Office, office
from tests.operate.test_states import dead, states


async def bury(at: Office, number: int, *, same_ms: bool = False, cause: str = "http_500") -> list[str]:
    """That many dead letters of ``crm``, the first event died first. Returns their ids."""
    await at.subscribe("crm")
    ids = [(await at.log_event(each)).id for each in range(number)]
    changes = [dead(seq, event_id, cause, NOW_MS if same_ms else NOW_MS + seq) for seq, event_id in enumerate(ids, 1)]
    await at.settle("crm", number, *changes)
    return ids


async def listed(at: Office, **parameters: Any) -> list[str]:
    """All event ids of the list, page after page."""
    found: list[str] = []
    while True:
        answer = (await at.reader.get("/api/dead", params=parameters)).json()
        found += [item["event_id"] for item in answer["items"]]
        if answer["next"] is None:
            return found
        parameters["after"] = answer["next"]


def test_the_list_has_each_dead_letter_once_the_latest_first(store_settings: StoreSettings) -> None:
    """Page after page, also where all died in the same millisecond."""

    async def run() -> None:
        async with office(store_settings) as at:
            ids = await bury(at, 7)
            assert await listed(at, limit=3) == ids[::-1]
            assert await listed(at, limit=3, subscriber="crm", cause="http_500") == ids[::-1]
            assert await listed(at, cause="timeout") == []
        async with office(store_settings) as at:
            ids = await bury(at, 12, same_ms=True)
            assert sorted(await listed(at, limit=5)) == sorted(ids)

    asyncio.run(run())


def test_a_dry_run_changes_nothing_and_says_what_would(store_settings: StoreSettings) -> None:
    """It counts by subscriber; the ledger is the same before and after."""

    async def run() -> None:
        async with office(store_settings) as at:
            await bury(at, 3)
            before = (await at.reader.get("/api/ledger")).json()
            answer = await at.operator.post("/api/dead/drop", json={"all": True, "dry_run": True})
            assert answer.status_code == 200
            assert answer.json()["matched"] == 3
            assert answer.json()["moved"] == 0
            assert answer.json()["subscribers"] == {"crm": 3}
            assert (await at.reader.get("/api/ledger")).json() == before

    asyncio.run(run())


def test_retry_parks_again_and_drop_discards(store_settings: StoreSettings) -> None:
    """Both by the beginning of an id; the equation holds after each."""

    async def run() -> None:
        async with office(store_settings) as at:
            ids = await bury(at, 3)
            order = {"subscriber": "crm", "ids": [ids[0][:14]]}
            assert (await at.operator.post("/api/dead/retry", json=order)).json()["moved"] == 1
            assert (await states(at, ids[0]))["crm"]["state"] == "parked"
            order = {"ids": [ids[1]]}
            assert (await at.operator.post("/api/dead/drop", json=order)).json()["moved"] == 1
            ledger = (await at.reader.get("/api/ledger")).json()
            crm = ledger["subscribers"]["crm"]
            assert (crm["pending"], crm["discarded"], crm["dead"], crm["unaccounted"]) == (1, 1, 1, 0)
            assert ledger["unaccounted"] == 0
            assert await listed(at) == [ids[2]]

    asyncio.run(run())


def test_an_order_that_does_not_say_which_is_refused(store_settings: StoreSettings) -> None:
    """Nothing, unknown fields, unknown ids, ambiguous ids, unknown subscribers: refused, and nothing moves."""

    async def run() -> None:
        async with office(store_settings) as at:
            ids = await bury(at, 40)
            common = next(each[:5] for each in ids if sum(other.startswith(each[:5]) for other in ids) > 1)
            for order, status, says in (
                ({}, 400, "say which"),
                ({"subscriber": "crm"}, 400, "say which"),
                ({"al": True}, 400, "unknown field"),
                ({"all": "yes"}, 400, "all"),
                ({"ids": ["evt_0"]}, 404, "no dead letter begins with evt_0"),
                ({"ids": [ids[0], common]}, 409, "dead letters begin with"),
                ({"subscriber": "crn", "all": True}, 404, "there is no subscriber crn (did you mean crm?)"),
            ):
                answer = await at.operator.post("/api/dead/drop", json=order)
                assert answer.status_code == status, order
                assert says in answer.json()["detail"]
            answer = await at.operator.post(
                "/api/dead/drop", content=b"{", headers={"content-type": "application/json"}
            )
            assert answer.status_code == 400
            assert len(await listed(at)) == 40

    asyncio.run(run())
