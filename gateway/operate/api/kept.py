"""``/api/quarantine`` and ``/api/rejected``: requests kept with their bytes. For operators: bodies may hold secrets."""

from typing import Any

from litestar import get

from gateway.operate.api.documented import BAD_REQUEST, UNAVAILABLE, After, Limit, documented
from gateway.operate.desk import Desk
from gateway.operate.views import KeptPage


def routes(desk: Desk) -> list[Any]:
    """The handlers."""

    @get(
        "/quarantine",
        summary="Requests that are proven but cannot be mapped",
        operation_id="quarantine",
        opt={"role": "operate"},
        responses=documented(BAD_REQUEST, UNAVAILABLE),
    )
    async def quarantine(after: After = None, limit: Limit = 100) -> KeptPage:
        """The newest first. The role operate is needed."""
        return await desk.kept("quarantine", after, limit)

    @get(
        "/rejected",
        summary="A sample of the requests that were not proven",
        operation_id="rejected",
        opt={"role": "operate"},
        responses=documented(BAD_REQUEST, UNAVAILABLE),
    )
    async def rejected(after: After = None, limit: Limit = 100) -> KeptPage:
        """The newest first. The role operate is needed."""
        return await desk.kept("rejected", after, limit)

    return [quarantine, rejected]
