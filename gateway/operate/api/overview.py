"""``GET /api/ledger`` and ``GET /api/status``."""

from typing import Any

from litestar import get

from gateway.operate.desk import Desk
from gateway.operate.views import Status
from gateway.store.ledger import Ledger


def routes(desk: Desk) -> list[Any]:
    """The handlers."""

    @get("/ledger", summary="Is anything lost? The equation", operation_id="ledger")
    async def ledger() -> Ledger:
        return await desk.ledger()

    @get("/status", summary="Sources, subscribers, store and open problems at a glance", operation_id="status")
    async def status() -> Status:
        return await desk.status()

    return [ledger, status]
