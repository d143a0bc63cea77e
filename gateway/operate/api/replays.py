"""``/api/replays``: send events of the log again."""

from typing import Annotated, Any

from litestar import Request, get, post
from litestar.params import PathParameter, RawBody

from gateway.operate.api.documented import BAD_REQUEST, CONFLICT, NOT_FOUND, UNAVAILABLE, After, Limit, documented
from gateway.operate.api.reading import read_order
from gateway.operate.gate import actor
from gateway.operate.replay_views import ReplayAnswer, ReplayItem, ReplayOrder, ReplayPage
from gateway.operate.replaying import ReplayDesk

Id = Annotated[str, PathParameter(max_length=64, description="The replay's id, or a unique beginning of it.")]
Asked = Request[Any, Any, Any]


def routes(replays: ReplayDesk) -> list[Any]:
    """The handlers."""

    @get(
        "/replays",
        summary="Replays, the newest first",
        operation_id="replays",
        responses=documented(BAD_REQUEST, UNAVAILABLE),
    )
    async def page(after: After = None, limit: Limit = 100) -> ReplayPage:
        """The latest 200, each with how far it is."""
        return await replays.page(after, limit)

    @get(
        "/replays/{replay_id:str}",
        summary="One replay",
        operation_id="replay",
        responses=documented(NOT_FOUND, CONFLICT, UNAVAILABLE),
    )
    async def one(replay_id: Id) -> ReplayItem:
        """How far it is, and the first 100 events that failed."""
        return await replays.get(replay_id)

    @post(
        "/replays",
        summary="Replay events, or say what a replay would be about",
        operation_id="create_replay",
        status_code=200,
        responses=documented(BAD_REQUEST, NOT_FOUND, CONFLICT, UNAVAILABLE),
    )
    async def create(body: RawBody, request: Asked) -> ReplayAnswer:
        """With `dry_run` nothing changes and nothing is sent. Otherwise it begins within a second or two.

        Events go out as they are in the log now, with the same `webhook-id` and the header `gateway-replay`. A replay
        is about the log as it is at this moment, and survives restarts: after a crash a few events may come twice. It
        is in no account. Every mistake in the order is named at once.
        """
        return await replays.order(read_order(body, ReplayOrder), actor(request))

    @post(
        "/replays/{replay_id:str}/cancel",
        summary="Cancel a replay",
        operation_id="cancel_replay",
        status_code=200,
        responses=documented(NOT_FOUND, CONFLICT, UNAVAILABLE),
    )
    async def cancel(replay_id: Id, request: Asked) -> ReplayItem:
        """It stops within a second or two; what was sent is counted. It can be resumed."""
        return await replays.cancel(replay_id, actor(request))

    @post(
        "/replays/{replay_id:str}/resume",
        summary="Resume a replay",
        operation_id="resume_replay",
        status_code=200,
        responses=documented(NOT_FOUND, CONFLICT, UNAVAILABLE),
    )
    async def resume(replay_id: Id, request: Asked) -> ReplayItem:
        """One that was cancelled, that stopped because its target takes nothing, or that could not run: it goes on from
        where it stopped."""
        return await replays.resume(replay_id, actor(request))

    return [page, one, create, cancel, resume]
