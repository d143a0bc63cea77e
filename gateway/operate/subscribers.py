"""Subscribers as operators handle them: list, make, change, delete, pause, resume, try.

Those of the file are read-only here: the file is the truth for what it names. Each change is logged with who made it.
"""

import asyncio
import tomllib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog

from gateway import problems
from gateway.config import Origin
from gateway.config_file.values import NAME
from gateway.delivery.roster import LOOK_S, Member, ReadWritten, Roster
from gateway.operate.changes import Actor, change_of, differences
from gateway.operate.refusals import Refused, none_called
from gateway.operate.secret_files import new_whsec, remove_secrets, write_secret
from gateway.operate.sight import Sight
from gateway.operate.status import read_subscribers
from gateway.operate.subscriber_views import SubscriberDeleted, SubscriberItem, SubscriberMade, SubscriberPage
from gateway.operate.views import SubscriberStatus
from gateway.problems import Mistake
from gateway.store.changes import Change
from gateway.store.control import Control
from gateway.store.ledger import subscribers_of
from gateway.store.subscribers import FORGETTING, StoredSubscribers, as_written

log = structlog.get_logger("gateway.operate")

MOST = 1_000
"""Subscribers that the API makes."""

Json = dict[str, Any]


class Subscribers:
    """Every question about subscribers and every change of them. Raises ``Refused`` and ``StoreUnavailable``."""

    def __init__(
        self,
        *,
        sight: Sight,
        roster: Roster,
        stored: StoredSubscribers,
        read: ReadWritten,
        data_dir: Path,
        delivers_alone: Callable[[], bool],
        public_key: Callable[[str], str],
        hurry: Callable[[str], Awaitable[None]],
    ) -> None:
        """``delivers_alone``: whether this process holds every partition, so that no other can have a lane.

        ``hurry`` lets one be tried at once (``delivery/hurry.py``).
        """
        self._sight = sight
        self._roster = roster
        self._stored = stored
        self._read = read
        self._data_dir = data_dir
        self._delivers_alone = delivers_alone
        self._public_key = public_key
        self._hurry = hurry

    async def page(self) -> SubscriberPage:
        """All that are configured, and those that once were."""
        return SubscriberPage(items=await self._items(sorted(await self._names())))

    async def get(self, name: str) -> SubscriberItem:
        """One of them."""
        names = await self._names()
        if name not in names:
            raise none_called("subscriber", name, names)
        return (await self._items([name]))[0]

    async def create(self, body: Json, who: Actor) -> SubscriberMade:
        """Make one from its name and settings as written."""
        written = {key: value for key, value in body.items() if key != "name" and value is not None}
        name = body.get("name")
        if not isinstance(name, str):
            raise _invalid([Mistake("name", "is missing; write a name of small letters, digits and -")])
        await self._roster.refresh()
        if name in self._roster.members:
            raise Refused(problems.CONFLICT, f"there is a subscriber {name}{_defined_in(self._roster.members[name])}")
        if name in self._roster.forgetting:
            raise Refused(problems.CONFLICT, f"{name} is being forgotten; try again in a few seconds")
        if sum(each.origin == "api" for each in self._roster.members.values()) >= MOST:
            raise Refused(problems.CONFLICT, f"there are {MOST} subscribers made through the API; delete one first")
        return await self._write(name, None, written, who, "subscriber.create")

    async def change(self, name: str, patch: Json, who: Actor) -> SubscriberMade:
        """Change settings as RFC 7396 merges: what is null goes back to its default."""
        member = await self._of_api(name)
        if patch.get("name", name) != name:
            raise _invalid([Mistake("name", f"= {patch['name']} would rename {name}; write no name, or make another")])
        assert member.stored is not None  # of_api found one that is in the store
        written = _merged(as_written(member.stored) or {}, {key: patch[key] for key in patch if key != "name"})
        return await self._write(name, member.stored, written, who, "subscriber.change")

    async def delete(self, name: str, who: Actor, *, forget: bool) -> SubscriberDeleted:
        """Delete its settings; with ``forget`` also its cursor, its counts and whatever waits for it."""
        item = await self.get(name)
        if item.origin == "none" and not forget:
            raise Refused(problems.CONFLICT, f"{name} is not configured any more; to remove what is kept of it: forget")
        change = change_of(
            self._sight,
            who,
            "subscriber.delete",
            name,
            before={**item.settings, "pending": item.pending, "dead": item.dead},
            after={"forgotten": forget},
        )
        after = FORGETTING if forget else None
        if item.origin == "none":
            await self._swap(name, FORGETTING if name in self._roster.forgetting else None, after, change)
            await self._roster.refresh()
        else:
            member = await self._of_api(name)
            await self._stored.tell_deleted(name)
            await self._swap(name, member.stored, after, change)
            await self._roster.refresh()
            assert member.stored is not None
            remove_secrets(self._data_dir, name, (as_written(member.stored) or {}).get("secrets"))
        if forget:
            if not self._delivers_alone():
                await asyncio.sleep(2 * LOOK_S)  # until whoever delivers has seen that it is gone
            if not await self._stored.forget(name):
                why = f"a gateway that has {name} in its file took it back, or another one ended it, at this moment"
                raise Refused(problems.CONFLICT, f"{why}; look at it and try again")
        log.info("operate.change", what="subscriber.delete", who=who.name, subscriber=name, forgotten=forget)
        return SubscriberDeleted(name=name, forgotten=forget, pending=item.pending, dead=item.dead)

    async def pause(self, name: str, reason: str | None, who: Actor) -> SubscriberItem:
        """Stop deliveries to it: what comes waits in the log. One that is paused keeps its reason, if none is given."""
        await self._known(name)
        await self._switch(name, "subscriber.pause", lambda was: reason or was or f"by {who.name}", who)
        log.info("operate.change", what="subscriber.pause", who=who.name, subscriber=name, reason=reason)
        return await self.get(name)

    async def resume(self, name: str, who: Actor) -> SubscriberItem:
        """Let deliveries go on, from where they stopped."""
        await self._known(name)
        await self._switch(name, "subscriber.resume", lambda _: "", who)
        log.info("operate.change", what="subscriber.resume", who=who.name, subscriber=name)
        return await self.get(name)

    async def is_back(self, name: str) -> None:
        """It has just answered 2xx: what waits for it need not wait longer."""
        await self._hurry(name)

    async def member(self, name: str) -> Member:
        """A configured one that can be read here."""
        return await self._known(name)

    async def _write(self, name: str, before: bytes | None, written: Json, who: Actor, what: str) -> SubscriberMade:
        old: Json = (as_written(before) if before else None) or {}
        secret = reference = None
        if written.get("secrets") is None and NAME.fullmatch(name):
            secret = new_whsec()
            reference = write_secret(self._data_dir, name, secret)
            written = {**written, "secrets": [reference]}
        try:
            read = self._read(name, written)
            # A name that is none gets no secret made, and is itself what to mend.
            mistakes = [each for each in read.mistakes if reference or not each.why.startswith("lacks secrets")]
            if read.mistakes:
                raise _invalid(mistakes)
            change = change_of(self._sight, who, what, name)
            change = _with_settings(change, self._read(name, old).origins if before else (), read.origins)
            await self._swap(name, before, msgspec.json.encode(written), change)
        except Refused:  # whoever else raises may have stored it: then its secret must stay
            remove_secrets(self._data_dir, name, [reference])
            raise
        if isinstance(had := old.get("secrets"), list):
            remove_secrets(self._data_dir, name, [each for each in had if each not in written["secrets"]])
        log.info("operate.change", what=what, who=who.name, subscriber=name, settings=sorted(written))
        await self._roster.refresh()
        return SubscriberMade(subscriber=await self.get(name), secret=secret)

    async def _switch(self, name: str, what: str, choose: Callable[[str], str], who: Actor) -> None:
        """``choose``: the reason that was → the one that is to be; empty for no pause."""
        control = Control(self._sight.store, self._sight.keys, name)
        was = await control.read()
        why = choose(was)
        change = change_of(self._sight, who, what, name, before={"paused": was or None}, after={"paused": why or None})
        await (control.pause(why, change) if why else control.resume(change))

    async def _swap(self, name: str, before: bytes | None, after: bytes | None, change: Change) -> None:
        if not await self._stored.swap(name, before, after, change):
            raise Refused(problems.CONFLICT, f"somebody else changed {name} at this moment; look at it and try again")

    async def _known(self, name: str) -> Member:
        await self._roster.refresh()
        member = self._roster.members.get(name)
        if member is None:
            raise none_called("subscriber", name, self._roster.members)
        return member

    async def _of_api(self, name: str) -> Member:
        member = await self._known(name)
        if member.origin == "file":
            raise Refused(problems.CONFLICT, f"{name} is{_defined_in(member)}; change it there, then: gateway reload")
        return member

    async def _names(self) -> set[str]:
        await self._roster.refresh()  # another process may have made one at this moment
        known = await subscribers_of(self._sight.store, self._sight.keys)
        return {*self._roster.members, *(name for names in known for name in names)}

    async def _items(self, names: Sequence[str]) -> list[SubscriberItem]:
        accounts = await self._sight.accounts()
        owners = await self._sight.store.many([("HGET", keys.state, "owner") for keys in self._sight.keys])
        statuses = await read_subscribers(self._sight, accounts, names, delivering=any(owners))
        return [self._item(each) for each in statuses]

    def _item(self, status: SubscriberStatus) -> SubscriberItem:
        member = self._roster.members.get(status.name)
        settings = member.settings if member else None
        keys = [each for each in settings.secrets if each.startswith("whsk_")] if settings else []
        words = status.words
        if member is not None and member.mistakes:
            words = "its settings cannot be read by this gateway; what comes waits for it"
        return SubscriberItem(
            name=status.name,
            origin=member.origin if member else "none",
            state=status.state,
            words=words,
            paused=status.paused,
            pending=status.pending,
            unread=status.unread,
            dead=status.dead,
            oldest_pending_s=status.oldest_pending_s,
            settings=_shown(member.origins) if member else {},
            public_keys=[self._public_key(secret) for secret in keys],
            mistakes=list(member.mistakes) if member else [],
        )


def _shown(origins: Iterable[Origin]) -> Json:
    """The settings as they may be shown: the rows were masked where they were read."""
    return {row.key: tomllib.loads(f"value = {row.value}")["value"] for row in origins}


def _with_settings(change: Change, before: Iterable[Origin], after: Iterable[Origin]) -> Change:
    """Of the settings what differs; defaults say nothing."""
    old, new = (_shown(row for row in rows if row.origin != "default") for rows in (before, after))
    was, became = differences(old, new)
    return msgspec.structs.replace(change, before=was, after=became)


def _merged(target: Json, patch: Json) -> Json:
    merged = dict(target)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            before = merged.get(key)
            merged[key] = _merged(before if isinstance(before, dict) else {}, value)
        else:
            merged[key] = value
    return merged


def _defined_in(member: Member) -> str:
    return " defined in gateway.toml" if member.origin == "file" else ""


def _invalid(mistakes: Sequence[Mistake]) -> Refused:
    words = "; ".join(f"{each.at or 'it'}: {each.why}" for each in mistakes)
    return Refused(problems.INVALID, words, tuple(mistakes))
