"""``/api/dead``: dead letters, and what an operator does with them."""

from typing import Annotated, Any

from litestar import Request, get, post
from litestar.params import JSONBody, QueryParameter

from gateway.operate.api.documented import (
    BAD_REQUEST,
    CONFLICT,
    NOT_FOUND,
    UNAVAILABLE,
    After,
    Limit,
    documented,
)
from gateway.operate.desk import Desk
from gateway.operate.gate import actor
from gateway.operate.views import DeadMoved, DeadOrder, DeadPage

_ORDER_ANSWERS = documented(BAD_REQUEST, NOT_FOUND, CONFLICT, UNAVAILABLE)


def routes(desk: Desk) -> list[Any]:
    """The handlers."""

    @get(
        "/dead",
        summary="Dead letters, the latest first",
        operation_id="dead",
        responses=documented(BAD_REQUEST, NOT_FOUND, UNAVAILABLE),
    )
    async def dead(
        subscriber: Annotated[str | None, QueryParameter(max_length=63, description="Only of this subscriber.")] = None,
        cause: Annotated[str | None, QueryParameter(max_length=64, description="Only with this cause.")] = None,
        after: After = None,
        limit: Limit = 100,
    ) -> DeadPage:
        """With the last answer of each, as text."""
        return await desk.dead(subscriber, cause, after, limit)

    @post(
        "/dead/retry",
        summary="Try dead letters again, with a fresh schedule",
        operation_id="retry_dead",
        status_code=200,
        responses=_ORDER_ANSWERS,
    )
    async def retry(data: JSONBody[DeadOrder], request: Request[Any, Any, Any]) -> DeadMoved:
        """They are due at once. With `dry_run` nothing changes."""
        return await desk.move_dead("retry", data, actor(request))

    @post(
        "/dead/drop",
        summary="Give dead letters up",
        operation_id="drop_dead",
        status_code=200,
        responses=_ORDER_ANSWERS,
    )
    async def drop(data: JSONBody[DeadOrder], request: Request[Any, Any, Any]) -> DeadMoved:
        """They are counted as discarded, for good. With `dry_run` nothing changes."""
        return await desk.move_dead("drop", data, actor(request))

    return [dead, retry, drop]
