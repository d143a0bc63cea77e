"""When an event was logged, and how long it waited for the store before: reckoned from the mark of its id."""

import asyncio
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.operate.logged import CLOCKS_MS, WAITED_MOST_MS, WAITED_MS, is_wait, reckoned_ms
from schemas.event import Event
from schemas.timestamps import format_ms, parse_iso_ms
from tests.operate.office import make_event
from tests.operate.staff import Staff, settings, staff
from tests.support.delivering import wall_ms
from tests.support.servers import answering, response, serving

SOURCE = '[sources.enviaai-br]\nadapter = "enviaai"\nsecrets = ["env:W"]\n'
HOUR_MS = 3_600_000


def came(number: int, received_ms: int, event_type: str = "message.received") -> Event:
    """An event that was received at a time."""
    return msgspec.structs.replace(make_event(number, event_type), received_at=format_ms(received_ms))


async def steps(at: Staff, event: Event, name: str = "") -> dict[str, dict[str, Any]]:
    """Its way up to the log, by what happened; asked by its id, if not by another name."""
    answer = await at.operator.get(f"/api/events/{name or event.id}/trace")
    return {step["what"]: step for step in answer.json()["steps"]}


def without_spool(at: Staff) -> None:
    """As if none were configured."""
    sight = at.gateway.desk.sight
    store = msgspec.structs.replace(sight.config.store, spool=None)
    sight.config = msgspec.structs.replace(sight.config, store=store)


async def shift(at: Staff, event: Event, by_ms: int) -> None:
    """As if the store's clock had been ahead when the mark was made."""
    key, store = at.gateway.keys[0].seen_prefix + event.id, at.gateway.store
    assert await store.call("PEXPIREAT", key, await store.call("PEXPIRETIME", key) + by_ms)


def test_a_trace_says_when_an_event_was_logged_and_how_long_it_waited(tmp_path: Path) -> None:
    """By the mark that the commit made: no byte more is kept for an event. What was logged at once did not wait.

    Where it waited nobody knows: a store of 200 ms a batch keeps requests in the queue for longer than that.
    """

    async def run() -> None:
        async with (
            serving(answering(response("204 No Content"))) as server,
            staff(tmp_path, {"crm": settings(server.port)}, tables=SOURCE) as at,
        ):
            began_ms = wall_ms()
            kept = await at.log(event=came(1, began_ms - 42_000))
            ended_ms = wall_ms()
            found = await steps(at, kept)
            logged_ms = parse_iso_ms(found["logged"]["at"])
            assert logged_ms is not None
            assert began_ms <= logged_ms <= ended_ms
            assert list(found) == ["received", "waited", "logged"]
            assert found["waited"]["at"] == kept.received_at
            waited = r"for the store, \d+ s by its clock"
            assert re.fullmatch(waited + ", in the queue or in the spool", found["waited"]["words"])
            without_spool(at)
            assert re.fullmatch(waited, (await steps(at, kept))["waited"]["words"])
            at_once = await at.log(event=came(2, wall_ms()))
            found = await steps(at, at_once)
            assert list(found) == ["received", "logged"]
            part = await at.comes_to(at_once, "delivered")
            assert at_once.received_at <= found["logged"]["at"] <= part["attempts"][0]["began_at"]

    asyncio.run(run())


def test_windows_that_change_move_no_time(tmp_path: Path) -> None:
    """An event's time is told by how long marks lived when its own was made; once others live for another time, it is
    not told any more.

    Story: dedupe_window and retention went from 7 to 6 days, and every event before that had been spooled for 24 h.
    """

    async def run() -> None:
        async with staff(tmp_path, {}, tables=SOURCE) as at:
            sight = at.gateway.desk.sight
            sight.wall_ms = lambda: wall_ms() + 72 * HOUR_MS
            before = await at.log(event=came(1, wall_ms(), "message.read"))
            told = await steps(at, before)
            assert list(told) == ["received", "logged"]
            source, before_s = sight.config.sources[before.source], sight.config.remembered_s(before.source)
            sight.config = at.gateway.config = msgspec.structs.replace(
                sight.config,
                sources={before.source: msgspec.structs.replace(source, dedupe_window_s=before_s - 86_400)},
                store=msgspec.structs.replace(sight.config.store, retention_s=before_s - 86_400),
            )
            assert sight.config.remembered_s(before.source) == before_s - 86_400
            assert await steps(at, before) == told, "nothing was logged with the new ones"
            after = await at.log(event=came(2, wall_ms(), "message.read"))
            assert (await steps(at, after))["logged"]["at"] >= after.received_at
            found = await steps(at, before)
            assert list(found) == ["received", "logged"]
            assert found["logged"]["at"] is None
            assert await at.gateway.store.call("HDEL", at.gateway.keys[0].state, f"t:{after.source}")
            assert (await steps(at, after))["logged"]["at"] is None, "a version before this one wrote nothing down"

    asyncio.run(run())


