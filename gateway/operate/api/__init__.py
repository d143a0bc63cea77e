"""The HTTP API under ``/api``, and its description under ``/schema``."""

from typing import Any

from litestar import Router

from gateway.operate.access import Access
from gateway.operate.api import dead, events, kept, overview, stream
from gateway.operate.api.description import openapi_config
from gateway.operate.desk import Desk
from gateway.operate.gate import gate
from gateway.operate.refusals import SECURITY_HEADERS, exception_handlers

__all__ = ["api_routes", "exception_handlers", "openapi_config"]

MAX_BODY_BYTES = 64 * 1024


def api_routes(desk: Desk, access: Access) -> list[Any]:
    """Everything under ``/api``, behind one gate."""
    return [
        Router(
            "/api",
            route_handlers=[
                *overview.routes(desk),
                *events.routes(desk),
                *stream.routes(desk),
                *dead.routes(desk),
                *kept.routes(desk),
            ],
            guards=[gate(access)],
            exception_handlers=exception_handlers(),
            request_max_body_size=MAX_BODY_BYTES,
            response_headers=SECURITY_HEADERS,
            tags=["api"],
        )
    ]
