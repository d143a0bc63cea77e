"""The gate before every route but the open ones: deny by default."""

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

import structlog
from litestar.connection import ASGIConnection, Request
from litestar.enums import RequestEncodingType
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Guard

from gateway import problems
from gateway.config import Network
from gateway.intake.addresses import client_ip
from gateway.operate.access import Access, Identity, Role, is_csrf_token, may
from gateway.operate.changes import Actor
from gateway.operate.refusals import Refused
from gateway.operate.tries import Tries

COOKIE = "gateway_session"
CSRF_HEADER = "x-csrf-token"
CSRF_FIELD = "csrf_token"

Connection = ASGIConnection[Any, Any, Any, Any]

HARMLESS = ("GET", "HEAD", "OPTIONS")

log = structlog.get_logger("gateway.operate")


class Door:
    """Who comes in, with what, from where; and how often somebody may be wrong."""

    def __init__(
        self, access: Access, *, monotonic: Callable[[], float], trusted_proxies: Sequence[Network] = ()
    ) -> None:
        self.access = access
        self._tries = Tries(monotonic=monotonic)
        self._trusted_proxies = tuple(trusted_proxies)

    @property
    def cookie(self) -> str:
        """The name of the session's cookie: over https one that no other host and no plain http can set."""
        return f"__Host-{COOKIE}" if self.access.secure_cookie else COOKIE

    def address(self, connection: Connection) -> str | None:
        """Where somebody comes from, behind a trusted proxy too."""
        return client_ip(connection.scope, self._trusted_proxies)

    def check_tries(self, connection: Connection) -> None:
        """Raise ``Refused`` where this address was wrong too often."""
        wait_s = self._tries.wait_s(self.address(connection))
        if wait_s > 0:
            raise Refused(
                problems.TOO_MANY_TRIES,
                f"wait {ceil(wait_s)} s; sessions and the right token in a header are not concerned",
            )

    def wrong(self, connection: Connection, how: str) -> None:
        """Somebody was wrong: about a token, or a login link."""
        address = self.address(connection)
        self._tries.wrong(address)
        log.warning("operate.refused", how=how, address=address)

    async def identify(self, connection: Connection) -> Identity | None:
        """Who asks: by token if one is sent (a wrong one is not made good by a cookie), else by session.

        Raises ``Refused`` for a wrong token; ``StoreUnavailable``.
        """
        header = connection.headers.get("authorization")
        if header is None:
            cookie = connection.cookies.get(self.cookie)
            return await self.access.by_session(cookie) if cookie else None
        scheme, _, secret = header.partition(" ")
        if scheme.lower() != "bearer":
            raise Refused(problems.NO_TOKEN, "the header Authorization has another scheme; send Bearer and a token")
        # The right token never waits: a scraper with an old one must not lock out the command on the same machine, and
        # a token has 128 bits and more, which nobody finds by trying.
        identity = self.access.by_token(secret.strip())
        if identity is None:
            self.check_tries(connection)
            self.wrong(connection, "token")
            raise Refused(
                problems.WRONG_TOKEN,
                "the configuration names no such token, and it is not the one in the file admin_token",
            )
        return identity


def gate(door: Door) -> Guard:
    """A guard that checks who asks, what they may, and that a browser was not sent by somebody else's page.

    It lets through with ``connection.user`` set to the ``Identity``, or raises ``Refused``. A route needs the role in
    ``opt["role"]``; without one, ``read`` for looking and ``operate`` for anything else.
    """

    # A closure: Litestar copies guards deeply, and an object here would check a copy of all sessions.
    async def check(connection: Connection, handler: BaseRouteHandler) -> None:
        method = str(connection.scope.get("method", "GET"))
        identity = await door.identify(connection)
        if identity is None:
            raise Refused(
                problems.NO_TOKEN,
                "send Authorization: Bearer <token>; the token is in the file admin_token in the data directory, "
                "or the one the configuration names",
            )
        wanted: Role = handler.opt.get("role", "read" if method in HARMLESS else "operate")
        if not may(identity, wanted):
            raise Refused(problems.FORBIDDEN, f"this needs the role {wanted}; {_whose(identity)} the role read")
        if identity.session is not None and method not in HARMLESS:
            await _check_csrf(connection, identity)
        connection.scope["user"] = identity
        connection.scope["state"]["actor"] = Actor(
            name=identity.name, role=identity.role, address=door.address(connection)
        )

    return check


def actor(request: Request[Any, Any, Any]) -> Actor:
    """Whom the gate let through, as the audit log names them."""
    found = request.scope["state"]["actor"]
    assert isinstance(found, Actor)
    return found


def _whose(identity: Identity) -> str:
    return "this session has" if identity.session is not None else f"the token {identity.name} has"


async def _check_csrf(connection: Connection, identity: Identity) -> None:
    given = connection.headers.get(CSRF_HEADER, "")
    if not given and isinstance(connection, Request):
        kind, _ = connection.content_type
        if kind == RequestEncodingType.URL_ENCODED:
            given = str((await connection.form()).get(CSRF_FIELD, ""))
    if not is_csrf_token(identity, given):
        raise Refused(
            problems.NOT_FROM_A_PAGE, "the form is from an older login or from another site; load the page again"
        )
