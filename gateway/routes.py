"""All that one process answers over HTTP, as one application."""

from typing import Any

from litestar import Litestar, asgi
from litestar.exceptions import NotFoundException
from litestar.handlers import ASGIRouteHandler
from litestar.types import Receive, Scope, Send

from gateway import problems
from gateway.intake.endpoint import Endpoint
from gateway.operate.alerts import Alerts
from gateway.operate.api import alerts as alerts_api
from gateway.operate.api import api_routes, exception_handlers, openapi_config, reload, replays, subscribers
from gateway.operate.dashboard import page_routes
from gateway.operate.desk import Desk
from gateway.operate.gate import Door
from gateway.operate.health import health_routes
from gateway.operate.metrics import metrics_routes
from gateway.operate.refusals import Refused, count_refused
from gateway.operate.replaying import ReplayDesk
from gateway.operate.subscribers import Subscribers
from gateway.operate.this_process import ThisProcess
from gateway.operate.trying import Trial
from gateway.reloading import Reloader
from gateway.workers.everywhere import Everywhere


def make_app(
    *,
    endpoint: Endpoint | None,
    here: ThisProcess,
    door: Door,
    desk: Desk,
    subscribers_desk: Subscribers,
    trial: Trial,
    reloader: Reloader | Everywhere,
    replay_desk: ReplayDesk,
    alerts: Alerts,
) -> Litestar:
    """Every route and what it asks. ``endpoint``: what takes webhooks; ``None`` where this process takes none."""
    more = [
        *subscribers.routes(subscribers_desk, trial),
        *reload.routes(reloader),
        *replays.routes(replay_desk),
        *alerts_api.routes(alerts),
    ]
    routes: list[Any] = [
        *health_routes(here.readiness, lambda: bool(here.takes())),
        *api_routes(desk, door, more),
        *metrics_routes(desk, door),
        *page_routes(desk, door, replay_desk),
    ]
    routes.append(_no_intake() if endpoint is None else _intake(endpoint))
    return Litestar(
        routes,
        openapi_config=openapi_config(door),
        exception_handlers=exception_handlers(),
        after_exception=[count_refused(desk.sight.refused_changes)],
        logging_config=None,  # wide_log.py does it; Litestar's own would start a thread
    )


def _no_intake() -> ASGIRouteHandler:
    @asgi("/in", is_mount=True, copy_scope=False)
    async def nobody(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["raw_path"].split(b"/")[1] != b"in":
            raise NotFoundException
        raise Refused(
            problems.NOT_FOUND,
            "this process takes no webhooks: it has the role delivery; send them to one with the role intake or all",
        )

    return nobody


def _intake(endpoint: Endpoint) -> ASGIRouteHandler:
    # A mount, because an ASGI handler takes no path parameters; it also matches /inx, so the endpoint parses the raw
    # path itself, strictly.
    @asgi("/in", is_mount=True, copy_scope=False)
    async def intake(scope: Scope, receive: Receive, send: Send) -> None:
        await endpoint(scope, receive, send)

    return intake
