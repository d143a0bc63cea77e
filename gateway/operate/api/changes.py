"""``/api/changes``: the audit log of changes."""

from typing import Any

from litestar import get

from gateway.operate.api.documented import BAD_REQUEST, UNAVAILABLE, After, Limit, documented
from gateway.operate.changes import ChangePage
from gateway.operate.desk import Desk


def routes(desk: Desk) -> list[Any]:
    """The handler."""

    @get(
        "/changes",
        summary="Who changed what, the newest first",
        operation_id="changes",
        responses=documented(BAD_REQUEST, UNAVAILABLE),
    )
    async def changes(after: After = None, limit: Limit = 100) -> ChangePage:
        """Every change through API, page, command or signal, and every login; the newest 10 000 are kept.

        What was refused is not in it: `gateway_refused_changes_total` counts that.
        """
        return await desk.changes(after, limit)

    return [changes]
