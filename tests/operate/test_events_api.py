"""Searching and reading the log over HTTP."""

import asyncio
import html
from typing import Any

import httpx
import pytest

from gateway.config import StoreSettings
from gateway.operate.cursor import write_log_cursor
from schemas.event import Channel
from schemas.timestamps import format_ms
from tests.operate.office import NOW_MS, Office, make_event, office


async def walk(client: httpx.AsyncClient, path: str, **parameters: Any) -> list[list[str]]:
    """The ids of every page of a list, following ``next`` to the end."""
    pages: list[list[str]] = []
    while True:
        answer = await client.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert set(body) == {"items", "next"}
        pages.append([item["id"] for item in body["items"]])
        if body["next"] is None:
            return pages
        parameters["after"] = body["next"]
        assert len(pages) < 100


@pytest.mark.parametrize("partitions", [1, 3])
def test_pages_have_every_event_once_in_both_orders(store_settings: StoreSettings, partitions: int) -> None:
    """Following ``next`` gives the whole log, whatever the number of partitions, oldest or newest first."""

    async def run() -> None:
        async with office(store_settings, partitions=partitions) as at:
            logged = [(await at.log_event(number)).id for number in range(11)]
            oldest = [each for page in await walk(at.reader, "/api/events", limit=4) for each in page]
            assert oldest == logged
            newest = await walk(at.reader, "/api/events", limit=4, order="newest")
            assert [each for page in newest for each in page] == logged[::-1]
            assert all(len(page) <= 4 for page in newest)

    asyncio.run(run())


def test_pulling_goes_on_behind_what_was_read(store_settings: StoreSettings) -> None:
    """With nothing new ``next`` is null, and the same cursor gives what comes later, once."""

    async def run() -> None:
        async with office(store_settings) as at:
            await at.log_event(0)
            cursor = (await at.reader.get("/api/events")).json()["next"]
            for _ in range(2):
                quiet = (await at.reader.get("/api/events", params={"after": cursor})).json()
                assert quiet == {"items": [], "next": None}
            later = await at.log_event(1)
            found = (await at.reader.get("/api/events", params={"after": cursor})).json()
            assert [item["id"] for item in found["items"]] == [later.id]
            back = (await at.reader.get("/api/events", params={"after": cursor, "order": "newest"})).json()
            assert len(back["items"]) == 1

    asyncio.run(run())


def test_filters_keep_what_fits_and_nothing_else(store_settings: StoreSettings) -> None:
    """Type globs, source, since and until, alone and together."""

    async def run() -> None:
        async with office(store_settings) as at:
            await at.log_event(0, "message.received")
            await at.log_event(1, "message.read", source="other-source")
            await at.log_event(2, "booking.created")
            await at.log_event(3, "message.read")

            async def numbers(**parameters: str) -> list[int]:
                got = []
                for order in ("oldest", "newest"):
                    pages = await walk(at.reader, "/api/events", order=order, **parameters)
                    by_id = {make_event(n, t, source=s).id: n for n, t, s in events}
                    got.append(sorted(by_id[each] for page in pages for each in page))
                assert got[0] == got[1]
                return got[0]

            events = [
                (0, "message.received", "enviaai-br"),
                (1, "message.read", "other-source"),
                (2, "booking.created", "enviaai-br"),
                (3, "message.read", "enviaai-br"),
            ]
            first_ms = NOW_MS - 60_000
            assert await numbers() == [0, 1, 2, 3]
            assert await numbers(type="*") == [0, 1, 2, 3]
            assert await numbers(type="message.*") == [0, 1, 3]
            assert await numbers(type="message.read,booking.created") == [1, 2, 3]
            assert await numbers(source="enviaai-br", type="message.read") == [3]
            assert await numbers(since=format_ms(first_ms + 10)) == [1, 2, 3]
            assert await numbers(until=format_ms(first_ms + 10)) == [0]
            assert await numbers(since=format_ms(first_ms + 10), until=format_ms(first_ms + 30)) == [1, 2]
            assert await numbers(since="2m") == [0, 1, 2, 3]
            assert await numbers(since="5s") == []

    asyncio.run(run())


def test_since_is_found_without_reading_the_whole_log(store_settings: StoreSettings) -> None:
    """Days of older events are jumped over: a search of the last minutes looks at few entries."""

    async def run() -> None:
        async with office(store_settings) as at:
            for number in range(40):
                received = format_ms(NOW_MS - (40 - number) * 3_600_000)
                await at.log_event(number, received_at=received)
            reads: list[int] = []
            log = at.logs[0]
            really = log.read

            async def counted(after: int, limit: int, *, block_ms: int | None = None) -> Any:
                entries = await really(after, limit, block_ms=block_ms)
                reads.append(len(entries))
                return entries

            log.read = counted  # type: ignore[method-assign]  # counts what passes; the real thing answers
            found = await at.reader.get("/api/events", params={"since": "3h"})
            assert len(found.json()["items"]) == 3
            assert sum(reads) < 15

    asyncio.run(run())


