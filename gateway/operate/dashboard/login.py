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
from gateway.operate.access import SESSION_TTL_S, Access
from gateway.operate.dashboard.rendering import HEADERS, page, static
from gateway.operate.gate import COOKIE
from gateway.operate.refusals import Refused

Form = URLEncodedBody[dict[str, str]]

log = structlog.get_logger("gateway.operate")

_USED = "This link has been used, or is older than 15 minutes."


def open_routes(access: Access) -> list[Any]:
    """Under ``/login``, without a token."""

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
        identity = access.by_token(data.get("token", "").strip())
        if identity is None:
            log.warning("operate.login_refused", how="token")
            return page("login.html", status_code=401, why="This is no token of this gateway.", nonce=None)
        return _enter(access, access.open_session(identity), identity.name)

    @get("/{nonce:str}")
    async def link(nonce: FromPath[str]) -> Response[str]:
        if not access.is_login(nonce):
            return page("login.html", status_code=410, why=_USED, nonce=None)
        return page("login.html", why=None, nonce=nonce)

    @post("/{nonce:str}", status_code=303)
    async def use_link(nonce: FromPath[str], request: Request[Any, Any, Any]) -> Response[Any]:
        _check_origin(request)
        secret = access.use_login(nonce)
        if secret is None:
            log.warning("operate.login_refused", how="link")
            return page("login.html", status_code=410, why=_USED, nonce=None)
        return _enter(access, secret, "login link")

    return [style, form, with_token, link, use_link]


def closed_routes(access: Access) -> list[Any]:
    """For those who are in."""

    @post("/logout", status_code=303, opt={"role": "read"})
    async def logout(request: Request[Any, Any, Any]) -> Response[Any]:
        access.close_session(request.cookies.get(COOKIE, ""))
        answer = Redirect("/login", status_code=303, headers=HEADERS)
        answer.delete_cookie(COOKIE)
        return answer

    return [logout]


def _enter(access: Access, secret: str, name: str) -> Response[Any]:
    log.info("operate.login", who=name)
    cookie = Cookie(
        key=COOKIE,
        value=secret,
        path="/",
        max_age=int(SESSION_TTL_S),
        httponly=True,
        samesite="strict",
        secure=access.secure_cookie,
    )
    return Redirect("/", status_code=303, cookies=[cookie], headers=HEADERS)


def _check_origin(request: Request[Any, Any, Any]) -> None:
    """Another site's page must not log a browser in. (Fetch Metadata; browsers without it send no header.)"""
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise Refused(problems.FORBIDDEN, "log in from this gateway's own page")
