"""The audit log of changes: what is told of each, and the list that operators read.

What is refused is not in it, or whoever may not come in could fill it: refusals are counted.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.operate.cursor import read_change_cursor, write_change_cursor
from gateway.operate.sight import Sight
from gateway.operate.views import Next, When
from gateway.store.changes import Change, Changes
from schemas.timestamps import format_ms


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks for a change."""

    name: str
    """Of the token, or how somebody came in."""
    role: str
    address: str | None = None
    """From where, as far as it is known."""


class ChangeItem(msgspec.Struct, frozen=True, kw_only=True):
    """One change that somebody made."""

    at: When
    who: Annotated[str, Meta(description="The token's name, `login link`, or `SIGHUP`.", examples=["admin_token"])]
    role: Annotated[str, Meta(description="read or operate")]
    address: Annotated[str | None, Meta(description="From where; null where that is not known.")]
    what: Annotated[str, Meta(examples=["subscriber.pause", "dead.retry", "replay.create", "reload", "login"])]
    subject: Annotated[str, Meta(description="The name of what was changed; empty where there is none.")]
    before: Annotated[dict[str, Any], Meta(description="Of what differs, what it was. Secrets are masked.")]
    after: Annotated[dict[str, Any], Meta(description="Of what differs, what it is. Secrets are masked.")]


class ChangePage(msgspec.Struct, frozen=True, kw_only=True):
    """Part of the list of changes."""

    items: list[ChangeItem]
    next: Next


def change_of(
    sight: Sight,
    who: Actor,
    what: str,
    subject: str = "",
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> Change:
    """An entry, for whoever writes it in one step with the change."""
    return Change(
        at_ms=sight.wall_ms(),
        who=who.name,
        role=who.role,
        address=who.address,
        what=what,
        subject=subject,
        before=before or {},
        after=after or {},
    )


async def tell(sight: Sight, change: Change) -> None:
    """Write an entry before its change is made. Raises ``StoreUnavailable``; then nothing may be changed."""
    await Changes(sight.store, sight.keys[0]).add(change)


async def list_changes(sight: Sight, after: str | None, limit: int) -> ChangePage:
    """The newest first. Raises ``Refused``, ``StoreUnavailable``."""
    place = None if after is None else read_change_cursor(after)
    found = await Changes(sight.store, sight.keys[0]).list(place, limit + 1)
    shown = found[:limit]
    following = write_change_cursor(shown[-1].place) if len(found) > limit else None
    return ChangePage(items=[_item(each.change) for each in shown], next=following)


def differences(before: dict[str, Any], after: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of two sets of values only what differs, before and after. Pure."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return (
        {name: before[name] for name in names if name in before},
        {name: after[name] for name in names if name in after},
    )


def _item(change: Change) -> ChangeItem:
    return ChangeItem(
        at=format_ms(change.at_ms),
        who=change.who,
        role=change.role,
        address=change.address,
        what=change.what,
        subject=change.subject,
        before=change.before,
        after=change.after,
    )
