"""The way in: a one-time link, or a token typed into a form. Both end in a cookie; no token stays in a URL.

Opening a link shows a button and changes nothing, because previews of links open them too. The button uses it up.
"""

from typing import Any

import structlog
from litestar import Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.params import FromPath, URLEncodedBody
from litestar.response import Redirect

from gateway import problems
from gateway.operate.access import SESSION_TTL_S, Identity
from gateway.operate.changes import Actor, change_of, tell
from gateway.operate.dashboard.rendering import HEADERS, page, static
from gateway.operate.desk import Desk
from gateway.operate.gate import Door, actor
from gateway.operate.refusals import Refused

Form = URLEncodedBody[dict[str, str]]

log = structlog.get_logger("gateway.operate")

_USED = "This link has been used, or is older than 15 minutes."


def open_routes(desk: Desk, door: Door) -> list[Any]:
    """Under ``/login``, without a token."""
    access = door.access

    @get("/style.css")
    async def style() -> Response[bytes]:
        return Response(
            static("style.css"),
            media_type="text/css",
            headers={**HEADERS, "Cache-Control": "max-age=60"},
        )

    @get("/")
    async def form() -> Response[str]:
        return page("login.html", why=None, nonce=None)

    @post("/", status_code=303)
    async def with_token(data: Form, request: Request[Any, Any, Any]) -> Response[Any]:
        _check_origin(request)
        door.check_tries(request)
        identity = access.by_token(data.get("token", "").strip())
        if identity is None:
            door.wrong(request, "login")
            return page("login.html", status_code=401, why="This is no token of this gateway.", nonce=None)
        await _tell(identity, request)
        return await _enter(door, request, await access.open_session(identity), identity.name)

    @get("/{nonce:str}")
    async def link(nonce: FromPath[str], request: Request[Any, Any, Any]) -> Response[str]:
        door.check_tries(request)
        if not await access.is_login(nonce):
            door.wrong(request, "login link")
            return page("login.html", status_code=410, why=_USED, nonce=None)
        return page("login.html", why=None, nonce=nonce)

    @post("/{nonce:str}", status_code=303)
    async def use_link(nonce: FromPath[str], request: Request[Any, Any, Any]) -> Response[Any]:
        _check_origin(request)
        door.check_tries(request)
        if not await access.is_login(nonce):
            door.wrong(request, "login link")
            return page("login.html", status_code=410, why=_USED, nonce=None)
        await _tell(Identity(name="login link", role="operate"), request)
        secret = await access.use_login(nonce)
        if secret is None:  # somebody was faster
            return page("login.html", status_code=410, why=_USED, nonce=None)
        return await _enter(door, request, secret, "login link")

    async def _tell(identity: Identity, request: Request[Any, Any, Any]) -> None:
        who = Actor(name=identity.name, role=identity.role, address=door.address(request))
        await tell(desk.sight, change_of(desk.sight, who, "login"))

    return [style, form, with_token, link, use_link]


def closed_routes(desk: Desk, door: Door) -> list[Any]:
    """For those who are in."""

    @post("/logout", status_code=303, opt={"role": "read"})
    async def logout(request: Request[Any, Any, Any]) -> Response[Any]:
        await door.access.close_session(request.cookies.get(door.cookie, ""))
        await tell(desk.sight, change_of(desk.sight, actor(request), "logout"))
        return Redirect("/login", status_code=303, cookies=[_cookie(door, "", 0)], headers=HEADERS)

    return [logout]


async def _enter(door: Door, request: Request[Any, Any, Any], secret: str, name: str) -> Response[Any]:
    if before := request.cookies.get(door.cookie):
        await door.access.close_session(before)  # one browser, one session
    log.info("operate.login", who=name)
    return Redirect("/", status_code=303, cookies=[_cookie(door, secret, int(SESSION_TTL_S))], headers=HEADERS)


def _cookie(door: Door, value: str, max_age_s: int) -> Cookie:
    """The session's cookie; to be deleted it needs the same attributes as to be set."""
    return Cookie(
        key=door.cookie,
        value=value,
        path="/",
        max_age=max_age_s,
        httponly=True,
        samesite="strict",
        secure=door.access.secure_cookie,
    )


def _check_origin(request: Request[Any, Any, Any]) -> None:
    """Another site's page must not log a browser in. (Fetch Metadata; browsers without it send no header.)"""
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise Refused(problems.FORBIDDEN, "log in from this gateway's own page")
