"""The metrics as a scraper reads them."""

import asyncio
from pathlib import Path
from typing import Never

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.config import StoreSettings
from gateway.intake.spool_database import Held
from gateway.intake.spool_folder import FolderView
from gateway.operate.absence import StoreAway
from gateway.operate.metrics import patience_s
from gateway.operate.sight import Away
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
    """Zeros for what is configured; away, what the processes and the spool know, and no number that the store has."""

    async def run() -> None:
        async with office(store_settings) as at:
            known = await scrape(at)
            assert known["gateway_requests_total", "accepted", "enviaai-br"] == 0
            assert known["gateway_pending_events", "crm", "unread"] == 0
            assert known["gateway_store_away",] == 0
            at.desk.sight.away = lambda: Away("2026-02-03T12:00:00.000Z", "it is not drained yet")
            assert (await scrape(at))["gateway_store_away",] == 1, "it answers, and is not used"
        async with office(store_settings, away=True) as at:
            settings = msgspec.structs.replace(at.config.store, spool=Path("spool"), spool_bytes=4_096)
            at.desk.sight.config = msgspec.structs.replace(at.config, store=settings)
            at.desk.sight.spooled = spooled
            at.deliveries.lanes = {"crm": [{"attempts": {"delivered": 4}, "filter_failures": 3}]}
            found = await scrape(at)
            whole = {
                ("gateway_store_away",): 1,
                ("gateway_spool_requests",): 12,
                ("gateway_spool_bytes",): 2_048,
                ("gateway_spool_limit_bytes",): 4_096,
                ("gateway_spool_unreadable_files",): 1,
                ("gateway_spool_put_aside_batches",): 2,
                ("gateway_source_broken", "enviaai-br"): 0,
                ("gateway_worker_up", "0"): 1,
                ("gateway_answers_total", "200", "0"): 3,
                ("gateway_attempts_total", "delivered", "crm", "0"): 4,
                ("gateway_filter_failures_total", "crm", "0"): 3,
            }
            assert {name: found.get(name) for name in whole} == whole
            stored = {name for name, *_ in known} - {name for name, *_ in found}
            kinds = (
                "requests_total",
                "events_total",
                "pending_events",
                "dead_letters",
                "unaccounted_events",
                "problems",
            )
            assert stored >= {f"gateway_{kind}" for kind in kinds}
            assert {name for name, *_ in found} <= {name for name, *_ in known} | {"gateway_attempts_total"}

    asyncio.run(run())


async def spooled(**_: bool) -> FolderView:
    """Some of everything."""
    return FolderView(held=Held(requests=12, bytes=2_048, aside=2), unreadable={"a.spool": "damaged"})


def test_a_store_that_hangs_is_not_waited_for_longer_than_the_scraper_waits(
    store_settings: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of what the scraper says is left for the answer; that the store said nothing is what it says."""

    async def run() -> None:
        async with office(store_settings) as at:

            async def hang(*_: object) -> Never:
                await asyncio.Event().wait()
                raise AssertionError("nobody wakes it")

            monkeypatch.setattr(at.store, "call", hang)
            at.reader.headers["x-prometheus-scrape-timeout-seconds"] = "0.2"
            async with asyncio.timeout(20):
                assert (await scrape(at))["gateway_store_away",] == 1
            with pytest.raises(StoreAway, match="it does not answer: not in time"):
                await at.desk.status(within_s=0.1)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("said", "store_s"), [(None, 5), ("10", 5), ("60", 5), ("4", 2), ("soon", 5), ("-1", 5), ("nan", 5), ("inf", 5)]
)
def test_how_long_the_store_may_take_is_what_the_scraper_leaves(said: str | None, store_s: float) -> None:
    """Half of the scraper's time, at most five seconds; what is no time counts as not said."""
    assert patience_s(said) == store_s
