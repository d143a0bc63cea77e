"""From a template to a response: escaping, the headers of every page, and what a refusal looks like."""

import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

import jinja2
from litestar import Request, Response
from litestar.exceptions import HTTPException
from markupsafe import Markup, escape

from gateway.controls import escape_controls
from gateway.operate.access import Identity
from gateway.operate.amounts import duration, size
from gateway.operate.refusals import explain
from schemas.timestamps import parse_iso_ms

HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
}

_FILES = resources.files("gateway.operate.dashboard")


def static(name: str) -> bytes:
    """A file that pages load."""
    return (_FILES / "static" / name).read_bytes()


def page(
    template: str, *, status_code: int = 200, headers: dict[str, str] | None = None, **values: Any
) -> Response[str]:
    """A page. Values are text: whatever they hold is escaped, and control characters are written out."""
    return Response(
        escape_controls(_ENVIRONMENT.get_template(template).render(**values), keep_layout=True),
        status_code=status_code,
        media_type="text/html",
        headers={**HEADERS, **(headers or {})},
    )


def who(request: Request[Any, Any, Any]) -> Identity:
    """Who the gate let through."""
    identity = request.scope["user"]
    assert isinstance(identity, Identity)
    return identity


def exception_handlers() -> dict[Any, Any]:
    """What goes wrong, as a page; and for who is not logged in, the way in."""
    return {HTTPException: _refuse, Exception: _refuse}


def _refuse(request: Request[Any, Any, Any], error: Exception) -> Response[str]:
    problem, detail = explain(error)
    if problem.status == 401:
        return page("login.html", status_code=401, why=None, nonce=None)
    headers = {} if problem.retry_after_s is None else {"Retry-After": str(problem.retry_after_s)}
    return page(
        "refused.html",
        status_code=problem.status,
        headers=headers,
        title=problem.title,
        detail=detail,
        code=problem.code,
        here=request.scope["path"],
    )


def pretty(value: Any) -> Markup:
    """JSON, indented, with its keys, texts and numbers marked for the style sheet."""
    return Markup("").join(_tokens(value, "\n"))


def _tokens(value: Any, line: str) -> Iterator[Markup]:
    inner = line + "  "
    if isinstance(value, dict) and value:
        for position, (key, child) in enumerate(value.items()):
            yield escape(("{" if position == 0 else ",") + inner)
            yield Markup('<span class="key">{}</span>: ').format(_json(str(key)))
            yield from _tokens(child, inner)
        yield escape(line + "}")
    elif isinstance(value, list) and value:
        for position, child in enumerate(value):
            yield escape(("[" if position == 0 else ",") + inner)
            yield from _tokens(child, inner)
        yield escape(line + "]")
    else:
        kind = "text" if isinstance(value, str) else "word"
        yield Markup('<span class="{}">{}</span>').format(kind, _json(value))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def clock(time: str) -> str:
    """The time of day of a canonical time."""
    return time[11:19]


def day(time: str) -> str:
    """The day of a canonical time."""
    return time[:10]


def ago(time: str, now_ms: int) -> str:
    """How long a canonical time is past."""
    then_ms = parse_iso_ms(time)
    if then_ms is None:
        return ""
    return "now" if abs(now_ms - then_ms) < 1_000 else f"{duration(max(0, now_ms - then_ms) / 1000)} ago"


def number(value: int) -> str:
    """A number with thin spaces between its thousands."""
    return f"{value:,}".replace(",", "\u2009")


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FunctionLoader(lambda name: (_FILES / "templates" / name).read_text("utf-8")),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {
    "pretty": pretty,
    "clock": clock,
    "day": day,
    "ago": ago,
    "number": number,
    "size": size,
    "duration": duration,
}
