"""Why an event reached a subscriber or did not: every way in which it can stand, on a store that really delivers."""

import asyncio
import itertools
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.config import SubscriberSettings
from gateway.delivery.condition import Subject
from gateway.delivery.hurry import hurry
from gateway.operate.wanting import clauses, judge
from gateway.store.connection import Store
from schemas.timestamps import format_ms
from tests.operate.office import make_event
from tests.operate.staff import settings, staff
from tests.support.delivering import until, wall_ms
from tests.support.servers import Connection, answering, response, serving

FAIL = response("500 Internal Server Error", b"out of order")


def whats(part: dict[str, Any]) -> list[str]:
    """What happened, in order."""
    return [step["what"] for step in part["steps"]]


def words(part: dict[str, Any], what: str) -> str:
    """The sentence of one step."""
    (step,) = [step for step in part["steps"] if step["what"] == what]
    told: str = step["words"]
    return told


def test_an_event_that_was_delivered_late_shows_each_attempt(tmp_path: Path) -> None:
    """Two failures and a success: all three with their times, and the delivery is certain."""
    left = iter([FAIL, FAIL])

    async def script(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.write(next(left, response("204 No Content")))

    async def run() -> None:
        async with serving(script) as server, staff(tmp_path, {"crm": settings(server.port)}) as at:
            part = await at.comes_to(event := await at.log(), "delivered")
            assert part["certain"] is True
            assert [each["cause"] for each in part["attempts"]] == ["http_500", "http_500", None]
            assert [each["status"] for each in part["attempts"]] == [500, 500, 204]
            assert part["attempts"] == sorted(part["attempts"], key=lambda each: each["at"])
            assert [each["number"] for each in part["attempts"]] == [1, 2, 3]
            assert part["attempts_not_kept"] == 0
            assert whats(part) == ["subscribed", "matched", "attempt", "attempt", "attempt", "delivered"]
            first, _, last = part["attempts"]
            end = f"crm answered 204, {last['duration_ms']} ms after attempt 3 began at {last['began_at']}"
            assert words(part, "delivered") == end
            (shown,) = (await at.operator.get(f"/api/events/{event.id}")).json()["deliveries"]
            assert (shown["state"], shown["certain"], shown["words"]) == ("delivered", True, end)
            assert (shown["attempts"], shown["status"]) == (3, 204)
            assert (shown["first_failed_at"], shown["last_attempt_at"]) == (first["at"], last["at"])

    asyncio.run(run())


@pytest.mark.parametrize("delivered", [True, False])
def test_a_schedule_longer_than_what_is_kept_says_what_is_not(tmp_path: Path, delivered: bool) -> None:
    """Of sixteen attempts the newest ten are shown under their own numbers, and the six before them are counted."""
    failures = iter([FAIL] * (15 if delivered else 16))
    refused: list[str] = []

    async def script(connection: Connection) -> None:
        while True:
            event = (await connection.request()).headers["webhook-id"]
            good = response("204 No Content")
            await connection.write(next(failures, good) if event in refused else good)

    async def run() -> None:
        crm = {"retry": ["10ms"] * 15}
        async with serving(script) as server, staff(tmp_path, {"crm": settings(server.port, **crm)}) as at:
            refused.append((event := make_event(0)).id)
            await at.log(event=event)
            state = "delivered" if delivered else "dead_letter"

            async def there() -> bool:
                await at.log()  # what gets through keeps the breaker closed, so that no attempt is a probe
                found = await at.trace(event)
                return bool(found["state"] == state and found["certain"])

            await until(there)
            part = await at.trace(event)
            assert (part["certain"], part["attempts_not_kept"]) == (True, 6)
            assert [each["number"] for each in part["attempts"]] == list(range(7, 17))
            assert whats(part)[2:4] == ["not_kept", "attempt"]
            assert words(part, "not_kept") == "6 earlier attempts are not kept"
            told = [step["words"] for step in part["steps"] if step["what"] == "attempt"]
            assert [text.split(":")[0] for text in told] == [f"attempt {number}" for number in range(7, 17)]
            began = part["attempts"][-1]["began_at"]
            end = f"after attempt 16 began at {began}" if delivered else "given up after 16 attempts: crm answers 500"
            assert words(part, part["state"]).endswith(end)
            (shown,) = (await at.operator.get(f"/api/events/{event.id}")).json()["deliveries"]
            assert (shown["words"], shown["attempts"]) == (words(part, part["state"]), 16)

    asyncio.run(run())


def test_parked_held_and_dead_say_what_they_wait_for(tmp_path: Path) -> None:
    """The first of a key is parked, the second held behind it by name; then both die with their attempts."""

    async def run() -> None:
        order = {"order": "key", "retry": ["2s"]}
        async with (
            serving(answering(FAIL)) as server,
            staff(tmp_path, {"crm": settings(server.port, **order)}) as at,
        ):
            first = await at.log(ordering_key="chat")
            second = await at.log(ordering_key="chat")
            part = await at.comes_to(first, "parked")
            assert part["attempts"][0]["cause"] == "http_500"
            assert "attempt 2 is due at" in words(part, "due")
            held = await at.comes_to(second, "held")
            (told,) = [step["words"] for step in held["steps"] if step["words"].startswith("waits behind evt_")]
            assert first.id in told
            for word, event in (("parked", first), ("held", second)):
                listed = (await at.operator.get(f"/api/deliveries?subscriber=crm&state={word}")).json()["items"]
                assert [item["event_id"] for item in listed] == [event.id]
            dead = await at.comes_to(first, "dead_letter")
            assert [each["cause"] for each in dead["attempts"]] == ["http_500", "http_500"]
            assert "given up after 2 attempts" in words(dead, "dead_letter")
            last = await at.comes_to(second, "dead_letter")
            assert len(last["attempts"]) == 1

    asyncio.run(run())


def test_a_retried_dead_letter_still_shows_the_attempts_before(tmp_path: Path) -> None:
    """They are marked, and those after them are numbered from 1; also once it is delivered."""

    async def run() -> None:
        answers = itertools.chain([FAIL], itertools.repeat(response("204 No Content")))

        async def script(connection: Connection) -> None:
            while True:
                await connection.request()
                await connection.write(next(answers))

        async with serving(script) as server, staff(tmp_path, {"crm": settings(server.port, retry=[])}) as at:
            event = await at.log()
            await at.comes_to(event, "dead_letter")
            assert (await at.operator.post("/api/dead/retry", json={"all": True})).is_success

            async def there() -> bool:
                return bool((await at.trace(event))["attempts"][1:])

            await until(there)
            part = await at.comes_to(event, "delivered")
            found = [(each["number"], each["cause"], each["before_retry"]) for each in part["attempts"]]
            assert found == [(1, "http_500", True), (1, None, False)]
            told = [step["words"] for step in part["steps"] if step["what"] == "attempt"]
            assert [text.endswith("before it was retried as a dead letter") for text in told] == [True, False]

    asyncio.run(run())


def test_an_event_delivered_at_once_shows_its_attempt(tmp_path: Path) -> None:
    """When it began and ended, and what was answered; once that is no longer kept, the trace says so."""

    async def run() -> None:
        good = answering(response("202 Accepted"))
        async with serving(good) as server, staff(tmp_path, {"crm": settings(server.port)}) as at:
            before, event = format_ms(wall_ms()), await at.log()
            part = await at.comes_to(event, "delivered")
            assert part["certain"] is True
            (attempt,) = part["attempts"]
            assert (attempt["number"], attempt["status"], attempt["cause"]) == (1, 202, None)
            assert before <= attempt["began_at"] <= attempt["at"] <= format_ms(wall_ms())
            took = f"{attempt['duration_ms']} ms"
            assert words(part, "attempt") == f"attempt 1: delivered, answered 202, after {took}"
            end = f"crm answered 202, {took} after attempt 1 began at {attempt['began_at']}"
            assert words(part, "delivered") == end
            (shown,) = (await at.operator.get(f"/api/events/{event.id}")).json()["deliveries"]
            assert (shown["words"], shown["attempts"], shown["last_attempt_at"]) == (end, 1, attempt["at"])
            keys, store = at.gateway.keys[0].subscriber("crm"), at.gateway.store
            asked: list[Any] = []

            async def many(commands: list[tuple[Any, ...]]) -> list[Any]:
                asked.extend(command[1] for command in commands)
                return await Store.many(store, commands)

            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(store, "many", many)
                assert (await at.trace(event))["attempts"] == [attempt]
                # What its state has read is not asked for again: once for that, once for when it was logged.
                assert asked.count(keys.firsts) == 2
            await store.call("DEL", keys.firsts, keys.firsts_before)
            part = await at.trace(event)
            assert (part["state"], part["attempts"]) == ("delivered", [])
            assert words(part, "delivered") == "crm answered 2xx; when is no longer kept"

    asyncio.run(run())


def test_an_event_from_before_the_subscription_was_never_offered(tmp_path: Path) -> None:
    """With ``start = "now"`` what was logged before is told so."""

    async def run() -> None:
        async with serving(answering(response("204 No Content"))) as server, staff(tmp_path, {}) as at:
            early = await at.log()
            made = await at.operator.post(
                "/api/subscribers", json={"name": "crm", **settings(server.port, start="now")}
            )
            assert made.status_code == 201, made.text

            async def known() -> bool:
                answer = await at.operator.get(f"/api/events/{early.id}/trace")
                return bool(answer.json()["subscribers"])

            await until(known)
            part = await at.trace(early)
            assert (part["state"], part["certain"], whats(part)) == ("not_offered", True, ["subscribed", "not_offered"])

    asyncio.run(run())


def test_a_paused_subscriber_and_an_open_breaker_are_what_it_waits_for(tmp_path: Path) -> None:
    """An unread event says why its subscriber stands still, and how many are before it."""

    async def run() -> None:
        async with serving(answering(FAIL)) as server, staff(tmp_path, {"crm": settings(server.port)}) as at:
            await at.operator.post("/api/subscribers/crm/pause", json={"reason": "a flood"})
            lane = at.gateway.dispatchers[0]
            await until(lambda: (lane.lane_status("crm") or {})["paused"])
            first = await at.log()
            event = await at.log()
            part = await at.trace(event)
            assert part["state"] == "pending"
            assert words(part, "paused") == "paused: a flood"
            assert words(part, "behind") == "its cursor is at number 0: 1 event is before"
            assert "behind" not in whats(await at.trace(first)), "nothing is before it"
            assert (await at.operator.post("/api/subscribers/crm/resume")).json()["paused"] is None
            for _ in range(20):
                await at.log()
            await until(lambda: (lane.lane_status("crm") or {})["breaker"]["open"])
            sub = at.gateway.keys[0].subscriber("crm").sub

            async def saved() -> bool:
                return b'"open":true' in (await at.gateway.store.call("HGET", sub, "breaker") or b"")

            await until(saved)
            (state,) = (await at.operator.get("/api/subscribers")).json()["items"]
            assert state["state"] == "breaker_open"
            assert "answers 500" in state["words"]
            waiting = await at.trace(await at.log())
            assert "it answers 500; one event probes" in words(waiting, "breaker_open")

    asyncio.run(run())


def test_a_probe_that_failed_stands_in_its_place_and_what_is_due_says_what_keeps_it(tmp_path: Path) -> None:
    """Attempts before and after the breaker opened are around that line; a time that has passed is not "due at"."""

    async def run() -> None:
        crm = settings(9, retry=["1h", "1h"], order="key")  # nobody listens on port 9
        async with staff(tmp_path, {"crm": crm}) as at:
            keys = at.gateway.keys[0].subscriber("crm")
            chats = ["chat 0", *(f"chat {number}" for number in range(10))]
            events = [await at.log(ordering_key=chat, received_at=format_ms(wall_ms())) for chat in chats]

            async def is_open() -> bool:
                cursor, saved = await at.gateway.store.call("HMGET", keys.sub, "cursor", "breaker")
                return cursor == b"11" and b'"open":true' in (saved or b"")

            await until(is_open)
            await hurry(at.gateway.store, at.gateway.keys, "crm", wall_ms())
            parts: dict[bool, dict[str, Any]] = {}

            async def probed() -> bool:
                traced = [await at.trace(each) for each in events]
                parts.clear()
                parts.update({len(part["attempts"]) > 1: part for part in traced if part["state"] == "parked"})
                return True in parts

            await until(probed)
            steps = [step for step in parts[True]["steps"] if step["what"] in ("attempt", "breaker_open")]
            assert [step["what"] for step in steps] == ["attempt", "breaker_open", "attempt"]
            assert [step["at"] for step in steps] == sorted(step["at"] for step in steps)
            assert steps[0]["words"].startswith("attempt 1: could not connect, after ")
            assert steps[2]["words"].endswith("; a probe of the breaker, which used no attempt up")
            due = parts[False]["steps"][-1]
            end = "crm refuses the connection; attempt 2 is due when "
            assert (due["at"], due["words"]) == (None, parts[False]["words"])
            assert due["words"] == end + "the breaker lets it"
            await at.operator.post("/api/subscribers/crm/pause")
            assert end + "it is resumed" in [(await at.trace(each))["words"] for each in events]

    asyncio.run(run())


ASKED = 'event.channel == "whatsapp" && event.data.direction == "outbound"'


@pytest.mark.parametrize(
    ("types", "where", "event_type", "wanted", "told"),
    [
        (("*",), None, "message.read", True, "asks for it with *"),
        (("booking.*", "message.read"), None, "message.read", True, "asks for it with message.read"),
        (("booking.*",), None, "message.read", False, "does not ask for message.read; it asks for booking.*"),
        (("*",), None, "channel.qr_updated", False, "did not name channel.qr_updated"),
        (("message.*",), 'event.channel == "whatsapp"', "message.read", True, "its where holds"),
        (("message.*",), 'event.channel == "sms"', "message.read", False, 'where said no: event.channel == "sms"'),
        (("message.*",), ASKED, "message.read", False, "where failed on it, which counts as no: event.data.direction"),
    ],
)
def test_the_settings_say_why(
    types: tuple[str, ...], where: str | None, event_type: str, wanted: bool, told: str
) -> None:
    """The pattern that covers it, or the one clause that says no or fails."""
    settings = SubscriberSettings(name="crm", url="https://x", secrets=("whsec_x",), types=types, where=where)
    subject = Subject(msgspec.json.encode(make_event(1, event_type)), b"{}")
    verdict = judge(settings, event_type, subject)
    assert verdict.wanted is wanted
    assert told in verdict.words


@pytest.mark.parametrize(
    ("where", "parts"),
    [
        ("a", ["a"]),
        ("a && b", ["a", "b"]),
        ("a && (b && c) && d", ["a", "(b && c)", "d"]),
        ("a && b || c", ["a && b || c"]),
        ("a && b ? c : d", ["a && b ? c : d"]),
        ("a || b && c", ["a || b && c"]),
        ("x == \"a && b\" && y == '\\' || ' && z", ['x == "a && b"', "y == '\\' || '", "z"]),
        ('x == r"\\" && y', ['x == r"\\"', "y"]),
        ('x == """a " && b""" && y', ['x == """a " && b"""', "y"]),
        ("[1].all(v, v > 0 && v < 2) && y", ["[1].all(v, v > 0 && v < 2)", "y"]),
    ],
)
def test_an_expression_is_taken_apart_only_where_its_parts_stand_alone(where: str, parts: list[str]) -> None:
    """At the top, outside strings and brackets, and never where something weaker than && binds the whole."""
    assert clauses(where) == parts
