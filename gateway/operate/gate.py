"""The gate before every route but the open ones: deny by default."""

from typing import Any

from litestar.connection import ASGIConnection, Request
from litestar.enums import RequestEncodingType
from litestar.handlers.base import BaseRouteHandler

from gateway import problems
from gateway.operate.access import Access, Identity, Role, is_csrf_token, may
from gateway.operate.refusals import Refused

COOKIE = "gateway_session"
CSRF_HEADER = "x-csrf-token"
CSRF_FIELD = "csrf_token"

_HARMLESS = ("GET", "HEAD", "OPTIONS")


class Gate:
    """Checks who asks, what they may, and that a browser was not sent by somebody else's page."""

    def __init__(self, access: Access) -> None:
        self.access = access

    async def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        """Let through, with ``connection.user`` set to the ``Identity``, or raise ``Refused``.

        A route needs the role in ``opt["role"]``; without one, ``read`` for looking and ``operate`` for anything else.
        """
        method = str(connection.scope.get("method", "GET"))
        identity = self.identify(connection)
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

    def identify(self, connection: ASGIConnection[Any, Any, Any, Any]) -> Identity | None:
        """Who asks: by token if one is sent (a wrong one is not made good by a cookie), else by session."""
        header = connection.headers.get("authorization")
        if header is not None:
            scheme, _, secret = header.partition(" ")
            return self.access.by_token(secret.strip()) if scheme.lower() == "bearer" else None
        cookie = connection.cookies.get(COOKIE)
        return self.access.by_session(cookie) if cookie else None


async def _check_csrf(connection: ASGIConnection[Any, Any, Any, Any], identity: Identity) -> None:
    given = connection.headers.get(CSRF_HEADER, "")
    if not given and isinstance(connection, Request):
        kind, _ = connection.content_type
        if kind == RequestEncodingType.URL_ENCODED:
            given = str((await connection.form()).get(CSRF_FIELD, ""))
    if not is_csrf_token(identity, given):
        raise Refused(problems.FORBIDDEN, "the form is from an older login; load the page again")
