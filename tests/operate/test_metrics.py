"""The metrics as a scraper reads them."""

import asyncio

from prometheus_client.parser import text_string_to_metric_families

from gateway.config import StoreSettings
from gateway.store.replays import KEPT, Replay, Replays, ReplaySpec
from tests.operate.office import NOW_MS, Office, office
from tests.operate.test_dead_api import bury


async def scrape(at: Office) -> dict[tuple[str, ...], float]:
    """Every sample: name and label values → value."""
    answer = await at.reader.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *[value for _, value in sorted(sample.labels.items())]): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_metrics_say_what_the_ledger_says(store_settings: StoreSettings) -> None:
    """The same numbers, by source and subscriber, and every name begins with ``gateway_``."""

    async def run() -> None:
        async with office(store_settings) as at:
            await bury(at, 2)
            await at.log_event(2)
            at.now_ms += 5_000
            at.deliveries.lanes = {"crm": [{"in_flight": 1, "attempts": {"delivered": 4, "http_500": 20}}]}
            found = await scrape(at)
            assert all(name.startswith("gateway_") for name, *_ in found)
            assert found["gateway_requests_total", "accepted", "enviaai-br"] == 3
            assert found["gateway_events_total", "logged", "enviaai-br"] == 3
            assert found["gateway_offered_events_total", "crm"] == 3
            assert found["gateway_dead_letters", "crm"] == 2
            assert found["gateway_pending_events", "crm", "unread"] == 1
            assert found["gateway_oldest_pending_seconds", "crm"] == 64.98
            assert found["gateway_unaccounted_events",] == 0
            assert found["gateway_answers_total", "401", "0"] == 1
            assert found["gateway_attempts_total", "http_500", "crm", "0"] == 20
            assert found["gateway_log_bytes", "0"] > 500
            await at.store.call("XDEL", at.keys[0].log, "1-0")
            at.now_ms += 1_000  # a status a second old is given again
            assert (await scrape(at))["gateway_unaccounted_events",] == 1

    asyncio.run(run())


def test_replays_are_counted_in_their_own_metrics(store_settings: StoreSettings) -> None:
    """By state and outcome, never by id or target; what is counted stays when the records go."""

    async def run() -> None:
        async with office(store_settings) as at:
            replays = Replays(at.store, at.keys[0])
            for number in range(KEPT + 5):
                replay = Replay(
                    id=f"rpl_{number}", spec=ReplaySpec(subscriber="crm"), created_ms=NOW_MS + number,
                    created_by="ops", starts=[0], ends=[9], positions=[0],
                )  # fmt: skip
                version = await replays.save(replay, 0)
                replay.state, replay.delivered, replay.failed, replay.attempts = "done", 3, 1, 5
                version = await replays.save(replay, version)
                assert await replays.save(replay, 1) == 0, "a write that is refused counts nothing"
            replay.state, replay.waiting, replay.delivered = "running", "crm is paused: a flood", 4
            await replays.save(replay, version)
            await replays.forget_old()
            before = (await at.reader.get("/api/ledger")).json()
            found = await scrape(at)
            expected: dict[tuple[str, ...], float] = {
                ("gateway_replay_records", "planned"): 0,
                ("gateway_replay_records", "paused"): 0,
                ("gateway_replay_records", "failed"): 0,
                ("gateway_replay_records", "cancelled"): 0,
                ("gateway_replay_records", "running"): 1,
                ("gateway_replay_records", "done"): KEPT - 1,
                ("gateway_replay_waiting",): 1,
                ("gateway_replay_events_total", "delivered"): 3 * (KEPT + 5) + 1,
                ("gateway_replay_events_total", "requeued"): 0,
                ("gateway_replay_events_total", "failed"): KEPT + 5,
                ("gateway_replay_attempts_total",): 5 * (KEPT + 5),
            }
            assert {name: value for name, value in found.items() if name[0].startswith("gateway_replay_")} == expected
            assert (await at.reader.get("/api/ledger")).json() == before
            status = (await at.reader.get("/api/status")).json()["replays"]
            assert status["items"][0]["id"] == f"rpl_{KEPT + 4}"
            assert [each["state"] for each in status["items"]] == ["running", "done", "done", "done"]
            assert status["items"][0]["words"] == "waits, because crm is paused: a flood"

    asyncio.run(run())


def test_metrics_of_an_empty_store_and_of_one_that_is_away(store_settings: StoreSettings) -> None:
    """Zeros for what is configured; a 503 where nothing is known, never a stale or invented number."""

    async def run() -> None:
        async with office(store_settings) as at:
            found = await scrape(at)
            assert found["gateway_requests_total", "accepted", "enviaai-br"] == 0
            assert found["gateway_pending_events", "crm", "unread"] == 0
        async with office(store_settings, away=True) as at:
            assert (await at.reader.get("/metrics")).status_code == 503

    asyncio.run(run())
