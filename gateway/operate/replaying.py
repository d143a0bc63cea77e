"""Replays as operators handle them: plan, make, list, look at, cancel, resume. Running them is ``delivery/replay.py``.

Each change is logged with who made it.
"""

import base64
from collections.abc import Callable
from pathlib import Path

import structlog

from gateway import problems
from gateway.config import SubscriberSettings
from gateway.config_file.tables import masked
from gateway.delivery.guard import Guard
from gateway.delivery.roster import ReadWritten
from gateway.errors import ConfigError, TargetRefused
from gateway.operate.changes import Actor, change_of
from gateway.operate.cursor import read_replay_cursor, write_replay_cursor
from gateway.operate.refusals import Refused
from gateway.operate.replay_items import item, selection_of
from gateway.operate.replay_orders import invalid, read_spec
from gateway.operate.replay_plan import plan, range_of
from gateway.operate.replay_views import (
    ReplayAnswer,
    ReplayItem,
    ReplayOrder,
    ReplayPage,
    ReplayTo,
)
from gateway.operate.secret_files import new_whsec, remove_secrets, write_secret
from gateway.operate.sight import Sight
from gateway.problems import Mistake
from gateway.store.replays import Replay, Replays, ReplayTarget, State

log = structlog.get_logger("gateway.operate")

NAME = "replay"
"""The name that a replay's target and the file of its secret have."""

OPEN = 50
"""Replays that may be planned or running at once."""

_MAY_CANCEL: tuple[State, ...] = ("planned", "running", "paused", "failed")
_MAY_RESUME: tuple[State, ...] = ("paused", "failed", "cancelled")


