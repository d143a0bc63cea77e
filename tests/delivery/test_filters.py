"""Filters and formats on a real log with real sockets: what arrives, what counts as filtered, and that it adds up."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from gateway.store.log import Batch, NewEvent
from tests.support.delivering import Rig, rig, subscriber
from tests.support.servers import Received, answering, response, serving

NO_CONTENT = response("204 No Content")
ERRORS = 'event.channel == "whatsapp" && has(event.data.error)'


async def log_messages(r: Rig, count: int, *, first: int = 0) -> None:
    """Every second on WhatsApp, every third failed, every fifth with a size that is no number; raw says the plan."""
    events = []
    for number in range(first, first + count):
        data: dict[str, Any] = {"kind": "message"}
        if number % 3 == 0:
            data["error"] = {"code": str(number)}
        if number % 5 == 0:
            data["metadata"] = {"size": "large"}
        body = {
            "id": f"evt_{number}",
            "type": "message.failed" if number % 3 == 0 else "message.sent",
            "received_at": "2026-02-03T12:00:00.000Z",
            "source": "src",
            "channel": "whatsapp" if number % 2 == 0 else "sms",
            "ordering_key": None,
            "data": data,
        }
        raw = msgspec.json.encode({"plan": "gold" if number % 4 == 0 else "free"})
        events.append(NewEvent(f"evt_{number}", "src", 600, msgspec.json.encode(body), raw))
    await r.log.commit(r.log.next_batch(), Batch(events, [("src", "accepted", count)], [], []))


def numbers(requests: list[Received], name: str) -> list[int]:
    """The numbers of the events that one subscriber received."""
    found = [request for request in requests if request.target == f"/{name}"]
    return sorted(int(request.headers["webhook-id"].removeprefix("evt_")) for request in found)


def test_only_what_the_filter_wants_arrives(tmp_path: Path) -> None:
    """From the backlog and live, each subscriber gets what its filter wants, and a neighbour without one gets all."""

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(NO_CONTENT)) as server:
            await log_messages(r, 120)
            subscribers = [
                subscriber(server.port, "errors", where=ERRORS),
                subscriber(server.port, "gold", where='event.raw.plan == "gold"', raw=False),
                subscriber(server.port, "all"),
            ]
            async with r.delivering(*subscribers):
                await r.settled("errors", "gold", "all", offered=120)
                await log_messages(r, 120, first=120)
                await r.settled("errors", "gold", "all", offered=240)
            assert numbers(server.requests, "errors") == list(range(0, 240, 6))
            assert numbers(server.requests, "gold") == list(range(0, 240, 4))
            assert numbers(server.requests, "all") == list(range(240))
            assert not [each for each in server.requests if each.target == "/gold" and b'"raw"' in each.body]
            line = await r.line("errors")
            assert (line.delivered, line.filtered, line.unaccounted) == (40, 200, 0)
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_a_filter_that_fails_counts_as_no_and_is_seen(tmp_path: Path) -> None:
    """Events on which the expression fails are filtered, the lane says how many, and the rest is delivered."""

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(NO_CONTENT)) as server:
            await log_messages(r, 60)
            where = "!has(event.data.metadata) || event.data.metadata.size > 3"
            async with r.delivering(subscriber(server.port, where=where)) as dispatcher:
                await r.settled(offered=60)
                status = dispatcher.lane_status("crm")
            assert status is not None
            assert status["filter_failures"] == 12
            assert numbers(server.requests, "crm") == [number for number in range(60) if number % 5]
            line = await r.line()
            assert (line.delivered, line.filtered) == (48, 12)
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_a_changed_filter_holds_from_the_cursor_on(tmp_path: Path) -> None:
    """A filter that is replaced while running decides over what was not read yet; nothing is offered twice."""

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(NO_CONTENT)) as server:
            before = subscriber(server.port, where='event.channel == "whatsapp"')
            async with r.delivering(before) as dispatcher:
                await log_messages(r, 30)
                await r.settled(offered=30)
                await dispatcher.apply([msgspec.structs.replace(before, where='event.channel == "sms"')])
                await log_messages(r, 30, first=30)
                await r.settled(offered=60)
            assert numbers(server.requests, "crm") == [*range(0, 30, 2), *range(31, 60, 2)]
            assert await r.audited() == (0, [])

    asyncio.run(run())


def test_each_subscriber_has_its_own_form(tmp_path: Path) -> None:
    """The same event goes out canonical, as a structured and as a binary CloudEvent, under one id."""

    async def run() -> None:
        async with rig(tmp_path) as r, serving(answering(NO_CONTENT)) as server:
            await log_messages(r, 1)
            async with r.delivering(
                subscriber(server.port, "plain"),
                subscriber(server.port, "whole", format="cloudevents-structured"),
                subscriber(server.port, "split", format="cloudevents-binary", raw=False),
            ):
                await r.settled("plain", "whole", "split", offered=1)
            sent = {request.target: request for request in server.requests}
            plain, whole, split = (msgspec.json.decode(sent[f"/{name}"].body) for name in ("plain", "whole", "split"))
            assert {request.headers["webhook-id"] for request in sent.values()} == {"evt_0"}
            assert whole["data"] == plain == split | {"raw": {"plan": "gold"}}
            assert (whole["id"], sent["/split"].headers["ce-id"]) == ("evt_0", "evt_0")
            assert "ce-subject" not in sent["/split"].headers

    asyncio.run(run())
