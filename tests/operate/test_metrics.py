"""The metrics as a scraper reads them."""

import asyncio

from prometheus_client.parser import text_string_to_metric_families

from gateway.config import StoreSettings
from tests.operate.office import Office, office
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
            assert found["gateway_answers_total", "401"] == 1
            assert found["gateway_attempts_total", "http_500", "crm"] == 20
            assert found["gateway_log_bytes", "0"] > 500
            await at.store.call("XDEL", at.keys[0].log, "1-0")
            at.now_ms += 1_000  # a status a second old is given again
            assert (await scrape(at))["gateway_unaccounted_events",] == 1

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
