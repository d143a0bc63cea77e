"""``GET /metrics``."""

from typing import Any

from gateway.operate.access import Access
from gateway.operate.desk import Desk


def metrics_routes(desk: Desk, access: Access) -> list[Any]:
    """The route."""
    return []
