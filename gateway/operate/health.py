"""``/healthz`` and ``/readyz``: open to everybody, so they say little."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
from litestar import Response, get, head
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Meta

from gateway.operate.refusals import SECURITY_HEADERS


class Health(msgspec.Struct, frozen=True):
    """The event loop turns."""

    status: str = "ok"


class Readiness(msgspec.Struct, frozen=True):
    """Whether a correctly signed POST to a source would be answered 200 now."""

    status: Annotated[
        str,
        Meta(
            description="ready, degraded (a source is out of order, or the spool stands in for the store) or unready."
        ),
    ]
    degraded: Annotated[dict[str, str], Meta(description="Part → what is wrong with it, in words.")]


SPOOLED = ("store", "memory")
"""Parts that the spool stands in for."""


def health_routes(
    readiness: Callable[[], Awaitable[dict[str, str]]], takes_over: Callable[[], bool] = lambda: False
) -> list[Any]:
    """The two routes, for GET and, as some load balancers ask, for HEAD.

    ``readiness`` says what is wrong, by part; empty when all is well.

    ``takes_over``: whether the spool takes requests that the store cannot take.

    One broken source is no reason to take the gateway out of service for the others: it is named, and the answer stays
    200 unless something else is wrong too.
    """

    @get("/healthz", summary="Does the event loop turn?", operation_id="healthz", tags=["health"])
    async def healthz() -> Response[Health]:
        """Open to everybody. Asks nobody else, so it says nothing about the store."""
        return alive()

    @get(
        "/readyz",
        summary="Would a webhook be answered 200 now?",
        operation_id="readyz",
        tags=["health"],
        responses={503: ResponseSpec(Readiness, description="No: nothing can be stored", generate_examples=False)},
    )
    async def readyz() -> Response[Readiness]:
        """Open to everybody, so it names parts and no reasons: `/api/status` has those."""
        return await look()

    @head("/healthz", include_in_schema=False)
    async def healthz_head() -> Response[None]:
        return headers_of(alive())

    @head("/readyz", include_in_schema=False)
    async def readyz_head() -> Response[None]:
        return headers_of(await look())

    def alive() -> Response[Health]:
        return Response(Health(), headers=SECURITY_HEADERS)

    async def look() -> Response[Readiness]:
        degraded = await readiness()
        # Reasons hold paths and addresses, which are for those with a token (gateway status).
        degraded = {part: "out of order" if part.startswith("sources.") else "not available" for part in degraded}
        out_of_service = [part for part in degraded if not part.startswith("sources.")]
        if takes_over():
            out_of_service = [part for part in out_of_service if part not in SPOOLED]
        status = "unready" if out_of_service else "degraded" if degraded else "ready"
        headers = dict(SECURITY_HEADERS)
        if out_of_service:
            headers["Retry-After"] = "5"
        return Response(Readiness(status, degraded), status_code=503 if out_of_service else 200, headers=headers)

    return [healthz, readyz, healthz_head, readyz_head]


def headers_of(answer: Response[Any]) -> Response[None]:
    """The answer to HEAD where ``answer`` is the one to GET: its length too, not that of what is not sent."""
    length = str(len(msgspec.json.encode(answer.content)))
    return Response(None, status_code=answer.status_code, headers={**answer.headers, "content-length": length})
