"""Problems as the numbers tell them: lag, what was discarded, silence, a full or careless store. Pure, and through
status."""

import asyncio
from typing import Any

import msgspec
import pytest

from gateway.config import StoreSettings
from gateway.intake.spool_folder import BEING_WRITTEN
from gateway.operate.alerting import alarms
from gateway.operate.status import read_status
from gateway.operate.troubles import does, summed_troubles
from gateway.operate.views import AlertsStatus, SpoolStatus, Status, Trouble
from gateway.store.alerts import AlertBook, Heard, Watch
from gateway.store.lease import Lease
from gateway.store.replays import Replay, Replays, ReplaySpec, State
from tests.operate.office import NOW_MS, Office, office


async def look(at: Office) -> Status:
    """Status from numbers alone."""
    return await read_status(at.desk.sight, summed=True)


def troubles(status: Status, **changed: Any) -> dict[str, Trouble]:
    """Its problems by kind, with the store's numbers changed."""
    store = msgspec.structs.replace(status.store, **changed)
    parts = (status.ledger, status.sources, status.subscribers, store, AlertsStatus(), status.replays)
    return {each.kind: each for each in summed_troubles(*parts)}


def test_half_of_max_lag_is_a_problem_and_what_was_given_up_a_worse_one(store_settings: StoreSettings) -> None:
    """By age and by bytes, before anything is discarded; and for a day after it was."""

    async def run() -> None:
        async with office(store_settings, crm={"max_lag_s": 600.0}) as at:
            await at.subscribe("crm")
            await at.log_event(0)  # received a minute ago
            at.now_ms = NOW_MS + 239_000
            (crm,) = (await look(at)).subscribers
            assert (crm.lag_used, crm.given_up) == (round(299 / 600, 4), 0)
            assert "lag" not in troubles(await look(at))
            at.now_ms = NOW_MS + 240_000
            found = troubles(await look(at))
            assert found["lag"].severity == "warn"
            assert "50 %" in found["lag"].what
            key = at.keys[0].subscriber("crm").sub
            await at.store.call("HSET", key, "given_up", 7, "given_up_ms", at.now_ms)
            found = troubles(await look(at))
            assert (found["discarded"].severity, found["discarded"].count) == ("bad", 7)
            at.now_ms += 86_400_000
            assert "discarded" not in troubles(await look(at))

    asyncio.run(run())


def test_lag_counts_bytes_too(store_settings: StoreSettings) -> None:
    """However young the events are: half of half of ``retention_bytes`` is enough."""

    async def run() -> None:
        small = msgspec.structs.replace(store_settings, retention_bytes=4_000)
        async with office(small) as at:
            await at.subscribe("crm")
            for number in range(3):
                await at.log_event(number)
            status = await look(at)
            used = status.store.log_bytes / small.most_lag_bytes
            assert status.subscribers[0].lag_used == pytest.approx(used, abs=0.01)
            assert used > 0.5
            assert "lag" in troubles(status)

    asyncio.run(run())


def test_a_source_is_silent_when_nothing_proven_came_for_too_long(store_settings: StoreSettings) -> None:
    """One without ``expect_every`` never is, nor one that nobody has listened to."""

    async def run() -> None:
        async with office(store_settings) as at:
            config = at.desk.sight.config
            source = msgspec.structs.replace(config.sources["enviaai-br"], expect_every_s=60.0)
            expecting = msgspec.structs.replace(config, sources={"enviaai-br": source})
            at.desk.sight.config = expecting
            assert "silence" not in troubles(await look(at))
            epoch = (await Lease(at.store, at.keys[0], "test/host/0/1/1/x").take()).epoch
            await AlertBook(at.store, at.keys[0]).save(epoch, Watch(heard={"enviaai-br": Heard(1, NOW_MS)}), {})
            at.now_ms = NOW_MS + 60_000
            assert "silence" not in troubles(await look(at))
            at.now_ms += 1
            found = troubles(await look(at))
            assert (found["silence"].source, found["silence"].severity) == ("enviaai-br", "bad")
            at.desk.sight.config = config
            assert "silence" not in troubles(await look(at))

    asyncio.run(run())


