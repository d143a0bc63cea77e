"""``/api/deliveries``, ``/api/dead/causes`` and an event's trace: what waits, what died, and why."""

from typing import Annotated, Any

from litestar import get
from litestar.params import QueryParameter

from gateway.operate.api.documented import (
    BAD_REQUEST,
    CONFLICT,
    NOT_FOUND,
    UNAVAILABLE,
    After,
    EventId,
    Limit,
    documented,
)
from gateway.operate.desk import Desk
from gateway.operate.trace_views import CausePage, DeliveryFilter, DeliveryPage, Trace

Subscriber = Annotated[str | None, QueryParameter(max_length=63, description="Only of this subscriber.")]


def routes(desk: Desk) -> list[Any]:
    """The handlers."""

    @get(
        "/deliveries",
        summary="Deliveries that wait, and those that died",
        operation_id="deliveries",
        responses=documented(BAD_REQUEST, NOT_FOUND, UNAVAILABLE),
    )
    async def deliveries(
        subscriber: Subscriber = None,
        state_: Annotated[  # the framework has another meaning for `state`
            DeliveryFilter | None,
            QueryParameter(
                name="state",
                description="pending: not read yet, or in hand; parked: failed, due again; held: behind a parked one "
                "of the same key; dead: dead letters. Without it: all of them.",
            ),
        ] = None,
        after: After = None,
        limit: Limit = 100,
    ) -> DeliveryPage:
        """By subscriber, partition and state. What is delivered or filtered is not here: an event's trace tells of it.

        Of what is `pending`, some may yet be filtered.
        """
        return await desk.deliveries(subscriber, state_, after, limit)

    @get(
        "/dead/causes",
        summary="Dead letters by cause",
        operation_id="dead_causes",
        responses=documented(NOT_FOUND, UNAVAILABLE),
    )
    async def causes(subscriber: Subscriber = None) -> CausePage:
        """The commonest first. `/api/dead/retry` and `/api/dead/drop` take a `cause` and move its group whole.

        Dead letters of a subscriber with `order = "key"` that are tried again come in the order of the log, before what
        still waits of their key; what was delivered after they died cannot be taken back.
        """
        return await desk.causes(subscriber)

    @get(
        "/events/{event_id:str}/trace",
        summary="Why an event reached, or did not reach, each subscriber",
        operation_id="trace",
        responses=documented(NOT_FOUND, CONFLICT, UNAVAILABLE),
    )
    async def trace(event_id: EventId) -> Trace:
        """Line by line: received, logged; then for each subscriber what its settings say, what holds it, attempts."""
        return await desk.trace(event_id)

    return [deliveries, causes, trace]
