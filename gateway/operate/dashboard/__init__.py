"""The pages: rendered here, every state in the URL, no request to another host, readable without scripts."""

from typing import Any

from litestar import Router

from gateway.operate.dashboard import changes, lists, login, pages, replays
from gateway.operate.dashboard.rendering import exception_handlers
from gateway.operate.desk import Desk
from gateway.operate.gate import Door, gate
from gateway.operate.replaying import ReplayDesk

MAX_BODY_BYTES = 64 * 1024


def page_routes(desk: Desk, door: Door, replay_desk: ReplayDesk) -> list[Any]:
    """All pages, behind the gate; and the way in, before it."""
    check = gate(door)
    shared: dict[str, Any] = {
        "exception_handlers": exception_handlers(),
        "request_max_body_size": MAX_BODY_BYTES,
        "include_in_schema": False,
    }
    return [
        Router("/login", route_handlers=login.open_routes(desk, door), **shared),
        Router(
            "/",
            route_handlers=[
                *pages.routes(desk),
                *lists.routes(desk),
                *replays.routes(desk, replay_desk),
                *changes.routes(desk),
                *login.closed_routes(desk, door),
            ],
            guards=[check],
            **shared,
        ),
    ]
