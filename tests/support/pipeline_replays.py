"""Replays in the model: the gateway's own replayer, sending into the script's world; for ``pipeline_model.py``."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from gateway.config import SubscriberSettings
from gateway.delivery.guard import Guard
from gateway.delivery.outcome import Outcome
from gateway.delivery.replay import Replayer
from gateway.delivery.replay_ways import Way
from gateway.delivery.selecting import Match
from gateway.store.connection import Store
from gateway.store.layout import Keys
from gateway.store.log import PartitionLog
from gateway.store.replays import Replay, ReplayTarget
from tests.support.clock import Clock
from tests.support.scripted import World


class ScriptedReplayer(Replayer):
    """A replayer whose target is in ``world``, where it goes by the replay's id."""

    world: World

    def _way(self, replay: Replay, settings: SubscriberSettings) -> Way:
        return _Scripted(self.world, msgspec.structs.replace(settings, name=replay.id))


class _Scripted:
    def __init__(self, world: World, settings: SubscriberSettings) -> None:
        self._world = world
        self._settings = settings

    async def attempt(self, match: Match, partition: int, number: int, left: int) -> Outcome:
        return await self._world.attempt(self._settings, match.head.id)

    async def close(self) -> None:
        """Nothing is open."""


def scripted_replayer(
    world: World,
    store: Store,
    keys: Sequence[Keys],
    owner: str,
    clock: Clock,
    subscribers: Callable[[], Mapping[str, SubscriberSettings]],
) -> ScriptedReplayer:
    """The replayer of one process."""
    kind = type("Replayer", (ScriptedReplayer,), {"world": world})
    found: ScriptedReplayer = kind(
        store=store,
        keys=keys,
        logs=[PartitionLog(store, each) for each in keys],
        owner=owner,
        guard=Guard(own=()),
        subscribers=subscribers,
        read_target=_no_url,
        forget_secret=lambda _: None,
        wall_ms=clock.wall_ms,
        monotonic=clock.monotonic,
        retry_s=(0.005, 0.005),
        look_s=0.01,
    )
    return found


def _no_url(target: ReplayTarget) -> SubscriberSettings:
    raise AssertionError("the model's replays go to subscribers")
