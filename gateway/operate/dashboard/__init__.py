"""The pages."""

from typing import Any

from gateway.operate.access import Access
from gateway.operate.desk import Desk


def page_routes(desk: Desk, access: Access) -> list[Any]:
    """The routes."""
    return []
