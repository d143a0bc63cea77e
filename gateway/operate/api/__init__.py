"""The HTTP API under ``/api``, and its description under ``/schema``."""

from collections.abc import Sequence
from typing import Any

from litestar import Router

from gateway.operate.api import changes, dead, deliveries, events, kept, overview, stream
from gateway.operate.api.description import openapi_config
from gateway.operate.desk import Desk
from gateway.operate.gate import Door, gate
from gateway.operate.refusals import SECURITY_HEADERS, exception_handlers

__all__ = ["api_routes", "exception_handlers", "openapi_config"]

MAX_BODY_BYTES = 64 * 1024


def api_routes(desk: Desk, door: Door, more: Sequence[Any] = ()) -> list[Any]:
    """Everything under ``/api``, behind one gate; ``more`` are handlers that need more than the desk."""
    return [
        Router(
            "/api",
            route_handlers=[
                *overview.routes(desk),
                *events.routes(desk),
                *stream.routes(desk),
                *dead.routes(desk),
                *deliveries.routes(desk),
                *kept.routes(desk),
                *changes.routes(desk),
                *more,
            ],
            guards=[gate(door)],
            exception_handlers=exception_handlers(),
            request_max_body_size=MAX_BODY_BYTES,
            response_headers=SECURITY_HEADERS,
            tags=["api"],
        )
    ]
