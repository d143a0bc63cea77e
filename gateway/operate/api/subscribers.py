"""``/api/subscribers``: who is delivered to. Those of the file are read-only here."""

from typing import Annotated, Any

from litestar import Request, delete, get, patch, post
from litestar.params import PathParameter, QueryParameter, RawBody

from gateway import problems
from gateway.operate.api.documented import BAD_REQUEST, CONFLICT, NOT_FOUND, UNAVAILABLE, documented
from gateway.operate.api.reading import read_object, read_order
from gateway.operate.gate import actor
from gateway.operate.refusals import Refused
from gateway.operate.subscriber_views import (
    PauseOrder,
    SubscriberDeleted,
    SubscriberItem,
    SubscriberMade,
    SubscriberPage,
    TestAnswer,
    TestOrder,
)
from gateway.operate.subscribers import Subscribers
from gateway.operate.trying import Trial

Name = Annotated[str, PathParameter(max_length=63, description="The subscriber's name.")]
Asked = Request[Any, Any, Any]


def routes(subscribers: Subscribers, trial: Trial) -> list[Any]:
    """The handlers."""

    @get("/subscribers", summary="All subscribers", operation_id="subscribers", responses=documented(UNAVAILABLE))
    async def page() -> SubscriberPage:
        """Those of the file, those made here, and those that are no longer configured but have something kept."""
        return await subscribers.page()

    @get(
        "/subscribers/{name:str}",
        summary="One subscriber",
        operation_id="subscriber",
        responses=documented(NOT_FOUND, UNAVAILABLE),
    )
    async def one(name: Name) -> SubscriberItem:
        """Settings with secrets masked, who defined it, and how it does."""
        return await subscribers.get(name)

    @post(
        "/subscribers",
        summary="Make a subscriber",
        operation_id="create_subscriber",
        status_code=201,
        responses=documented(BAD_REQUEST, CONFLICT, UNAVAILABLE),
    )
    async def create(body: RawBody, request: Asked) -> SubscriberMade:
        """The settings are those of `[subscribers.NAME]` in the file, with the same rules, and `name` beside them.

        Secrets are given by reference. Without `secrets` one is made, kept in a file of the data directory and told in
        this answer, once. Every mistake is named at once. Deliveries begin within a second or two.
        """
        return await subscribers.create(read_object(body), actor(request))

    @patch(
        "/subscribers/{name:str}",
        summary="Change a subscriber",
        operation_id="change_subscriber",
        responses=documented(BAD_REQUEST, NOT_FOUND, CONFLICT, UNAVAILABLE),
    )
    async def change(name: Name, body: RawBody, request: Asked) -> SubscriberMade:
        """A JSON merge patch (RFC 7396): what is null goes back to its default; `secrets: null` makes a new one.

        Attempts on the wire end with the old settings; nothing is lost or sent twice because of it.
        """
        return await subscribers.change(name, read_object(body), actor(request))

    @delete(
        "/subscribers/{name:str}",
        summary="Delete a subscriber",
        operation_id="delete_subscriber",
        status_code=200,
        responses=documented(NOT_FOUND, CONFLICT, UNAVAILABLE),
    )
    async def remove(
        name: Name,
        request: Asked,
        forget: Annotated[
            bool, QueryParameter(description="Also its cursor, its counts, and whatever waits for it: for good.")
        ] = False,
    ) -> SubscriberDeleted:
        """Without `forget` its state is kept and shown as not configured; made again, it goes on where it stopped."""
        return await subscribers.delete(name, actor(request), forget=forget)

    @post(
        "/subscribers/{name:str}/pause",
        summary="Pause deliveries to a subscriber",
        operation_id="pause_subscriber",
        status_code=200,
        responses=documented(BAD_REQUEST, NOT_FOUND, UNAVAILABLE),
    )
    async def pause(name: Name, body: RawBody, request: Asked) -> SubscriberItem:
        """What comes waits in the log, and no attempt is used up. Takes a second or two, and outlives restarts."""
        return await subscribers.pause(name, read_order(body, PauseOrder).reason, actor(request))

    @post(
        "/subscribers/{name:str}/resume",
        summary="Resume deliveries to a subscriber",
        operation_id="resume_subscriber",
        status_code=200,
        responses=documented(NOT_FOUND, UNAVAILABLE),
    )
    async def resume(name: Name, request: Asked) -> SubscriberItem:
        """Also one that was disabled because it answered 410."""
        return await subscribers.resume(name, actor(request))

    @post(
        "/subscribers/{name:str}/test",
        summary="Send a subscriber a test event",
        operation_id="test_subscriber",
        status_code=200,
        responses=documented(BAD_REQUEST, NOT_FOUND, CONFLICT, UNAVAILABLE),
    )
    async def test(name: Name, body: RawBody, request: Asked) -> TestAnswer:
        """Signed and sent at once, from here, with `origin: "test"`; not through the log, so it is in no account.

        If it is answered 2xx, what failed before is due at once, and an open breaker probes.
        """
        order = read_order(body, TestOrder)
        settings = (await subscribers.member(name)).settings
        if settings is None:
            raise Refused(problems.CONFLICT, f"the settings of {name} cannot be read by this gateway")
        answer = await trial.run(settings, order.type, request.user.name)
        if answer.delivered:
            await subscribers.is_back(name)
        return answer

    return [page, one, create, change, remove, pause, resume, test]
