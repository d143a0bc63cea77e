"""Who is delivered to: the subscribers of the file and those made through the API, together.

The file is the truth for what it names: a subscriber of the same name made through the API waits until the file no
longer has one. Every process looks once a second whether the list in the store has another version; then, and when the
file was read again, the dispatchers go on with the new list. What cannot be read here (a variable that this machine
lacks, a record that is no JSON) is left out and says why; its cursor stays where it is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import structlog

from gateway.config import Config, Origin, SubscriberSettings
from gateway.config_file.written import Read
from gateway.errors import StoreError
from gateway.problems import Mistake
from gateway.store.subscribers import FORGETTING, StoredSubscribers, as_written

log = structlog.get_logger("gateway.delivery")

LOOK_S = 1.0

PATIENT_LOOKS = 5
"""Whoever was told to forget a subscriber does it within two looks; after this many somebody else does."""

ReadWritten = Callable[[str, Mapping[str, Any]], Read]
"""Name and JSON object → settings (``config_file/written.py``, with this process's folders and environment)."""
Apply = Callable[[Sequence[SubscriberSettings]], Awaitable[None]]


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One subscriber of the list."""

    name: str
    origin: Literal["file", "api"]
    settings: SubscriberSettings | None
    """``None`` where it cannot be read here."""
    origins: tuple[Origin, ...]
    """Each setting as it may be shown."""
    mistakes: tuple[Mistake, ...] = ()
    stored: bytes | None = None
    """Of one made through the API: its JSON in the store."""


class Roster:
    """The list, kept up to date in one process."""

    def __init__(
        self,
        config: Config,
        stored: StoredSubscribers,
        *,
        read: ReadWritten,
        apply: Apply,
        changed: Callable[[Config], None],
        hurry: Callable[[str], Awaitable[None]],
    ) -> None:
        """``apply`` gives the dispatchers a new list; ``changed`` tells everybody else the configuration in force.

        ``hurry`` lets a subscriber that has another URL or secret be tried at once (``hurry.py``).
        """
        self._stored = stored
        self._read = read
        self._apply = apply
        self._changed = changed
        self._hurry = hurry
        self._to_hurry: set[str] = set()
        self._called: dict[str, tuple[str, tuple[str, ...]]] | None = None
        """Name → URL and secrets in force; ``None`` before the first list."""
        self._config = config
        self._written: dict[str, bytes] = {}
        self.forgetting: dict[str, int] = {}
        """Name of a subscriber that is being forgotten → looks that saw it so."""
        self._version = -1
        self._in_force: tuple[SubscriberSettings, ...] | None = None
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.members: dict[str, Member] = {}
        self._gather()

    async def start(self) -> None:
        """Read the list once, then follow it. Raises ``StoreUnavailable``."""
        await self.refresh()
        self._task = asyncio.create_task(self._follow(), name="roster")

    async def stop(self) -> None:
        """Follow no longer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def refresh(self) -> None:
        """Go on with what the store has now. Raises ``StoreUnavailable``."""
        async with self._lock:
            if await self._stored.version() != self._version:
                written = await self._stored.read()
                self._written = written.settings
                self.forgetting = {name: self.forgetting.get(name, 0) for name in written.forgetting}
                self._gather()
                self._version = written.version  # last: what a defect kept from being read is read again
            await self._go_on()

    async def use_file(self, config: Config) -> None:
        """Go on with a file that was read again. Raises ``StoreUnavailable``."""
        async with self._lock:
            self._config = config
            self._in_force = None  # everything counts anew, also what is not about subscribers
            self._gather()
            await self._go_on()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.refresh()
                await self._hurry_on()
                await self._forget_on()
            except StoreError as error:  # the next look repeats what was not done
                log.debug("delivery.roster", why=str(error))
            except Exception:  # a defect in one look must not end them all: no change would be seen again
                log.exception("delivery.roster")

    async def _hurry_on(self) -> None:
        """After the new list is in force here: where this process delivers, no lane calls the old URL any more."""
        for name in list(self._to_hurry):
            await self._hurry(name)
            self._to_hurry.discard(name)

    async def _forget_on(self) -> None:
        """Go on where a process that forgot a subscriber was killed; one that the file names by now is kept."""
        for name in list(self.forgetting):
            if name not in self.forgetting:  # a refresh in between saw that it was done
                continue
            self.forgetting[name] += 1
            if name in self._config.subscribers:
                await self._stored.swap(name, FORGETTING, None, None)
            elif self.forgetting[name] > PATIENT_LOOKS:
                log.info("delivery.forgotten", subscriber=name, why="who began it did not end it")
                await self._stored.forget(name)

    def _gather(self) -> None:
        """The list anew, from the file and from what was read of the store."""
        members = {name: self._of_file(name, settings) for name, settings in self._config.subscribers.items()}
        for name, written in self._written.items():
            if name in members:
                log.warning("delivery.roster", subscriber=name, why="the file has one of this name, and it counts")
                continue
            member = self._of_api(name, written)
            if member.mistakes:
                log.error(
                    "delivery.roster",
                    subscriber=name,
                    why=[f"{each.at or 'it'}: {each.why}" for each in member.mistakes],
                )
            members[name] = member
        self.members = members

    async def _go_on(self) -> None:
        settings = tuple(each.settings for each in self.members.values() if each.settings is not None)
        if settings == self._in_force:
            return
        # First who is shown, then who is delivered to: a secret must be masked before it is used.
        subscribers = {each.name: each for each in settings}
        self._changed(msgspec.structs.replace(self._config, subscribers=subscribers))
        await self._apply(settings)
        called = {each.name: (each.url, each.secrets) for each in settings}
        if self._called is not None:
            self._to_hurry |= {name for name, how in called.items() if self._called.get(name, how) != how}
        self._called = called
        self._in_force = settings

    def _of_file(self, name: str, settings: SubscriberSettings) -> Member:
        table = f"subscribers.{name}"
        origins = tuple(row for row in self._config.origins if row.table == table)
        return Member(name=name, origin="file", settings=settings, origins=origins)

    def _of_api(self, name: str, written: bytes) -> Member:
        table = as_written(written)
        if table is None:
            mistake = Mistake("", "what the store has of it is no JSON object; delete it and make it again")
            return Member(name=name, origin="api", settings=None, origins=(), mistakes=(mistake,), stored=written)
        read = self._read(name, table)
        return Member(
            name=name,
            origin="api",
            settings=read.settings,
            origins=read.origins,
            mistakes=read.mistakes,
            stored=written,
        )
