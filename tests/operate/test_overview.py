"""The ledger and the status, over HTTP."""

import asyncio
from typing import Any

import msgspec

from gateway.config import StoreSettings
from gateway.operate.sight import Away
from gateway.operate.views import SpoolStatus
from gateway.store.parked import Change, Parked
from tests.operate.office import NOW_MS, office


def test_the_ledger_has_the_shape_of_the_design_and_adds_up(store_settings: StoreSettings) -> None:
    """``/api/ledger`` answers the equation: requests, events, each subscriber's line, unaccounted."""

    async def run() -> None:
        async with office(store_settings) as at:
            await at.subscribe("crm")
            for number in range(3):
                await at.log_event(number)
            await at.settle("crm", 2, delivered=1, filtered=1)
            answer = await at.reader.get("/api/ledger")
            assert answer.status_code == 200
            ledger = answer.json()
            assert set(ledger) == {"at", "requests", "events", "subscribers", "unaccounted"}
            assert ledger["requests"] == {
                "received": 3, "accepted": 3, "ignored": 0, "quarantined": 0, "rejected": 0,
            }  # fmt: skip
            assert ledger["events"] == {"produced": 3, "logged": 3, "duplicate": 0, "spooled": 0}
            assert ledger["subscribers"] == {
                "crm": {
                    "offered": 3, "delivered": 1, "filtered": 1, "dead": 0, "discarded": 0, "pending": 1,
                    "unaccounted": 0,
                }
            }  # fmt: skip
            assert ledger["unaccounted"] == 0

    asyncio.run(run())


def test_an_entry_deleted_behind_its_back_is_unaccounted(store_settings: StoreSettings) -> None:
    """The ledger can say something else than 0: one deleted log entry is one unaccounted event."""

    async def run() -> None:
        async with office(store_settings) as at:
            for number in range(3):
                await at.log_event(number)
            await at.store.call("XDEL", at.keys[0].log, "2-0")
            assert (await at.reader.get("/api/ledger")).json()["unaccounted"] == 1
            problems = (await at.reader.get("/api/status")).json()["problems"]
            assert (problems[0]["cause"], problems[0]["command"]) == ("unaccounted", "gateway audit")

    asyncio.run(run())


def test_status_says_what_waits_since_when_and_until_when(store_settings: StoreSettings) -> None:
    """A parked event shows as retrying, with the age of the oldest, the next attempt, and the cause."""

    async def run() -> None:
        async with office(store_settings) as at:
            await at.subscribe("crm")
            await at.log_event(0)
            await at.log_event(1)
            parked = Parked(attempt=1, first_failed_ms=NOW_MS - 1_000, cause="http_500", status=500)
            park = Change("park", 1, at_ms=NOW_MS + 5_000, info=msgspec.json.encode(parked))
            await at.settle("crm", 2, park, delivered=1)
            status = (await at.reader.get("/api/status")).json()
            (crm,) = status["subscribers"]
            assert (crm["state"], crm["parked"], crm["unread"], crm["pending"]) == ("retrying", 1, 0, 1)
            assert crm["oldest_pending_s"] == 60
            assert crm["next_attempt_at"] == "2026-02-03T12:00:05.000Z"
            assert "mostly because it answers 500" in crm["words"]
            assert "in 5 s" in crm["words"]
            (source,) = status["sources"]
            assert source["name"] == "enviaai-br"
            assert source["last_event_at"] == "2026-02-03T11:59:00.010Z"
            assert source["account"]["requests"]["accepted"] == 2
            assert status["store"]["log_entries"] == 2
            assert status["store"]["server"].startswith("valkey ")
            assert "not_durable" in [each["cause"] for each in status["problems"]]

    asyncio.run(run())


def test_an_attempt_on_the_wire_is_not_told_as_failed(store_settings: StoreSettings) -> None:
    """What was parked because its attempt takes long has failed nothing, and no next attempt is promised for it."""

    async def run() -> None:
        async with office(store_settings) as at:
            await at.subscribe("crm")
            for number in range(3):
                await at.log_event(number)
            flying = Parked(attempt=0, in_flight=True, started_ms=NOW_MS - 12_000)
            lost = Parked(attempt=0, in_flight=True, started_ms=NOW_MS - 80_000)
            bad = Parked(attempt=1, first_failed_ms=NOW_MS - 1_000, cause="http_500", status=500)

            async def parked(seq: int, info: Parked, due_ms: int) -> dict[str, Any]:
                await at.settle("crm", seq, Change("park", seq, at_ms=due_ms, info=msgspec.json.encode(info)))
                (crm,) = (await at.reader.get("/api/status")).json()["subscribers"]
                return dict(crm)

            crm = await parked(1, flying, NOW_MS + 52_000)
            assert crm["words"] == "2 wait, the oldest event is 60 s old; 1 attempt under way for 12 s"
            assert crm["next_attempt_at"] is None
            crm = await parked(2, bad, NOW_MS + 60_000)
            assert crm["words"] == (
                "1 failed and waits for another attempt, mostly because it answers 500; the next is due in 60 s; "
                "1 attempt under way for 12 s"
            )
            crm = await parked(3, lost, NOW_MS - 1)  # its process died: it is due for another one
            assert crm["words"].startswith("2 failed and wait for another attempt")
            assert crm["words"].endswith("; the next is due now; 1 attempt under way for 12 s")

    asyncio.run(run())


def test_the_latest_event_of_a_quiet_source_is_known_whatever_others_brought(store_settings: StoreSettings) -> None:
    """Behind hundreds of events of another source, and after the log has let it go; a source without one has none."""

    async def run() -> None:
        async with office(store_settings) as at:
            await at.log_event(0)
            for number in range(1, 260):
                await at.log_event(number, source="busy")
            await at.store.call("XDEL", at.keys[0].log, "1-0")
            latest = {
                each["name"]: each["last_event_at"] for each in (await at.reader.get("/api/status")).json()["sources"]
            }
            assert latest == {"enviaai-br": "2026-02-03T11:59:00.000Z", "busy": "2026-02-03T11:59:02.590Z"}

    asyncio.run(run())


def test_a_store_that_is_away_is_a_503_with_retry_after(store_settings: StoreSettings) -> None:
    """The API's answer while the store is away is the same problem as the intake's, and not a bare 500."""

    async def run() -> None:
        async with office(store_settings, away=True) as at:
            answer = await at.reader.get("/api/ledger")
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "5"
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == "unavailable"
            assert "sock" not in answer.text
            for path in ("/api/ledger", "/api/status"):
                told = (await at.reader.get(path)).json()["store_away"]
                assert told == {
                    "since": None,
                    "why": "it does not answer: its server is not there",
                    "plight": None,
                    "refused": "there is no spool",
                    "spool": msgspec.to_builtins(SpoolStatus()),
                }
            at.desk.sight.away = lambda: Away("2026-02-03T12:00:00.000Z", "a test says so")
            told = (await at.reader.get("/api/status")).json()["store_away"]
            assert (told["since"], told["why"]) == ("2026-02-03T12:00:00.000Z", "a test says so")

    asyncio.run(run())
