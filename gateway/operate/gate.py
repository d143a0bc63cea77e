"""The gate before every route but the open ones: deny by default."""

from typing import Any

from litestar.connection import ASGIConnection, Request
from litestar.enums import RequestEncodingType
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Guard

from gateway import problems
from gateway.operate.access import Access, Identity, Role, is_csrf_token, may
from gateway.operate.refusals import Refused

COOKIE = "gateway_session"
CSRF_HEADER = "x-csrf-token"
CSRF_FIELD = "csrf_token"

Connection = ASGIConnection[Any, Any, Any, Any]

_HARMLESS = ("GET", "HEAD", "OPTIONS")


def gate(access: Access) -> Guard:
    """A guard that checks who asks, what they may, and that a browser was not sent by somebody else's page.

    It lets through with ``connection.user`` set to the ``Identity``, or raises ``Refused``. A route needs the role in
    ``opt["role"]``; without one, ``read`` for looking and ``operate`` for anything else.
    """

    # A closure: Litestar copies guards deeply, and an object here would check a copy of all sessions.
    async def check(connection: Connection, handler: BaseRouteHandler) -> None:
        method = str(connection.scope.get("method", "GET"))
        identity = _identify(access, connection)
        if identity is None:
            raise Refused(
                problems.NO_TOKEN,
                "send Authorization: Bearer <token>; the token is in the file admin_token in the data directory, "
                "or the one the configuration names",
            )
        wanted: Role = handler.opt.get("role", "read" if method in _HARMLESS else "operate")
        if not may(identity, wanted):
            raise Refused(problems.FORBIDDEN, f"this needs the role {wanted}; the token has the role {identity.role}")
        if identity.session is not None and method not in _HARMLESS:
            await _check_csrf(connection, identity)
        connection.scope["user"] = identity

    return check


def _identify(access: Access, connection: Connection) -> Identity | None:
    """Who asks: by token if one is sent (a wrong one is not made good by a cookie), else by session."""
    header = connection.headers.get("authorization")
    if header is not None:
        scheme, _, secret = header.partition(" ")
        return access.by_token(secret.strip()) if scheme.lower() == "bearer" else None
    cookie = connection.cookies.get(COOKIE)
    return access.by_session(cookie) if cookie else None


async def _check_csrf(connection: Connection, identity: Identity) -> None:
    given = connection.headers.get(CSRF_HEADER, "")
    if not given and isinstance(connection, Request):
        kind, _ = connection.content_type
        if kind == RequestEncodingType.URL_ENCODED:
            given = str((await connection.form()).get(CSRF_FIELD, ""))
    if not is_csrf_token(identity, given):
        raise Refused(problems.FORBIDDEN, "the form is from an older login; load the page again")
