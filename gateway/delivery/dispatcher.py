"""Reads one partition's log for all its subscribers, while it holds the partition's lease.

Two readers share the work. The *live* reader waits at the end of the log, reads each new entry once, and hands it to
every lane that keeps up. A lane that is behind (new, slow, full) is served by the *catch-up* reader from where it
stands, together with the others that stand at the same place; once it reaches the live reader's place it joins it
again.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from gateway.age_clock import AgeClock
from gateway.config import SubscriberSettings
from gateway.delivery.condition import Subject
from gateway.delivery.lag import LagLines, measure_lag
from gateway.delivery.lane import Lane
from gateway.delivery.matching import Matcher
from gateway.delivery.mending import Mender
from gateway.delivery.parcel import Delivery, delivery_of
from gateway.errors import LeaseLost, StoreError, StoreUnavailable
from gateway.store.lease import TTL_MS, Held, Lease
from gateway.store.log import Entry, PartitionLog

log = structlog.get_logger("gateway.delivery")

READ_EVENTS = 256
READ_BYTES = 8 * 1024 * 1024
FIRST_READ_EVENTS = 32
"""A read takes as many events as fit into ``READ_BYTES`` by the size of those read last; the first one knows none."""

BLOCK_MS = 1_000
RENEW_S = TTL_MS / 3_000
STOP_S = 8.0
"""What a lane may take to stop, its running attempts included; the process must be gone within 12 s of a SIGTERM."""
LAG_S = 5.0
PARKED_LAG_TURNS = 12


class Dispatcher:
    """One partition's deliveries."""

    def __init__(
        self,
        *,
        partition_log: PartitionLog,
        lease: Lease,
        subscribers: Sequence[SubscriberSettings],
        make_lane: Callable[[SubscriberSettings], Lane],
        most_lag_bytes: int,
        wall_ms: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        """``most_lag_bytes``: how much of the log one subscriber may hold back."""
        self._log = partition_log
        self._lease = lease
        self._make_lane = make_lane
        self._lanes = {each.name: make_lane(each) for each in subscribers}
        self._matcher = Matcher(subscribers)
        self._most_lag_bytes = most_lag_bytes
        self._age_clock = AgeClock(wall_ms=wall_ms, monotonic=monotonic)
        self._lag_lines = LagLines()
        self._monotonic = monotonic
        self._mender = Mender(self._begin_anew, monotonic=monotonic)
        self._epoch = 0
        self._read_events = FIRST_READ_EVENTS
        self._applying = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._wanted, self._unwanted = asyncio.Event(), asyncio.Event()
        self._wanted.set()
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

    def want(self, wanted: bool) -> None:
        """Deliver from this partition when the lease can be had; or leave it to another process."""
        for event, is_so in ((self._wanted, wanted), (self._unwanted, not wanted)):
            if is_so:
                event.set()
            else:
                event.clear()

    async def stop(self) -> None:
        """Hand over: running attempts are settled, the rest stays where the log has it, the lease is given back."""
        if self._task is not None:
            if not self._stopping:  # a second cancellation would break the handing over off
                self._stopping = True
                self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def apply(self, subscribers: Sequence[SubscriberSettings]) -> None:
        """Go on with these: new ones start, changed ones begin anew from their cursor, missing ones stop."""
        async with self._applying:
            wanted = {each.name: each for each in subscribers}
            gone = [lane for name, lane in self._lanes.items() if wanted.get(name) != lane.settings]
            for lane in gone:
                del self._lanes[lane.name]
                self._lag_lines.forget(lane.name)
                self._live.pop(lane.name, None)
            await asyncio.gather(*[lane.stop(STOP_S) for lane in gone])
            self._matcher = Matcher(subscribers)
            for name, settings in wanted.items():
                if name not in self._lanes:
                    lane = self._make_lane(settings)
                    self._lanes[name] = lane
                    if self.holds:
                        try:
                            await lane.start(self._epoch, await self._log.start_of(settings.start), self._stir)
                        except StoreError as error:
                            lane.lost = error  # this process begins anew in this partition, then with this lane
                        except Exception as error:
                            lane.break_down(error)
            self._stir.set()

    def lane_status(self, name: str) -> dict[str, Any] | None:
        """What this process knows of one subscriber; ``None`` if it has no lane here."""
        lane = self._lanes.get(name)
        return None if lane is None else {"delivering": self.holds, **lane.status()}

    async def _run_forever(self) -> None:
        while True:
            try:
                await self._wanted.wait()
                held = await self._take_lease()
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

    async def _take_lease(self) -> Held:
        try:
            return await self._lease.take()
        except asyncio.CancelledError:  # stopped while we asked: the store may have said yes, and nobody else could
            with contextlib.suppress(StoreError):
                await self._lease.give_back()
            raise

    async def _deliver(self, epoch: int) -> None:
        tasks: list[asyncio.Task[Any]] = []
        try:
            async with self._applying:
                self._epoch, self._live, self._live_seq = epoch, {}, 0
                lanes = list(self._lanes.values())
                starts = {start: await self._log.start_of(start) for start in {lane.settings.start for lane in lanes}}
                for lane in lanes:
                    try:
                        await lane.start(epoch, starts[lane.settings.start], self._stir)
                    except StoreError:
                        raise
                    except Exception as error:
                        lane.break_down(error)
                self.holds = True
            log.info("delivery.start", epoch=epoch, subscribers=len(lanes))
            tasks = [
                asyncio.create_task(self._renew_forever(epoch), name="lease"),
                asyncio.create_task(self._read_live(), name="live reader"),
                asyncio.create_task(self._catch_up(), name="catch-up reader"),
                asyncio.create_task(self._bound_lag(), name="max_lag"),
                asyncio.create_task(self._unwanted.wait(), name="another's share"),
            ]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self.holds = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, self._mender.stop(), return_exceptions=True)
            async with self._applying:
                await asyncio.gather(*[lane.stop(STOP_S) for lane in self._lanes.values()])
            with contextlib.suppress(StoreError):
                await self._lease.give_back()

    async def _begin_anew(self, lane: Lane) -> None:
        """Start one lane from its cursor, after a defect, while the others go on."""
        async with self._applying:
            if self._lanes.get(lane.name) is not lane:  # replaced meanwhile
                lane.defect = None
                return
            self._live.pop(lane.name, None)
            await lane.stop(STOP_S)
            await lane.start(self._epoch, await self._log.start_of(lane.settings.start), self._stir)
        self._stir.set()

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

    async def _bound_lag(self) -> None:
        """Give up what is beyond a subscriber's ``max_lag``; parked events only now and then, there can be many."""
        for turn in itertools.count(1):
            await asyncio.sleep(LAG_S)
            with contextlib.suppress(StoreUnavailable):
                await self._give_up(with_parked=turn % PARKED_LAG_TURNS == 0)

    async def _give_up(self, *, with_parked: bool) -> None:
        now_ms, extent = self._age_clock.now_ms(), await self._log.extent()
        oldest: dict[float, int] = {}
        for lane in list(self._lanes.values()):
            max_lag_s = lane.settings.max_lag_s
            cursor = lane.cursor
            lag = await measure_lag(self._log, extent, lane.settings, cursor, now_ms, self._most_lag_bytes)
            self._lag_lines.note(lane.name, lag, cursor)
            cut = lag.cut
            if cut <= cursor:  # all that is not read may wait; what is parked stands before the cursor
                if not with_parked:
                    continue
                if max_lag_s not in oldest:
                    oldest[max_lag_s] = await self._log.last_before(now_ms - round(max_lag_s * 1000))
                cut = oldest[max_lag_s]
            if cut > 0:
                try:
                    await lane.give_up_before(cut)
                except StoreUnavailable:
                    raise
                except Exception as error:
                    lane.break_down(error)

    # Reading

    async def _read_live(self) -> None:
        while True:
            while not self._live:
                self._joined.clear()
                await self._joined.wait()
            place = self._live_seq
            entries = await self._read(place, block_ms=BLOCK_MS)
            if not entries or place != self._live_seq:
                continue  # all lanes left meanwhile, and others joined elsewhere: what they need was not read
            self._live_seq = entries[-1].seq
            live = list(self._live.values())
            self._feed(place, entries, live)
            for lane in live:
                if not lane.has_room:
                    self._live.pop(lane.name, None)  # the catch-up reader takes it from here
                    self._stir.set()

    async def _catch_up(self) -> None:
        while True:
            self._stir.clear()
            places: dict[int, list[Lane]] = {}
            for lane in self._lanes.values():
                if lane.lost is not None:
                    raise lane.lost
                if lane.defect is not None:
                    self._mender.mend(lane)
                if lane.has_room and lane.name not in self._live:
                    places.setdefault(lane.read_seq, []).append(lane)
            if not places:
                await self._stir.wait()
                continue
            for place, lanes in places.items():
                most = self._read_events
                entries = await self._read(place)
                self._feed(place, entries, lanes)
                for lane in lanes:
                    if self._lanes.get(lane.name) is not lane:
                        continue  # replaced meanwhile
                    self._join(lane, at_end=len(entries) < most)

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
                entries = await self._log.read(after, self._read_events, block_ms=block_ms)
            except StoreUnavailable as error:
                log.warning("delivery.read", why=str(error))
                await asyncio.sleep(0.2)
                continue
            if entries:
                size_bytes = sum(len(entry.event_json) + len(entry.raw_json) for entry in entries)
                self._read_events = max(1, min(READ_EVENTS, READ_BYTES * len(entries) // size_bytes))
            return entries

    def _feed(self, after: int, entries: Sequence[Entry], lanes: Sequence[Lane]) -> None:
        """Hand what was read after a place to those lanes that stand there, or further on, and have room."""
        # One that began anew while this was read may stand before the place: to it this would be a hole in the log.
        lanes = [lane for lane in lanes if lane.has_room and lane.read_seq >= after]
        if not entries:
            return
        wanted: dict[str, list[tuple[int, Delivery]]] = {lane.name: [] for lane in lanes}
        conditions = {lane.name: lane.condition for lane in lanes if lane.condition is not None}
        for index, entry in enumerate(entries):
            delivery = delivery_of(entry)
            subject = Subject(entry.event_json, entry.raw_json) if conditions else None
            for name in self._matcher.wanted(delivery.event_type):
                found = wanted.get(name)
                if found is not None and (subject is None or subject.suits(conditions.get(name))):
                    found.append((index, delivery))
        for lane in lanes:
            try:
                _hand(lane, entries, wanted[lane.name])
            except Exception as error:
                lane.break_down(error)


def _hand(lane: Lane, entries: Sequence[Entry], wanted: list[tuple[int, Delivery]]) -> None:
    upto = entries[-1].seq
    if lane.read_seq < entries[0].seq:
        lane.feed(upto, len(entries), wanted)
    elif lane.read_seq < upto:  # it came from further on: give it the rest only
        skip = sum(1 for entry in entries if entry.seq <= lane.read_seq)
        lane.feed(upto, len(entries) - skip, [(index - skip, delivery) for index, delivery in wanted if index >= skip])
