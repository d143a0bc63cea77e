"""A condition says of one event the same when it is delivered and when it is replayed."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas.event import CREDENTIAL_TYPE
from schemas.timestamps import format_ms
from tests.operate.staff import Staff, settings, staff
from tests.support.delivering import until, wall_ms
from tests.support.servers import OK, Server, answering, serving

WHERE = 'event.raw.urgency > 5 && event.raw.tags.exists(t, t == "vip")'
RAWS = (
    b'{"urgency":9,"tags":["new","vip"]}',
    b'{"urgency":3,"tags":["vip"]}',
    b'{"urgency":9,"tags":[]}',
    b'{"urgency":"high","tags":["vip"]}',  # the condition fails on it: no match
    b'{"tags":["vip"]}',
    b"{}",
)
SUBSCRIBERS: dict[str, dict[str, Any]] = {
    "bare": {"raw": False, "where": WHERE},
    "whole": {"raw": True, "where": WHERE},
    "named": {"raw": False, "where": WHERE, "types": [CREDENTIAL_TYPE, "message.*"]},
    "code": {"types": [CREDENTIAL_TYPE, "message.*"], "where": 'event.data.qr_code == "secret"'},
}


def arrived(server: Server, replay: str | None = None) -> tuple[list[str], bool]:
    """The ids of what came by this replay, or without one, and whether any of it had raw."""
    came = [request for request in server.requests if request.headers.get("gateway-replay") == replay]
    bodies = [msgspec.json.decode(request.body) for request in came]
    return sorted(body["id"] for body in bodies), any("raw" in body for body in bodies)


async def replayed(at: Staff, **order: Any) -> dict[str, Any]:
    """Order a replay and wait for its end."""
    made = await at.operator.post("/api/replays", json=order)
    assert made.status_code == 200, made.text
    found: dict[str, Any] = {}

    async def ended() -> bool:
        nonlocal found
        found = (await at.operator.get(f"/api/replays/{made.json()['replay']['id']}")).json()
        return bool(found["state"] == "done")

    await until(ended)
    return found


def test_a_filter_means_the_same_live_and_in_a_replay(tmp_path: Path) -> None:
    """It reads raw also for who gets none, fails as no, and no glob covers a login credential: both ways alike."""

    async def run() -> None:
        async with AsyncExitStack() as stack:
            servers = {name: await stack.enter_async_context(serving(answering(OK))) for name in [*SUBSCRIBERS, "url"]}
            written = {name: settings(servers[name].port, **given) for name, given in SUBSCRIBERS.items()}
            at = await stack.enter_async_context(staff(tmp_path, written))
            now = format_ms(wall_ms())  # today: retention leaves it alone
            events = [await at.log(raw=raw, received_at=now) for raw in RAWS]
            data = {"kind": "channel", "channel_id": "c", "qr_code": "secret"}
            qr = await at.log(CREDENTIAL_TYPE, raw=RAWS[0], received_at=now, data=data)

            async def settled() -> bool:
                lines = (await at.operator.get("/api/ledger")).json()["subscribers"]
                return len(lines) == len(SUBSCRIBERS) and all(
                    line["delivered"] + line["filtered"] == len(events) + 1 for line in lines.values()
                )

            await until(settled)
            live = {name: arrived(servers[name]) for name in SUBSCRIBERS}
            both = sorted([events[0].id, qr.id])
            assert live == {
                "bare": ([events[0].id], False),
                "whole": ([events[0].id], True),
                "named": (both, False),
                "code": ([qr.id], True),
            }
            expected = []
            for name, given in SUBSCRIBERS.items():
                for order in ({"wanted_only": True}, {"where": given["where"]}, {"state": "delivered"}):
                    wanted = {"subscriber": name, **order}
                    plan = await at.operator.post("/api/replays", json={**wanted, "dry_run": True})
                    assert plan.status_code == 200, plan.text
                    assert plan.json()["plan"]["matched"] == len(live[name][0]), wanted
                    expected.append((name, wanted, live[name]))
            url = {"url": f"http://127.0.0.1:{servers['url'].port}/", "allow_networks": ["127.0.0.0/8"], "raw": False}
            expected.append(("url", {"to": url, "where": WHERE}, ([events[0].id], False)))
            types = ["message.*", CREDENTIAL_TYPE]
            expected.append(("url", {"to": url, "where": WHERE, "types": types}, (both, False)))
            ended = await asyncio.gather(*[replayed(at, **order) for _, order, _ in expected])
            for (name, order, came), replay in zip(expected, ended, strict=True):
                assert (replay["delivered"], replay["failed"]) == (len(came[0]), 0), order
                assert arrived(servers[name], replay["id"]) == came, order

    asyncio.run(run())


@pytest.mark.parametrize("guess", ["secret", "another"])
def test_what_is_held_back_does_not_tell_what_it_holds(tmp_path: Path, guess: str) -> None:
    """A condition on a login credential counts the same whether it is right or wrong, where it may not be sent."""

    async def run() -> None:
        async with staff(tmp_path, {"crm": settings(9)}) as at:
            await at.log(CREDENTIAL_TYPE, data={"kind": "channel", "channel_id": "c", "qr_code": "secret"})
            order = {"subscriber": "crm", "where": f'event.data.qr_code == "{guess}"', "dry_run": True}
            plan = (await at.operator.post("/api/replays", json=order)).json()["plan"]
            assert (plan["matched"], plan["withheld"]) == (0, 1)

    asyncio.run(run())
