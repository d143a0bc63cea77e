"""``/api/events``: search the log, look at one event."""

from typing import Annotated, Any

from litestar import get
from litestar.params import QueryParameter

from gateway import problems
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
from gateway.operate.refusals import Refused
from gateway.operate.search import Filter, Order, read_types
from gateway.operate.times import HOW, read_time_ms
from gateway.operate.views import EventDetail, EventPage

Types = Annotated[
    str | None,
    QueryParameter(
        name="type", max_length=512, description="A type, a family such as `message.*`, or several with commas."
    ),
]
Source = Annotated[str | None, QueryParameter(max_length=63, description="Only events of this source.")]
Ordered = Annotated[Order, QueryParameter(description="oldest: as the log has them; newest: the other way round.")]
Since = Annotated[str | None, QueryParameter(max_length=40, description=f"Received at or after this time: {HOW}.")]
Until = Annotated[str | None, QueryParameter(max_length=40, description=f"Received before this time: {HOW}.")]


def read_filter(now_ms: int, types: str | None, source: str | None, since: str | None, until: str | None) -> Filter:
    """What was asked for, checked. Raises ``Refused``."""
    since_ms, until_ms = _time("since", since, now_ms), _time("until", until, now_ms)
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        raise Refused(problems.BAD_REQUEST, "since must lie before until")
    return Filter(types=read_types(types) if types else (), source=source or None, since_ms=since_ms, until_ms=until_ms)


def _time(name: str, text: str | None, now_ms: int) -> int | None:
    if not text:
        return None
    found = read_time_ms(text, now_ms)
    if found is None:
        raise Refused(problems.BAD_REQUEST, f"{name} is no time; {HOW}")
    return found


def routes(desk: Desk) -> list[Any]:
    """The handlers."""

    @get(
        "/events",
        summary="Search the log, or pull events from it",
        operation_id="events",
        responses=documented(BAD_REQUEST, NOT_FOUND, UNAVAILABLE),
    )
    async def events(
        after: After = None,
        limit: Limit = 100,
        types: Types = None,
        source: Source = None,
        since: Since = None,
        until: Until = None,
        order: Ordered = "oldest",
        raw: Annotated[bool, QueryParameter(description="With what the provider sent.")] = False,
    ) -> EventPage:
        """Canonical events, in the order of the log or the newest first.

        To pull: keep the last `next` that was not null, and ask again with it as `after`. With `order=oldest` it is
        null only when nothing lies after the cursor yet. An answer may hold fewer items than `limit`, even none, and
        still have a `next`: a search looks at a bounded number of events at a time.
        """
        wanted = read_filter(desk.sight.wall_ms(), types, source, since, until)
        return await desk.events(wanted, order, after, limit, raw=raw)

    @get(
        "/events/{event_id:str}",
        summary="One event: canonical, raw, and where it stands with each subscriber",
        operation_id="event",
        responses=documented(NOT_FOUND, CONFLICT, UNAVAILABLE),
    )
    async def event(event_id: EventId) -> EventDetail:
        """Login credentials are masked, in the event and in raw."""
        return await desk.event(event_id)

    return [events, event]