class ReplayDesk:
    """Every question about replays and every change of them. Raises ``Refused`` and ``StoreUnavailable``."""

    def __init__(
        self,
        *,
        sight: Sight,
        guard: Guard,
        read: ReadWritten,
        data_dir: Path,
        monotonic: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """``read``: settings as written → settings, with this process's folders and environment."""
        self._sight = sight
        self._guard = guard
        self._read = read
        self._data_dir = data_dir
        self._monotonic = monotonic
        self._random_bytes = random_bytes
        self._replays = Replays(sight.store, sight.keys[0])

    async def order(self, order: ReplayOrder, who: Actor) -> ReplayAnswer:
        """Make a replay, or in a dry run only say what it would be about."""
        made: str | None = None
        target: ReplayTarget | None = None
        if order.to is not None:
            reference = order.to.secret
            if reference is None:
                made = new_whsec(self._random_bytes)
                reference = write_secret(self._data_dir, NAME, made)
            target = _target(order.to, reference)
        kept = False
        try:
            if target is not None:
                await self._check(target)
            spec = read_spec(order, target, self._sight.config.subscribers, self._sight.wall_ms())
            over = await range_of(self._sight, spec, order.ids)
            if order.dry_run:
                subscriber = self._sight.config.subscribers.get(spec.subscriber or "")
                planned = await plan(self._sight, spec, subscriber, over, self._monotonic)
                return ReplayAnswer(word="planned", plan=planned)
            replay = Replay(
                id=f"rpl_{base64.b32encode(self._random_bytes(10)).decode().lower()}",
                spec=spec,
                created_ms=self._sight.wall_ms(),
                created_by=who.name,
                starts=over.starts,
                ends=over.ends,
                positions=list(over.starts),
                picked=over.picked,
            )
            await self._make_room()
            kept = True  # from here on it may be stored, even if we do not hear of it: then its secret must stay
            change = change_of(self._sight, who, "replay.create", replay.id, after=_told(replay))
            await self._replays.save(replay, 0, change=change)
        finally:
            if made is not None and target is not None and not kept:
                forget_secret(self._data_dir, target.secret)
        log.info("operate.change", what="replay.create", who=who.name, replay=replay.id, selection=selection_of(replay))
        return ReplayAnswer(word="created", replay=item(replay, failures=True), secret=made)

    async def page(self, after: str | None, limit: int) -> ReplayPage:
        """The newest first."""
        stored = [each.replay for each in await self._replays.all()]
        if after is not None:
            boundary = read_replay_cursor(after)
            stored = [each for each in stored if (each.created_ms, each.id) < boundary]
        shown, rest = stored[:limit], stored[limit:]
        following = write_replay_cursor(shown[-1].created_ms, shown[-1].id) if rest else None
        return ReplayPage(items=[item(each, failures=False) for each in shown], next=following)

    async def get(self, name: str) -> ReplayItem:
        """One of them, by its id or a unique beginning of it."""
        return item(await self._find(name), failures=True)

    async def cancel(self, name: str, who: Actor) -> ReplayItem:
        """Stop it, within a second or two."""
        return await self._change(name, "cancelled", _MAY_CANCEL, who, "replay.cancel")

    async def resume(self, name: str, who: Actor) -> ReplayItem:
        """Let it go on from where it stopped."""
        return await self._change(name, "planned", _MAY_RESUME, who, "replay.resume")

    async def _change(self, name: str, state: State, allowed: tuple[State, ...], who: Actor, what: str) -> ReplayItem:
        replay_id = (await self._find(name)).id
        while True:
            stored = await self._replays.get(replay_id)
            if stored is None:
                raise Refused(problems.NOT_FOUND, f"there is no replay {replay_id} any more")
            replay = stored.replay
            if replay.state not in allowed:
                raise Refused(problems.CONFLICT, f"{replay_id} is {replay.state}; nothing was changed")
            change = change_of(
                self._sight, who, what, replay_id, before={"state": replay.state}, after={"state": state}
            )
            replay.state, replay.waiting = state, ""
            replay.ended_ms = 0 if replay.is_open else self._sight.wall_ms()
            if await self._replays.save(replay, stored.version, change=change):
                break
        log.info("operate.change", what=f"replay.{state}", who=who.name, replay=replay_id)
        return item(replay, failures=True)

    async def _find(self, name: str) -> Replay:
        name = name if name.startswith("rpl_") else f"rpl_{name}"
        found = await self._replays.get(name)
        if found is not None:
            return found.replay
        fitting = [each.replay for each in await self._replays.all() if each.replay.id.startswith(name)]
        if len(fitting) != 1:
            why = f"{len(fitting)} replays begin with {name}" if fitting else f"there is no replay {name}"
            raise Refused(problems.CONFLICT if fitting else problems.NOT_FOUND, f"{why}; gateway replay list")
        return fitting[0]

    async def _make_room(self) -> None:
        for old in await self._replays.forget_old():
            if old.spec.to is not None:
                forget_secret(self._data_dir, old.spec.to.secret)
        if len((await self._replays.runnable()).ids) >= OPEN:
            raise Refused(problems.CONFLICT, f"{OPEN} replays wait or run already; cancel one, or wait")

    async def _check(self, target: ReplayTarget) -> None:
        settings, mistakes = _read(self._read, target)
        if settings is None:
            raise invalid(mistakes)
        try:
            await self._guard.target(settings.url, settings.allow_networks)
        except TargetRefused as error:
            raise invalid([Mistake("to.url", f"may not be connected to: {error}")]) from None
        except OSError as error:
            raise invalid([Mistake("to.url", f"cannot be looked up: {error}")]) from None


def _told(replay: Replay) -> dict[str, str]:
    """Where to and which events, as the audit log has it."""
    to = masked(replay.spec.to.url) if replay.spec.to else replay.spec.subscriber or ""
    return {"to": to, **selection_of(replay)}


def forget_secret(data_dir: Path, reference: str) -> None:
    """Remove the secret if it was made for a replay; others stay."""
    remove_secrets(data_dir, NAME, [reference])


def read_target(read: ReadWritten, target: ReplayTarget) -> SubscriberSettings:
    """A target's settings, by the rules of a subscriber made through the API. Raises ``ConfigError``."""
    found, mistakes = _read(read, target)
    if found is None:
        raise ConfigError([f"{each.at}: {each.why}" for each in mistakes])
    return found


def _read(read: ReadWritten, target: ReplayTarget) -> tuple[SubscriberSettings | None, list[Mistake]]:
    written = {
        "url": target.url,
        "secrets": [target.secret],
        "allow_networks": list(target.allow_networks),
        "format": target.format,
        "raw": target.raw,
    }
    found = read(NAME, written)
    return found.settings, [
        Mistake(f"to.{each.at.replace('secrets[0]', 'secret')}", each.why) for each in found.mistakes
    ]


def _target(to: ReplayTo, secret: str) -> ReplayTarget:
    return ReplayTarget(
        url=to.url, secret=secret, allow_networks=tuple(to.allow_networks), format=to.format, raw=to.raw
    )
