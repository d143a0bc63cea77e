"""``GET /api/events/stream``: events as they come, as server-sent events.

Each message's ``id`` is a cursor of the log, so a browser that reconnects with ``Last-Event-ID`` misses nothing that
retention has left, and what retention removed is told as ``event: gap``. Form: WHATWG HTML, "Server-sent events".
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

from litestar import get
from litestar.params import HeaderParameter
from litestar.response import Stream

from gateway.errors import StoreUnavailable
from gateway.operate.api.documented import BAD_REQUEST, NOT_FOUND, UNAVAILABLE, After, documented
from gateway.operate.api.events import Source, Types, read_filter
from gateway.operate.desk import Desk, Followed
from gateway.operate.refusals import SECURITY_HEADERS
from gateway.operate.search import Gap

RETRY_MS = 2_000
"""How long a browser waits before it comes back."""


def routes(desk: Desk) -> list[Any]:
    """The handler."""

    @get(
        "/events/stream",
        summary="Follow the log",
        operation_id="follow",
        media_type="text/event-stream",
        responses=documented(BAD_REQUEST, NOT_FOUND, UNAVAILABLE),
    )
    async def stream(
        after: After = None,
        last_event_id: Annotated[
            str | None,
            HeaderParameter(
                name="Last-Event-ID", max_length=512, description="As browsers send it; it wins over `after`."
            ),
        ] = None,
        types: Types = None,
        source: Source = None,
    ) -> Stream:
        """Whole canonical events with raw, from the cursor, or from now without one."""
        wanted = read_filter(desk.sight.wall_ms(), types, source, None, None)
        followed = await desk.follow(wanted, last_event_id or after)
        return Stream(
            messages(followed),
            media_type="text/event-stream",
            headers={**SECURITY_HEADERS, "X-Accel-Buffering": "no"},
        )

    return [stream]


async def messages(followed: Followed) -> AsyncIterator[bytes]:
    """What is followed, as the lines of server-sent events. Ends when the store goes away: the follower comes back."""
    yield b"retry: %d\n\n" % RETRY_MS
    try:
        async with aclosing(followed):
            async for cursor, what in followed:
                if what is None:
                    yield b": still here\n\n"
                elif isinstance(what, Gap):
                    yield b'id: %b\nevent: gap\ndata: {"missed":%d}\n\n' % (cursor.encode(), what.missed)
                else:
                    yield b"id: %b\ndata: %b\n\n" % (cursor.encode(), bytes(what))
    except StoreUnavailable:
        return
