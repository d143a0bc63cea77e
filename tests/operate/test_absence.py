"""What is said while the store cannot be asked."""

import asyncio
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Never

import pytest
from redis.exceptions import ResponseError

from gateway.config import StoreSettings
from gateway.errors import StoreError, StoreMismatch, StoreUnavailable
from gateway.intake.spool_database import Held
from gateway.intake.spool_folder import FolderView
from gateway.operate.absence import StoreAway, store_away
from gateway.operate.alerting import alarms
from gateway.operate.refusals import explain
from gateway.store.connection import Store, unavailable
from gateway.store.plight import LOW_BYTES
from tests.operate.office import office

READONLY = "READONLY You can't write against a read only replica."


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (unavailable(ResponseError(READONLY)), f"the store refuses: {READONLY}"),
        (StoreMismatch("the store was first used with partitions = 3"), "the store was first used with partitions = 3"),
        (StoreUnavailable("the store did not answer: no /run/valkey.sock"), "it does not answer"),
    ],
)
def test_why_the_store_cannot_be_asked_is_said_in_its_own_words(
    store_settings: StoreSettings, error: StoreError, why: str
) -> None:
    """One that refuses does answer: whoever reads otherwise looks for the fault in the wrong place. Why another is not
    heard names places of this machine, and is not for everybody."""

    async def run() -> None:
        async with office(store_settings) as at:
            away = await store_away(at.desk.sight, error)
            assert away.absence.away == f"({why})"
            assert why in away.detail
            if isinstance(error, StoreUnavailable):
                assert why in explain(error)[1]

    asyncio.run(run())


def test_while_the_store_is_away_nobody_lists_what_is_in_the_spool(
    store_settings: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full one holds a hundred thousand batches: their number is all that is told, and all that is asked for."""

    async def run() -> None:
        async with office(store_settings) as at:
            asked: list[dict[str, bool]] = []

            async def spooled(**named: bool) -> FolderView:
                asked.append(named)
                return FolderView(held=Held(rows=1, requests=12))

            async def away(*_args: object) -> Never:
                raise StoreUnavailable("the store did not answer")

            at.desk.sight.spooled = spooled
            await at.desk.status()
            assert asked == [{}]  # the account needs each
            asked.clear()
            monkeypatch.setattr(at.store, "call", away)
            monkeypatch.setattr(at.store, "many", away)
            for question in (at.desk.status, at.desk.ledger):
                with pytest.raises(StoreAway, match="12 requests"):
                    await question()
            assert asked == [{"held_only": True}] * 2

    asyncio.run(run())


def test_an_event_that_may_wait_in_the_spool_is_said_to(
    store_settings: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was answered 200 and asks for the event is not told that it is unknown, nor nothing at all."""

    async def run() -> None:
        async with office(store_settings) as at:

            async def spooled(**_named: bool) -> FolderView:
                return FolderView(held=Held(rows=1, requests=waiting))

            async def away(*_args: object) -> Never:
                raise StoreUnavailable("the store did not answer")

            at.desk.sight.spooled = spooled
            monkeypatch.setattr(at.store, "call", away)
            monkeypatch.setattr(at.store, "many", away)
            for waiting in (12, 0):
                for path in (
                    "/api/events/evt_hdvgbpm7wgvb2yt2wqsgnew4cu",
                    "/api/events/evt_hdvgbpm7wgvb2yt2wqsgnew4cu/trace",
                ):
                    answer = await at.reader.get(path)
                    assert answer.status_code == 503
                    detail = answer.json()["detail"]
                    assert detail.startswith("the store cannot be asked at the moment: it does not answer")
                    assert detail.endswith(
                        ". 12 requests wait in the spool: an event that was answered 200 meanwhile is among them, and "
                        "can be looked up when the store is back"
                        if waiting
                        else "; see gateway status"
                    )

    asyncio.run(run())


def test_a_store_that_answers_between_two_of_its_ends_is_not_called_well(
    store_settings: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With next to no room on its disk it ends at some write: a problem, and an alert, also while it answers."""

    async def run() -> None:
        async with office(store_settings) as at:
            for free_bytes, told in ((LOW_BYTES, []), (LOW_BYTES - 1, ["store_disk"])):
                monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free_bytes: SimpleNamespace(free=free))
                status = await at.desk.status()
                found = [each for each in status.problems if each.kind == "store_disk"]
                assert [each.kind for each in found] == told
                assert [each.what for each in found] == [status.store.disk] * len(told)
                assert [*alarms(found, at.config.alerts, at.now_ms)] == [f"{each}:" for each in told]
            assert str(store_settings.data_dir) in status.store.disk

    asyncio.run(run())


def test_what_the_machine_tells_of_the_store_is_said_with_the_rest(store_settings: StoreSettings) -> None:
    """In the sentence, in a field, and not as a field where there is nothing."""

    async def run() -> None:
        async with office(store_settings) as at:

            async def plight() -> str:
                return "its process 4711 is there and silent"

            error = StoreUnavailable("the store did not answer")
            assert (await store_away(at.desk.sight, error)).absence.plight == ""
            at.desk.sight.plight = plight
            away = await store_away(at.desk.sight, error)
            assert away.detail.startswith(
                "the store is away (it does not answer): its process 4711 is there and silent; webhooks are"
            )
            assert b'"plight":"its process 4711 is there and silent"' in away.body()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("place", "why"),
    [("redis://127.0.0.1:{port}", "nobody listens there"), ("unix://{folder}/no.sock", "its server is not there")],
)
def test_why_the_store_is_not_heard_is_said_without_its_place(
    store_settings: StoreSettings, tmp_path: Path, place: str, why: str
) -> None:
    """The kind of failure says what to look for; sockets and hosts stand in the log."""

    async def ask(url: str) -> str:
        store = Store(store_settings, url)
        try:
            with pytest.raises(StoreUnavailable) as raised:
                await store.call("PING")
        finally:
            await store.close()
        return explain(raised.value)[1]

    with socket.socket() as taken:  # bound, and never listened on: whoever connects is refused
        taken.bind(("127.0.0.1", 0))
        said = asyncio.run(ask(place.format(port=taken.getsockname()[1], folder=tmp_path)))
    assert said == f"the store cannot be asked at the moment: it does not answer: {why}; see gateway status"