def test_a_store_that_fills_or_no_longer_keeps_its_word(store_settings: StoreSettings) -> None:
    """Warned of at three quarters, worse where the intake has stopped; and its settings are looked at."""

    async def run() -> None:
        async with office(store_settings) as at:
            status = await look(at)
            assert "store_memory" not in troubles(status, memory_bytes=75, memory_limit_bytes=100)
            assert troubles(status, memory_bytes=76, memory_limit_bytes=100)["store_memory"].severity == "warn"
            full = troubles(status, memory_bytes=85, memory_limit_bytes=100)["store_memory"]
            assert full.severity == "bad"
            assert "webhooks are answered 503" in full.what
            assert "store_settings" not in troubles(status, durability="fsync", durable=True)
            assert "store_settings" in troubles(status, durability="fsync", durable=False)

    asyncio.run(run())


def test_a_401_asks_for_the_secret() -> None:
    """It is what a receiver answers that was given none, or another; other refusals have other reasons."""
    assert does("http_401") == "answers 401 (does it have the secret?)"
    assert does("http_403") == "answers 403"


def test_a_spool_that_needs_a_look_names_what_helps(store_settings: StoreSettings) -> None:
    """Each cause with its remedy, and a command that shows the folder and its bound: a count mends nothing there."""

    async def run() -> None:
        async with office(store_settings) as at:
            status = await look(at)
            wrong = {BEING_WRITTEN: "No space left on device", "1-a.unreadable": "it was damaged"}
            full = SpoolStatus(configured=True, bytes=80, limit_bytes=100, put_aside=1, unreadable=wrong)
            found = troubles(status, spool=full)["spool"]
            assert (found.severity, found.count) == ("bad", 4)
            assert found.command == "gateway check --effective"
            damaged = SpoolStatus(configured=True, limit_bytes=100, unreadable={"1-a.unreadable": "it was damaged"})
            aside = troubles(status, spool=damaged)["spool"]
            assert aside.command is None, "neither the folder nor its bound is the matter"
            assert aside.what.endswith("answered 200; mended and called 1-a.spool again, it is drained")
            for remedy in ("give its disk room", "keep the file", "1 batch was put aside", "larger spool_bytes"):
                assert remedy in found.what
            assert "spool" not in troubles(status, spool=SpoolStatus(configured=True, bytes=75, limit_bytes=100))
            for spool, goes_to in ((SpoolStatus(configured=True, limit_bytes=9), "the spool"), (full, "answered 503")):
                assert (
                    goes_to in troubles(status, durability="fsync", durable=False, spool=spool)["store_settings"].what
                )

    asyncio.run(run())


def test_what_the_log_has_waits_for_nothing_though_it_is_still_in_the_spool(store_settings: StoreSettings) -> None:
    """A full disk refuses to remove it. What brought no event, or is not in the log, is told as waiting."""

    async def run() -> None:
        async with office(store_settings) as at:
            status = await look(at)
            removed = SpoolStatus(configured=True, requests=3, events=3, bytes=9, limit_bytes=100)
            assert "spooled" not in troubles(status, spool=removed)
            assert "spooled" in troubles(status, spool=msgspec.structs.replace(removed, events=0))
            status.ledger.events.spooled = 3
            assert "spooled" in troubles(status, spool=removed)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("state", "is_one"), [("paused", True), ("failed", True), ("running", False), ("cancelled", False), ("done", False)]
)
def test_a_replay_that_stopped_by_itself_is_a_problem_and_an_alert(
    store_settings: StoreSettings, state: State, is_one: bool
) -> None:
    """With the command that lets it go on; one that somebody cancelled is none. Two are two alerts."""

    async def run() -> None:
        async with office(store_settings) as at:
            for name in ("rpl_one", "rpl_two"):
                stopped = Replay(
                    id=name,
                    spec=ReplaySpec(subscriber="crm"),
                    created_ms=NOW_MS,
                    created_by="ops",
                    starts=[0],
                    ends=[9],
                    positions=[5],
                    state=state,
                    last_error="50 failed in a row",
                )
                assert await Replays(at.store, at.keys[0]).save(stopped, 0)
            found = [each for each in (await look(at)).problems if each.kind == "replay"]
            assert len(found) == 2 * is_one
            assert len(alarms(found, at.config.alerts, NOW_MS)) == 2 * is_one
            if is_one:
                assert {each.command for each in found} == {f"gateway replay resume rpl_{n}" for n in ("one", "two")}
                assert "50 failed in a row" in found[0].what

    asyncio.run(run())
