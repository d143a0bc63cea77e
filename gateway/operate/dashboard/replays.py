"""Replays: which there are, how far each is, and how to stop it or let it go on."""

from typing import Annotated, Any

from litestar import MediaType, Request, Response, get, post
from litestar.params import QueryParameter, URLEncodedBody
from litestar.response import Redirect

from gateway.operate.access import may
from gateway.operate.dashboard.rendering import HEADERS, page, who
from gateway.operate.desk import Desk
from gateway.operate.gate import actor
from gateway.operate.replaying import ReplayDesk

PER_PAGE = 50

After = Annotated[str | None, QueryParameter(max_length=512)]
Form = URLEncodedBody[dict[str, str]]
Asked = Request[Any, Any, Any]


def routes(desk: Desk, replays: ReplayDesk) -> list[Any]:
    """The handlers."""

    @get("/replays", media_type=MediaType.HTML)
    async def listed(request: Asked, after: After = None) -> Response[str]:
        found = await replays.page(after or None, PER_PAGE)
        status = await desk.status(max_age_ms=1_000)
        return page(
            "replays.html",
            me=who(request),
            section="replays",
            items=found.items,
            next=found.next,
            totals=status.replays,
            now_ms=desk.sight.wall_ms(),
            may_operate=may(who(request), "operate") and who(request).session is not None,
        )

    @post("/replays/cancel", media_type=MediaType.HTML, status_code=200)
    async def cancel(data: Form, request: Asked) -> Redirect:
        await replays.cancel(data.get("id", ""), actor(request))
        return Redirect("/replays", status_code=303, headers=HEADERS)

    @post("/replays/resume", media_type=MediaType.HTML, status_code=200)
    async def resume(data: Form, request: Asked) -> Redirect:
        await replays.resume(data.get("id", ""), actor(request))
        return Redirect("/replays", status_code=303, headers=HEADERS)

    return [listed, cancel, resume]