def test_a_time_that_cannot_have_been_is_not_told(tmp_path: Path) -> None:
    """The clocks differ: the time would be before the event came, or after it or one behind it was sent."""

    async def run() -> None:
        crm = settings(0, types=["message.received"])
        async with serving(answering(response("204 No Content"))) as server:
            crm["url"] = settings(server.port)["url"]
            async with staff(tmp_path, {"crm": crm}, tables=SOURCE) as at:
                at.gateway.desk.sight.wall_ms = lambda: wall_ms() + 2 * HOUR_MS
                filtered = await at.log(event=came(1, wall_ms(), "message.read"))
                await shift(at, filtered, HOUR_MS)
                assert "waited" in await steps(at, filtered), "nothing is known yet that contradicts it"
                sent = await at.log(event=came(2, wall_ms()))
                await at.comes_to(sent, "delivered")
                await shift(at, sent, HOUR_MS)
                for event in (filtered, sent):
                    assert (await steps(at, event))["logged"]["at"] is None
                await shift(at, sent, -2 * HOUR_MS)
                assert (await steps(at, sent))["logged"]["at"] is None
                assert await at.gateway.store.call("PERSIST", at.gateway.keys[0].seen_prefix + sent.id)
                assert (await steps(at, sent))["logged"]["at"] is None

    asyncio.run(run())


def test_an_attempt_that_failed_bounds_the_time_too(tmp_path: Path) -> None:
    """It was made after the event was logged, whatever came of it."""

    async def run() -> None:
        failing = answering(response("500 Internal Server Error"))
        async with (
            serving(failing) as server,
            staff(tmp_path, {"crm": settings(server.port, retry=["1h"])}, tables=SOURCE) as at,
        ):
            at.gateway.desk.sight.wall_ms = lambda: wall_ms() + 2 * HOUR_MS
            event = await at.log(event=came(1, wall_ms()))
            await at.comes_to(event, "parked")
            assert (await steps(at, event))["logged"]["at"] is not None
            await shift(at, event, HOUR_MS)
            assert (await steps(at, event))["logged"]["at"] is None

    asyncio.run(run())


def test_an_event_that_was_logged_twice_has_the_time_of_the_entry_that_is_shown(tmp_path: Path) -> None:
    """The newer one, by whatever name it is asked for; a mark tells nothing of an entry that did not make it.

    Story: asked by the beginning of its id, the trace showed the first entry with the time of the second mark.
    """

    async def run() -> None:
        async with staff(tmp_path, {}, tables=SOURCE) as at:
            store, keys = at.gateway.store, at.gateway.keys[0]
            first = await at.log(event=came(1, wall_ms() - HOUR_MS, "message.read"))
            assert await store.call("DEL", keys.seen_prefix + first.id), "forgotten"
            again = await at.log(event=came(1, wall_ms(), "message.read"))
            assert again.id == first.id
            for name in (again.id, again.id[:-1]):
                found = await steps(at, again, name)
                assert list(found) == ["received", "logged"]
                assert found["received"]["at"] == again.received_at
                assert found["logged"]["words"].startswith("as number 2 ")
                assert found["logged"]["at"] >= again.received_at
            assert await store.call("XDEL", keys.log, "2-0")
            found = await steps(at, first, first.id[:-1])
            assert found["logged"]["words"].startswith("as number 1 ")
            assert list(found) == ["received", "logged"]
            assert found["logged"]["at"] is None

    asyncio.run(run())


def test_a_wait_that_no_store_takes_is_not_told(tmp_path: Path) -> None:
    """The clock was wrong when the request came: when it was logged is known, but not how long it waited."""

    async def run() -> None:
        async with staff(tmp_path, {}, tables=SOURCE) as at:
            for number, received_at in enumerate(("0001-01-01T00:00:00.000Z", "1970-01-01T00:00:00.000Z")):
                event = msgspec.structs.replace(make_event(number, "message.read"), received_at=received_at)
                found = await steps(at, await at.log(event=event))
                assert list(found) == ["received", "logged"]
                assert found["logged"]["at"] is not None

    asyncio.run(run())
    waits_ms = (WAITED_MS, WAITED_MS + 1, WAITED_MOST_MS, WAITED_MOST_MS + 1)
    assert [is_wait(7, 7 + wait_ms) for wait_ms in waits_ms] == [False, True, True, False]


@pytest.mark.parametrize(
    ("logged_at_ms", "told_ms"),
    [
        (5_000, 5_000),
        (3_999, 4_000),
        (4_000 - CLOCKS_MS, 4_000),
        (4_000 - CLOCKS_MS - 1, None),
        (9_001, 9_000),
        (9_000 + CLOCKS_MS, 9_000),
        (9_000 + CLOCKS_MS + 1, None),
    ],
)
def test_clocks_that_differ_a_little_do_not_matter(logged_at_ms: int, told_ms: int | None) -> None:
    """Up to a second, the time told is one at which it can have been; beyond it nothing is."""
    assert reckoned_ms(logged_at_ms, 4_000, 9_000) == told_ms
