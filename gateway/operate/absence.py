"""What there is to say while the store cannot be asked: since when, why, and what becomes of webhooks meanwhile."""

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway import problems
from gateway.errors import StoreError, StoreUnavailable
from gateway.intake.spool_folder import BEING_WRITTEN, FolderView
from gateway.operate.amounts import counted, size
from gateway.operate.refusals import Refused, explain, why_away
from gateway.operate.sight import Away, Sight
from gateway.operate.views import SpoolStatus, When
from schemas.timestamps import format_ms


class Absence(msgspec.Struct, frozen=True, kw_only=True):
    """What this process knows without the store."""

    since: str | None
    """``None``: this process has not noticed before."""
    why: str
    plight: str
    """What the machine tells of an embedded store, and what to do; empty if nothing."""
    spool: SpoolStatus
    """Read from its folder."""
    refused: str
    """Why webhooks are answered 503; empty while the spool takes them."""
    own: bool
    """Whether the store is the embedded one, which is started again by itself."""

    @property
    def away(self) -> str:
        """``since <time> (<why>)``, as far as that is known."""
        return f"({self.why})" if self.since is None else Away(self.since, self.why).words

    @property
    def kept(self) -> str:
        """What waits in the spool."""
        spool = self.spool
        return f"{counted(spool.requests, 'request')}, {size(spool.bytes)} of {size(spool.limit_bytes)}"

    @property
    def words(self) -> str:
        """All of it, for who asks the API."""
        if self.refused:
            webhooks = f"webhooks are answered 503 ({self.refused})"
            webhooks += f"; what came before waits in the spool on disk ({self.kept})" if self.spool.requests else ""
        else:
            webhooks = f"webhooks are answered 200 and kept in the spool on disk ({self.kept})"
        plight = f": {self.plight}" if self.plight else ""
        return (
            f"the store is away {self.away}{plight}; {webhooks}. Nothing that was answered 2xx is lost, and "
            "deliveries go on when the store is back"
        )


class AbsenceView(msgspec.Struct, frozen=True, kw_only=True):
    """What is known while the store is away."""

    since: Annotated[When | None, Meta(description="null: it was not noticed before.")]
    why: Annotated[str, Meta(description="What the store said, or why it is not heard.")]
    plight: Annotated[
        str | None,
        Meta(description="What the machine tells of an embedded store, and what to do: a full disk, a silent process."),
    ]
    refused: Annotated[str | None, Meta(description="Why webhooks are answered 503; null: the spool takes them.")]
    spool: SpoolStatus


class AwayBody(problems.Body, frozen=True, omit_defaults=True, kw_only=True):
    """A refusal for the store's sake: the problem, and what is known all the same."""

    store_away: Annotated[AbsenceView | None, Meta(description="Missing where the 503 has another reason.")] = None


class StoreAway(Refused):
    """The store cannot be asked. Becomes a 503 that says what ``absence`` knows."""

    def __init__(self, absence: Absence) -> None:
        super().__init__(problems.UNAVAILABLE, absence.words)
        self.absence = absence

    def body(self) -> bytes:
        """With what is known in fields, for programs."""
        told, known = self.problem, self.absence
        view = AbsenceView(
            since=known.since,
            why=known.why,
            plight=known.plight or None,
            refused=known.refused or None,
            spool=known.spool,
        )
        plain = msgspec.structs.asdict(problems.as_body(told, self.detail))
        return msgspec.json.encode(AwayBody(**plain, store_away=view))


def spool_status(sight: Sight, folder: FolderView) -> SpoolStatus:
    """The spool as it is shown."""
    held, settings = folder.held, sight.config.store
    return SpoolStatus(
        configured=settings.spool is not None,
        requests=held.requests,
        events=held.events,
        bytes=held.bytes,
        limit_bytes=settings.spool_bytes if settings.spool is not None else 0,
        files=folder.files,
        oldest_at=None if held.oldest_ms is None else format_ms(held.oldest_ms),
        put_aside=held.aside,
        unreadable=folder.unreadable,
    )


async def not_looked_up(sight: Sight, error: StoreUnavailable) -> Refused:
    """What to raise instead of ``error`` to who asked for one event: it may wait in the spool."""
    problem, detail = explain(error)
    if waiting := (await sight.spooled(held_only=True)).held.requests:
        detail += (
            f". {counted(waiting, 'request waits', 'requests wait')} in the spool: an event that was answered 200 "
            "meanwhile is among them, and can be looked up when the store is back"
        )
    return Refused(problem, detail)


async def store_away(sight: Sight, error: StoreError) -> StoreAway:
    """What to raise instead of ``error``, which is what came of a question to the store."""
    spool = spool_status(sight, await sight.spooled(held_only=True))
    refused = ""
    if not spool.configured:
        refused = "there is no spool"
    elif broken := spool.unreadable.get(BEING_WRITTEN):
        refused = f"the spool cannot be written: {broken}"
    elif sight.takes() is False or spool.bytes >= spool.limit_bytes:
        refused = "the spool is full"
    away = sight.away()
    return StoreAway(
        Absence(
            since=away.since if away else None,
            why=away.why if away else why_away(error),
            plight=await sight.plight(),
            spool=spool,
            refused=refused,
            own=sight.config.store.data_dir is not None,
        )
    )
