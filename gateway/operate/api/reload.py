"""``/api/reload``: read ``gateway.toml`` again."""

from typing import Annotated, Any, Protocol

import msgspec
from litestar import Request, post
from litestar.params import RawBody
from msgspec import Meta

from gateway.operate.api.documented import BAD_REQUEST, UNAVAILABLE, documented
from gateway.operate.api.reading import read_order
from gateway.operate.changes import Actor
from gateway.operate.gate import actor
from gateway.reloading import Reloaded


class ReloadOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to reload."""

    dry_run: Annotated[bool, Meta(description="Only say what would change.")] = False


class Reloads(Protocol):
    """What reads the file again: for one process, or for all workers."""

    async def reload(self, *, dry_run: bool, who: Actor) -> Reloaded:
        """Do it, or only say what it would do. Raises ``Refused`` and ``StoreUnavailable``."""
        ...


def routes(reloader: Reloads) -> list[Any]:
    """The handler."""

    @post(
        "/reload",
        summary="Read gateway.toml again",
        operation_id="reload",
        status_code=200,
        responses=documented(BAD_REQUEST, UNAVAILABLE),
    )
    async def reload(body: RawBody, request: Request[Any, Any, Any]) -> Reloaded:
        """Sources, subscribers and tokens change at once, and no request is refused meanwhile.

        What needs a restart is named. A file with mistakes changes nothing and is answered with all of them.
        """
        return await reloader.reload(dry_run=read_order(body, ReloadOrder).dry_run, who=actor(request))

    return [reload]
