"""Changes: who changed what, and when."""

from typing import Annotated, Any

from litestar import MediaType, Request, Response, get
from litestar.params import QueryParameter

from gateway.operate.dashboard.rendering import page, who
from gateway.operate.desk import Desk

PER_PAGE = 50

After = Annotated[str | None, QueryParameter(max_length=512)]


def routes(desk: Desk) -> list[Any]:
    """The handler."""

    @get("/changes", media_type=MediaType.HTML)
    async def changes(request: Request[Any, Any, Any], after: After = None) -> Response[str]:
        listed = await desk.changes(after or None, PER_PAGE)
        return page(
            "changes.html",
            me=who(request),
            section="changes",
            items=listed.items,
            next=listed.next,
            now_ms=desk.sight.wall_ms(),
        )

    return [changes]