CANNOT_BE_ASKED: list[tuple[dict[str, str], str]] = [
    ({"limit": "1001"}, "limit: Expected `int` <= 1000"),
    ({"limit": "0"}, "limit: Expected `int` >= 1"),
    ({"limit": "many"}, "limit: Expected `int`"),
    ({"after": "zzz"}, "no cursor"),
    ({"after": "ä"}, "no cursor"),
    ({"after": write_log_cursor([1, 2])}, "another number of partitions"),
    ({"order": "sideways"}, "order"),
    ({"type": "mesage.*"}, "no event has the type mesage.*"),
    ({"since": "soon"}, "since is no time; write 15m"),
    ({"since": "1h", "until": "2h"}, "since must lie before until"),
]


def test_what_cannot_be_asked_is_a_400_that_says_why(store_settings: StoreSettings) -> None:
    """Bad parameters name themselves; nothing is silently ignored or cut."""

    async def run() -> None:
        async with office(store_settings) as at:
            for parameters, says in CANNOT_BE_ASKED:
                for path in ("/api/events", "/events"):
                    if path == "/events" and "limit" in parameters:
                        continue
                    answer = await at.reader.get(path, params=parameters)
                    assert answer.status_code == 400, parameters
                    assert says in html.unescape(answer.text)
            assert (await at.reader.get("/api/events", params={"limit": "1000"})).status_code == 200

    asyncio.run(run())


def test_one_event_is_found_by_a_unique_beginning_of_its_id(store_settings: StoreSettings) -> None:
    """Whole id, beginning, with or without ``evt_``; two that fit are a 409 that names them, none is a 404."""

    async def run() -> None:
        async with office(store_settings, partitions=2) as at:
            events = [await at.log_event(number) for number in range(40)]
            wanted = events[7]
            for name in (wanted.id, wanted.id[:16], wanted.id[4:16]):
                detail = (await at.reader.get(f"/api/events/{name}")).json()
                assert detail["event"]["id"] == wanted.id
                assert detail["raw"] == {"number": 7, "from": "5511999999999"}
            ambiguous = await at.reader.get("/api/events/evt_")
            assert (ambiguous.status_code, ambiguous.json()["code"]) == (409, "conflict")
            missing = await at.reader.get("/api/events/evt_0000")
            assert (missing.status_code, missing.json()["code"]) == (404, "not_found")

    asyncio.run(run())


async def log_credential(at: Office) -> str:
    """A ``channel.qr_updated`` in the log; the secret stands in the event and in raw."""
    data = Channel(channel_id="inst_xyz789", qr_code="data:image/png;base64,THE-CREDENTIAL")
    event = make_event(0, "channel.qr_updated", data=data)
    await at.log_made(event, {"data": {"qrCode": "data:image/png;base64,THE-CREDENTIAL"}})
    return event.id


def test_a_login_credential_is_masked_wherever_the_api_shows_the_event(store_settings: StoreSettings) -> None:
    """List, list with raw, and detail; it really is in the log."""

    async def run() -> None:
        async with office(store_settings) as at:
            event_id = await log_credential(at)
            (entry,) = await at.logs[0].read(0, 1)
            assert b"THE-CREDENTIAL" in entry.event_json
            assert b"THE-CREDENTIAL" in entry.raw_json
            for path in ("/api/events", "/api/events?raw=true", f"/api/events/{event_id}"):
                answer = await at.operator.get(path)
                assert answer.status_code == 200
                assert "THE-CREDENTIAL" not in answer.text
                assert "[credential]" in answer.text
            listed = (await at.operator.get("/api/events?raw=true")).json()["items"][0]
            assert listed["raw"] == "[credential]"
            assert listed["data"] == {
                "kind": "channel",
                "channel_id": "inst_xyz789",
                "qr_code": "[credential]",
            }

    asyncio.run(run())


def test_raw_comes_only_when_asked_for(store_settings: StoreSettings) -> None:
    """Items are whole canonical events; ``raw=true`` adds what the provider sent."""

    async def run() -> None:
        async with office(store_settings) as at:
            await at.log_event(3)
            assert "raw" not in (await at.reader.get("/api/events")).json()["items"][0]
            item = (await at.reader.get("/api/events?raw=true")).json()["items"][0]
            assert item["raw"] == {"number": 3, "from": "5511999999999"}

    asyncio.run(run())
