"""Dead letters with what may be done about them; quarantine; rejected."""

from collections import Counter
from typing import Annotated, Any, Literal

from litestar import MediaType, Request, Response, get, post
from litestar.params import QueryParameter, URLEncodedBody
from litestar.response import Redirect

from gateway.operate.access import may
from gateway.operate.dashboard.rendering import HEADERS, page, who
from gateway.operate.desk import Desk
from gateway.operate.gate import actor
from gateway.operate.troubles import does
from gateway.operate.views import DeadOrder
from gateway.store.quarantine import Shelf

PER_PAGE = 50

Text = Annotated[str | None, QueryParameter(max_length=512)]
Form = URLEncodedBody[dict[str, str]]


def routes(desk: Desk) -> list[Any]:
    """The handlers."""

    @get("/dead", media_type=MediaType.HTML)
    async def dead(
        request: Request[Any, Any, Any], subscriber: Text = None, cause: Text = None, after: Text = None
    ) -> Response[str]:
        subscriber, cause = subscriber or None, cause or None
        listed = await desk.dead(subscriber, cause, after or None, PER_PAGE)
        groups = Counter((item.subscriber, item.cause) for item in listed.items)
        return page(
            "dead.html",
            me=who(request),
            section="dead",
            items=listed.items,
            groups=[(name, why, does(why), number) for (name, why), number in groups.most_common()],
            next=listed.next,
            filters={name: value for name, value in (("subscriber", subscriber), ("cause", cause)) if value},
            now_ms=desk.sight.wall_ms(),
            may_operate=may(who(request), "operate") and who(request).session is not None,
        )

    async def order(word: Literal["retry", "drop"], data: dict[str, str], request: Request[Any, Any, Any]) -> Any:
        wanted = DeadOrder(
            subscriber=data.get("subscriber") or None,
            cause=data.get("cause") or None,
            ids=[data["id"]] if data.get("id") else None,
            dry_run=data.get("sure") != "yes",
        )
        moved = await desk.move_dead(word, wanted, actor(request))
        if not moved.dry_run:
            return Redirect("/dead", status_code=303, headers=HEADERS)
        return page("confirm.html", me=who(request), section="dead", word=word, order=wanted, moved=moved)

    @post("/dead/retry", media_type=MediaType.HTML, status_code=200)
    async def retry(data: Form, request: Request[Any, Any, Any]) -> Response[Any]:
        response: Response[Any] = await order("retry", data, request)
        return response

    @post("/dead/drop", media_type=MediaType.HTML, status_code=200)
    async def drop(data: Form, request: Request[Any, Any, Any]) -> Response[Any]:
        response: Response[Any] = await order("drop", data, request)
        return response

    async def shelf(name: Shelf, request: Request[Any, Any, Any], after: str | None) -> Response[str]:
        listed = await desk.kept(name, after or None, PER_PAGE)
        return page(
            "kept.html",
            me=who(request),
            section=name,
            shelf=name,
            items=listed.items,
            next=listed.next,
            now_ms=desk.sight.wall_ms(),
        )

    @get("/quarantine", media_type=MediaType.HTML, opt={"role": "operate"})
    async def quarantine(request: Request[Any, Any, Any], after: Text = None) -> Response[str]:
        return await shelf("quarantine", request, after)

    @get("/rejected", media_type=MediaType.HTML, opt={"role": "operate"})
    async def rejected(request: Request[Any, Any, Any], after: Text = None) -> Response[str]:
        return await shelf("rejected", request, after)

    return [dead, retry, drop, quarantine, rejected]
