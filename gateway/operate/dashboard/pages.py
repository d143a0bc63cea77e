"""Home, events, one event."""

import shlex
from typing import Annotated, Any

import msgspec
from litestar import MediaType, Request, Response, get
from litestar.params import FromPath, QueryParameter

from gateway.errors import StoreError
from gateway.operate.absence import StoreAway, store_away
from gateway.operate.api.events import Ordered, Since, Source, Types, Until, read_filter
from gateway.operate.cursor import write_log_cursor
from gateway.operate.dashboard.rendering import HEADERS, page, static, who
from gateway.operate.desk import Desk
from gateway.operate.troubles import spool_troubles
from gateway.operate.views import EventDetail
from schemas.event import EVENT_TYPES
from schemas.timestamps import format_ms

LATEST = 12
PER_PAGE = 50
MAX_AGE_MS = 1_000
"""An open page asks every two seconds; many of them cost as much as one."""

After = Annotated[str | None, QueryParameter(max_length=512)]


def routes(desk: Desk) -> list[Any]:
    """The handlers."""

    @get("/static/page.js")
    async def script() -> Response[bytes]:
        return Response(static("page.js"), media_type="text/javascript", headers=HEADERS)

    @get("/", media_type=MediaType.HTML)
    async def home(request: Request[Any, Any, Any]) -> Response[str]:
        try:
            status = await desk.status(max_age_ms=MAX_AGE_MS)
            latest = await desk.search(read_filter(0, None, None, None, None), "newest", None, LATEST)
        except StoreAway as error:
            return _away(request, error, desk.sight.wall_ms())
        except StoreError as error:  # of the second question: the first was answered from what was known
            return _away(request, await store_away(desk.sight, error), desk.sight.wall_ms())
        return page(
            "home.html",
            me=who(request),
            section="home",
            status=status,
            ledger=status.ledger,
            rows=[_row(found.entry.event_json) for found in latest.found],
            now_ms=desk.sight.wall_ms(),
            types=EVENT_TYPES,
            sources=[source.name for source in status.sources],
            filters={},
        )

    @get("/events", media_type=MediaType.HTML)
    async def events(
        request: Request[Any, Any, Any],
        types: Types = None,
        source: Source = None,
        since: Since = None,
        until: Until = None,
        order: Ordered = "newest",
        after: After = None,
    ) -> Response[str]:
        now_ms = desk.sight.wall_ms()
        wanted = read_filter(now_ms, types, source, since, until)
        result = await desk.search(wanted, order, after, PER_PAGE)
        filters = {"type": types, "source": source, "since": since, "until": until}
        return page(
            "events.html",
            me=who(request),
            section="events",
            rows=[_row(found.entry.event_json) for found in result.found],
            now_ms=now_ms,
            types=EVENT_TYPES,
            sources=list(desk.sight.config.sources),
            filters={name: value for name, value in filters.items() if value},
            next=write_log_cursor(result.boundary) if result.more else None,
            first=after is None,
        )

    @get("/events/{event_id:str}", media_type=MediaType.HTML)
    async def event(event_id: FromPath[str], request: Request[Any, Any, Any]) -> Response[str]:
        detail = await desk.event(event_id)
        base = desk.sight.config.gateway.public_url or str(request.base_url)
        return page(
            "event.html",
            me=who(request),
            section="events",
            detail=detail,
            event=detail.event,
            now_ms=desk.sight.wall_ms(),
            curl_deliver=_curl_deliver(detail),
            curl_show=_curl_show(base.rstrip("/"), detail),
        )

    return [script, home, events, event]


def _away(request: Request[Any, Any, Any], error: StoreAway, now_ms: int) -> Response[str]:
    """Home without a store: what is true all the same."""
    return page(
        "away.html",
        status_code=error.problem.status,
        headers={"Retry-After": str(error.problem.retry_after_s)},
        me=who(request),
        section="home",
        absence=error.absence,
        troubles=spool_troubles(error.absence.spool),
        at=format_ms(now_ms),
    )


class _Row(msgspec.Struct, frozen=True):
    """Of an event, what a table shows."""

    id: str
    type: str
    source: str
    provider: str
    account: str | None
    channel: str | None
    received_at: str


_row = msgspec.json.Decoder(_Row).decode


def _curl_deliver(detail: EventDetail) -> str:
    """The event as a subscriber would get it, unsigned, to an app on one's own machine."""
    body = msgspec.json.encode({**detail.event, "raw": detail.raw}).decode()
    return (
        "curl -X POST http://localhost:3000/hooks \\\n"
        "  -H 'content-type: application/json' \\\n"
        f"  -H {shlex.quote('webhook-id: ' + detail.event['id'])} \\\n"
        f"  --data-raw {shlex.quote(body)}"
    )


def _curl_show(base: str, detail: EventDetail) -> str:
    url = shlex.quote(f"{base}/api/events/{detail.event['id']}")
    return f'curl {url} \\\n  -H "Authorization: Bearer $GATEWAY_TOKEN"'
