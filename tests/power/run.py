"""One run: a gateway under load on the watched disk, its power cut again and again, drained, and looked at."""

import asyncio
import fcntl
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec
import redis

from gateway.store.embedded import socket_path
from tests.crashes.killer import kill_store
from tests.crashes.run import Done, Plan, Run
from tests.power.disk import Cut, build, cut, environment, kill_all

Fsync = Literal["always", "everysec"]

STARTING_PART = 0.15
"""This part of the cuts comes while the gateway starts."""
STARTING_S = 1.0
SERVING_S = (0.05, 1.2)
SPOOLING_PART = 0.3
"""Before this part of the cuts the store is killed and kept away, so that the spool takes over."""
AWAY_S = (0.3, 1.2)
DRAINING_S = (0.0, 0.6)
"""Before half of those the store may come back for so long, and the spool is drained."""
REWRITING_PART = 0.3
"""This part of the cuts comes after the store was told to rewrite its log."""


class Outcome(msgspec.Struct, kw_only=True):
    """What came of it."""

    done: Done
    cuts: list[Cut]

    @property
    def spooled(self) -> int:
        """Events that were answered 200 from the spool."""
        return sum("spooled" in statuses for statuses in self.done.facts.acknowledged.values())

    @property
    def lost(self) -> int:
        """Events that were answered 200 and are not in the log."""
        return len(self.done.facts.acknowledged.keys() - {entry.event_id for entry in self.done.facts.log})


class PowerRun(Run):
    """A run with power cuts."""

    def __init__(
        self, wanted: Plan, cuts: int, fsync: Fsync, folder: Path, env: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        store = "" if fsync == "always" else "assume_durable = true"  # the gateway would refuse it otherwise
        super().__init__(wanted, folder, say, env=env, store=store)
        self._fsync = fsync
        self._is_control = fsync != "always"  # cut while it serves, and all that is not synced is lost
        self._number = cuts
        self._disk = folder
        self._undo = Path(env["POWER_UNDO"])
        self.cuts: list[Cut] = []

    async def _strikes(self) -> None:
        for number in range(1, self._number + 1):
            if not self._is_control and self._chance.random() < STARTING_PART:
                await asyncio.sleep(self._chance.uniform(0, STARTING_S))
            else:
                await self._serving()
                await asyncio.to_thread(self._set_up)
                await asyncio.sleep(self._chance.uniform(*SERVING_S))
                if not self._is_control and self._chance.random() < SPOOLING_PART:
                    await self._spool()
            await self._end(self._power_off)
            self.cuts.append(cut(self._disk, self._undo, None if self._is_control else self._chance))
            self._start()
            self._progress(number, self._number)

    async def _spool(self) -> None:
        """Keep the store away for a while, and perhaps let it come back."""
        with (self._disk / "data" / "lock").open("r+b") as lock:
            while not _locked(lock):  # whoever has it keeps the gateway from starting another
                kill_store(self._disk / "data")
                await asyncio.sleep(0.001)
            await asyncio.sleep(self._chance.uniform(*AWAY_S))
        if self._chance.random() < 0.5:
            await asyncio.sleep(self._chance.uniform(*DRAINING_S))

    def _power_off(self) -> None:
        kill_all(self._undo)
        self._gateway.kill()  # it is dead; this takes note of it

    def _set_up(self) -> None:
        with redis.Redis(unix_socket_path=str(socket_path(self._disk / "data"))) as client:
            if self._is_control:
                client.config_set("appendfsync", self._fsync)
            if self._chance.random() < REWRITING_PART:
                client.bgrewriteaof()


def _locked(lock: BinaryIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def run(*, cuts: int, rate: float, seed: int, fsync: Fsync, say: Callable[[str], None]) -> Outcome:
    """Run it in a folder of its own, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="gateway-power-") as made:
        folder = Path(made)
        disk, undo = folder / "disk", folder / "undo"
        disk.mkdir()
        env = environment(build(folder), disk, undo)
        running = PowerRun(Plan(kills=0, store_kills=0, rate=rate, seed=seed), cuts, fsync, disk, env, say)
        try:
            done = asyncio.run(running.run())
        finally:
            kill_all(undo)
        return Outcome(done=done, cuts=running.cuts)
