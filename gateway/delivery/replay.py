"""Replays, run in the process that holds the lease of partition 0.

It looks once a second what is to run, claims it, and runs it (``replay_run.py``). A record says which epoch of the
lease claimed it, and every write of it is checked against the lease, so two processes never run one replay: a holder
that was replaced stops at its next save. What a dead process left as running is claimed by the next holder and goes on
from the saved position.

A replay goes out with its subscriber's settings (URL, secrets, format, raw, headers), but not by its types and its
condition, unless that is asked for. It waits while the subscriber is paused.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec
import structlog

from gateway.config import SubscriberSettings
from gateway.delivery.condition import BadCondition
from gateway.delivery.guard import Guard
from gateway.delivery.replay_run import CONCURRENCY, RETRY_S, Run
from gateway.delivery.replay_ways import Look, Requeueing, Sending, Way
from gateway.delivery.selecting import Rules, Selecting
from gateway.errors import ConfigError, StoreError
from gateway.store.connection import Store
from gateway.store.control import Control
from gateway.store.dead_letters import DeadLetters
from gateway.store.layout import Keys
from gateway.store.log import PartitionLog
from gateway.store.replays import Replay, Replays, ReplaySpec, ReplayTarget, Stored

log = structlog.get_logger("gateway.replay")

LOOK_S = 1.0
AT_ONCE = 4
"""Replays that run side by side; the others wait for their turn."""

ReadTarget = Callable[[ReplayTarget], SubscriberSettings]
"""Where a replay to a URL goes, its references resolved here. Raises ``ConfigError``."""


class Replayer:
    """One process's part in replays: looks, and runs them while it holds partition 0."""

    def __init__(
        self,
        *,
        store: Store,
        keys: Sequence[Keys],
        logs: Sequence[PartitionLog],
        owner: str,
        guard: Guard,
        subscribers: Callable[[], Mapping[str, SubscriberSettings]],
        read_target: ReadTarget,
        forget_secret: Callable[[str], None],
        wall_ms: Callable[[], int],
        monotonic: Callable[[], float],
        retry_s: Sequence[float] = RETRY_S,
        look_s: float = LOOK_S,
    ) -> None:
        """``owner``: this process's name in leases; ``subscribers``: those of this moment; ``forget_secret`` takes the
        reference to a target's secret that is no longer needed."""
        self._store = store
        self._keys = keys
        self._logs = logs
        self._owner = owner
        self._guard = guard
        self._subscribers = subscribers
        self._read_target = read_target
        self._forget_secret = forget_secret
        self._wall_ms = wall_ms
        self._monotonic = monotonic
        self._retry_s = retry_s
        self._look_s = look_s
        self._replays = Replays(store, keys[0])
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._runs: dict[str, Run] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look from now on."""
        self._task = asyncio.create_task(self._look_forever(), name="replays")

    async def stop(self) -> None:
        """Hand over: what is on the wire may end, what is not done goes on elsewhere or after a restart."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for run in self._runs.values():
            run.stop()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _look_forever(self) -> None:
        while True:
            try:
                await self.look()
            except StoreError as error:
                log.debug("replay.look", why=str(error))
            except Exception:
                log.exception("replay.defect")
            await asyncio.sleep(self._look_s)

    async def look(self) -> None:
        """Claim and start what is to run, if it is ours to run. Raises ``StoreError``."""
        runnable = await self._replays.runnable()
        if runnable.owner != self._owner:
            return
        for replay_id in runnable.ids:
            if len(self._tasks) >= AT_ONCE:
                return
            if replay_id in self._tasks:
                continue
            stored = await self._claim(replay_id, runnable.epoch)
            if stored is not None:
                task = asyncio.create_task(self._run(stored, runnable.epoch), name=f"replay {replay_id}")
                self._tasks[replay_id] = task
                task.add_done_callback(partial(self._left, replay_id))

    def _left(self, replay_id: str, _: "asyncio.Task[None]") -> None:
        del self._tasks[replay_id]

    async def _claim(self, replay_id: str, epoch: int) -> Stored | None:
        stored = await self._replays.get(replay_id)
        if stored is None or not stored.replay.is_open:
            return None
        replay = stored.replay
        replay.state, replay.epoch, replay.waiting = "running", epoch, ""
        replay.started_ms = replay.started_ms or self._wall_ms()
        version = await self._replays.save(replay, stored.version, epoch=epoch)
        return Stored(replay, version) if version else None

    async def _run(self, stored: Stored, epoch: int) -> None:
        replay = stored.replay
        told = log.bind(replay=replay.id, subscriber=replay.spec.subscriber, to_url=replay.spec.to is not None)
        try:
            run = self._make_run(stored, epoch)
        except (ConfigError, BadCondition) as error:
            told.error("replay.failed", why=str(error))
            await self._fail(stored, epoch, str(error))
            return
        told.info("replay.start", positions=replay.positions, created_by=replay.created_by)
        self._runs[replay.id] = run
        try:
            await run.run()
        except StoreError as error:  # it stays open: whoever holds the lease goes on
            told.warning("replay.interrupted", why=str(error))
        except Exception as error:
            told.exception("replay.defect")
            await self._fail(stored, epoch, f"a defect of the gateway: {type(error).__name__}")
        finally:
            del self._runs[replay.id]
        with contextlib.suppress(StoreError):  # then it goes with the record
            after = await self._replays.get(replay.id)
            if after is not None and after.replay.state == "done" and replay.spec.to is not None:
                self._forget_secret(replay.spec.to.secret)
        told.info(
            "replay.stop",
            state=replay.state,
            matched=replay.matched,
            delivered=replay.delivered,
            requeued=replay.requeued,
            failed=replay.failed,
            why=replay.last_error,
        )

    async def _fail(self, stored: Stored, epoch: int, why: str) -> None:
        with contextlib.suppress(StoreError):  # then it stays open, and is tried again
            current = await self._replays.get(stored.replay.id)
            if current is None or not current.replay.is_open:
                return
            failed = current.replay
            failed.state, failed.last_error, failed.waiting, failed.ended_ms = "failed", why, "", self._wall_ms()
            await self._replays.save(failed, current.version, epoch=epoch)

    def _make_run(self, stored: Stored, epoch: int) -> Run:
        """Raises ``ConfigError`` where there is no way to its target from here, and ``BadCondition``."""
        replay, spec = stored.replay, stored.replay.spec
        known = dict(self._subscribers())
        subscriber = known.get(spec.subscriber) if spec.subscriber else None
        if spec.subscriber and subscriber is None:
            raise ConfigError([f"there is no subscriber {spec.subscriber} any more"])
        settings = self._target(spec, subscriber)
        rules = Rules(spec, subscriber)
        selecting = [
            Selecting(spec, rules, self._store, keys, partition_log)
            for keys, partition_log in zip(self._keys, self._logs, strict=True)
        ]
        limits = [spec.rate_per_s] + ([settings.rate_per_s] if settings.rate_per_s else [])
        return Run(
            stored,
            epoch,
            replays=self._replays,
            selecting=selecting,
            way=self._way(replay, settings),
            look=self._looker(spec, subscriber),
            by_key=settings.order == "key",
            rate_per_s=min(limits),
            concurrency=min(CONCURRENCY, settings.concurrency),
            retry_s=self._retry_s,
            wall_ms=self._wall_ms,
            monotonic=self._monotonic,
        )

    def _target(self, spec: ReplaySpec, subscriber: SubscriberSettings | None) -> SubscriberSettings:
        if spec.to is not None:
            return self._read_target(spec.to)
        if subscriber is None:
            raise ConfigError(["it names neither a subscriber nor a URL"])
        return subscriber

    def _way(self, replay: Replay, settings: SubscriberSettings) -> Way:
        if replay.spec.requeues:
            letters = [DeadLetters(self._store, keys, settings.name) for keys in self._keys]
            return Requeueing(letters, wall_ms=self._wall_ms)
        return Sending(replay.id, settings, self._guard, wall_ms=self._wall_ms, monotonic=self._monotonic)

    def _looker(self, spec: ReplaySpec, began_with: SubscriberSettings | None) -> "_Looker":
        control = None
        if spec.subscriber and spec.to is None and not spec.requeues:  # a lane knows by itself when it is paused
            control = Control(self._store, self._keys, spec.subscriber)
        return _Looker(spec, began_with, self._subscribers, control)


class _Looker(msgspec.Struct):
    """Looks how things stand with a run's subscriber."""

    spec: ReplaySpec
    began_with: SubscriberSettings | None
    subscribers: Callable[[], Mapping[str, SubscriberSettings]]
    control: Control | None

    async def __call__(self) -> Look:
        """Raises ``StoreUnavailable``."""
        name = self.spec.subscriber
        if name is not None and self.subscribers().get(name) != self.began_with:
            return Look(changed=True)
        why = await self.control.read() if self.control is not None else ""
        return Look(waiting=f"{name} is paused: {why}" if why else "")
