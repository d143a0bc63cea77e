"""Reads one partition's log for all its subscribers, while it holds the partition's lease.

Two readers share the work. The *live* reader waits at the end of the log, reads each new entry once, and hands it to
every lane that keeps up. A lane that is behind (new, slow, full) is served by the *catch-up* reader from where it
stands, together with the others that stand at the same place; once it reaches the live reader's place it joins it
again.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from gateway.delivery.lane import Delivery, Lane, delivery_of
from gateway.delivery.matching import Matcher
from gateway.errors import LeaseLost, StoreError, StoreUnavailable
from gateway.store.lease import TTL_MS, Lease
from gateway.store.log import Entry, PartitionLog
from schemas.timestamps import parse_iso_ms

log = structlog.get_logger("gateway.delivery")

READ_EVENTS = 256
BLOCK_MS = 1_000
RENEW_S = TTL_MS / 3_000
STOP_S = 10.0


class Dispatcher:
    """One partition's deliveries."""

    def __init__(
        self, *, partition_log: PartitionLog, lease: Lease, lanes: Sequence[Lane], monotonic: Callable[[], float]
    ) -> None:
        self._log = partition_log
        self._lease = lease
        self._lanes = {lane.name: lane for lane in lanes}
        self._matcher = Matcher([lane.settings for lane in lanes])
        self._monotonic = monotonic
        self._task: asyncio.Task[None] | None = None
        self._live: dict[str, Lane] = {}
        self._live_seq = 0
        self._joined = asyncio.Event()
        self._stir = asyncio.Event()
        """Set when a lane has room again, falls behind, or can go on no longer: the catch-up reader looks."""
        self.holds = False
        """Whether this process delivers from this partition."""

    def start(self) -> None:
        """Begin as soon as the lease can be had."""
        self._task = asyncio.create_task(self._run_forever(), name="dispatcher")

    async def stop(self) -> None:
        """Hand over: running attempts are settled, the rest stays where the log has it, the lease is given back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def lane_status(self, name: str) -> dict[str, Any]:
        """What this process knows of one subscriber."""
        return {"delivering": self.holds, **self._lanes[name].status()}

    async def _run_forever(self) -> None:
        while True:
            try:
                held = await self._lease.take()
                if not held.ours:
                    await asyncio.sleep(min(1.0, max(0.05, held.left_ms / 1000)))
                    continue
                await self._deliver(held.epoch)
            except LeaseLost as error:
                log.warning("delivery.lease_lost", why=str(error))
            except StoreError as error:
                log.warning("delivery.waiting", why=str(error))
                await asyncio.sleep(0.5)
            except Exception:
                log.exception("delivery.defect")
                await asyncio.sleep(1)

    async def _deliver(self, epoch: int) -> None:
        tasks: list[asyncio.Task[None]] = []
        lanes = list(self._lanes.values())
        try:
            self._live, self._live_seq = {}, 0
            starts = {start: await self._start_seq(start) for start in {lane.settings.start for lane in lanes}}
            for lane in lanes:
                await lane.start(epoch, starts[lane.settings.start], self._stir)
            self.holds = True
            log.info("delivery.start", epoch=epoch, subscribers=len(lanes))
            tasks = [
                asyncio.create_task(self._renew_forever(epoch), name="lease"),
                asyncio.create_task(self._read_live(), name="live reader"),
                asyncio.create_task(self._catch_up(), name="catch-up reader"),
            ]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self.holds = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*[lane.stop(STOP_S) for lane in lanes])
            with contextlib.suppress(StoreError):
                await self._lease.give_back()

    async def _renew_forever(self, epoch: int) -> None:
        renewed_s = self._monotonic()
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                held = await self._lease.take()
            except StoreUnavailable:
                if self._monotonic() - renewed_s > TTL_MS / 1000:
                    raise LeaseLost("the store was away for longer than the lease lasts") from None
                continue
            if not held.ours or held.epoch != epoch:
                raise LeaseLost(f"the partition went to {held.owner or 'another epoch'}")
            renewed_s = self._monotonic()

    async def _start_seq(self, start: str) -> str | int:
        if start == "now":
            return "now"
        first = await self._log.read(0, 1)
        if not first:
            return await self._log.last()
        if start == "beginning":
            return first[0].seq - 1
        wanted_ms = parse_iso_ms(start)
        assert wanted_ms is not None  # the configuration was checked
        return await self._log.last_before(wanted_ms)

    # Reading

    async def _read_live(self) -> None:
        while True:
            while not self._live:
                self._joined.clear()
                await self._joined.wait()
            entries = await self._read(self._live_seq, block_ms=BLOCK_MS)
            if not entries:
                continue
            self._live_seq = entries[-1].seq
            live = list(self._live.values())
            self._feed(entries, live)
            for lane in live:
                if not lane.has_room:
                    del self._live[lane.name]  # the catch-up reader takes it from here
                    self._stir.set()

    async def _catch_up(self) -> None:
        while True:
            self._stir.clear()
            places: dict[int, list[Lane]] = {}
            for lane in self._lanes.values():
                if lane.lost is not None:
                    raise lane.lost
                if lane.has_room and lane.name not in self._live:
                    places.setdefault(lane.read_seq, []).append(lane)
            if not places:
                await self._stir.wait()
                continue
            for place, lanes in places.items():
                entries = await self._read(place)
                self._feed(entries, lanes)
                for lane in lanes:
                    self._join(lane, at_end=len(entries) < READ_EVENTS)

    def _join(self, lane: Lane, *, at_end: bool) -> None:
        if not lane.has_room:
            return
        if not self._live and at_end:
            self._live_seq = lane.read_seq
        elif not self._live or lane.read_seq < self._live_seq:
            return
        self._live[lane.name] = lane
        self._joined.set()

    async def _read(self, after: int, *, block_ms: int | None = None) -> list[Entry]:
        while True:
            try:
                return await self._log.read(after, READ_EVENTS, block_ms=block_ms)
            except StoreUnavailable as error:
                log.warning("delivery.read", why=str(error))
                await asyncio.sleep(0.2)

    def _feed(self, entries: Sequence[Entry], lanes: Sequence[Lane]) -> None:
        """Hand what was read to lanes that all stand before it, or partly in it."""
        if not entries:
            return
        wanted: dict[str, list[tuple[int, Delivery]]] = {lane.name: [] for lane in lanes}
        for index, entry in enumerate(entries):
            delivery = delivery_of(entry)
            for name in self._matcher.wanted(delivery.event_type):
                found = wanted.get(name)
                if found is not None:
                    found.append((index, delivery))
        upto = entries[-1].seq
        for lane in lanes:
            if lane.read_seq < entries[0].seq:
                lane.feed(upto, len(entries), wanted[lane.name])
            elif lane.read_seq < upto:  # it came from further on: give it the rest only
                skip = sum(1 for entry in entries if entry.seq <= lane.read_seq)
                rest = [(index - skip, delivery) for index, delivery in wanted[lane.name] if index >= skip]
                lane.feed(upto, len(entries) - skip, rest)
