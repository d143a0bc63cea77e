"""A partition on a real store with a real dispatcher, for tests that watch deliveries happen."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec

from gateway.config import StoreSettings, SubscriberSettings
from gateway.delivery.breaker import Rules
from gateway.delivery.dispatcher import Dispatcher
from gateway.delivery.guard import Guard
from gateway.delivery.lane import Lane
from gateway.delivery.standing import Standings
from gateway.operate.audit import audit
from gateway.store.connection import Store
from gateway.store.embedded import EmbeddedStore
from gateway.store.layout import Keys
from gateway.store.lease import Lease, owner_name
from gateway.store.ledger import Ledger, Subscriber, make_ledger, read_account, subscribers_of
from gateway.store.log import Batch, NewEvent, PartitionLog
from gateway.store.parked import SubscriberStore
from gateway.store.recount import recount

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HOPELESS_S = 60.0
"""What has not happened by then will not, on whatever machine."""


def wall_ms() -> int:
    """The clock that the parts under test are given."""
    return time.time_ns() // 1_000_000


def subscriber(port: int, name: str = "crm", **settings: Any) -> SubscriberSettings:
    """A subscriber on the loopback address that gives up soon."""
    defaults: dict[str, Any] = {
        "secrets": (SECRET,),
        "allow_networks": (ip_network("127.0.0.0/8"),),
        "retry_s": (0.05, 0.05, 0.05),
        "timeout_s": 3.0,
        "start": "beginning",
        "max_lag_s": 1e9,  # the rig's events are old
    }
    return SubscriberSettings(name=name, url=f"http://127.0.0.1:{port}/{name}", **{**defaults, **settings})


class Rig:
    """One partition: append events, run dispatchers, look at the account."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.keys = Keys("0")
        self.log = PartitionLog(store, self.keys)
        self.breaker_rules = Rules(trip_failures=1_000_000, rate_over=1_000_000)
        """Out of the way, except in the tests that are about it."""
        self.most_lag_bytes = 1 << 40
        self.wall_ms: Callable[[], int] = wall_ms
        self.monotonic: Callable[[], float] = time.monotonic
        self.lane: type[Lane] = Lane
        """The tests' own kinds of lane: scripted ones, broken ones."""

    async def append(
        self, count: int, *, event_type: str = "message.received", key: str | None = None, first: int = 0
    ) -> list[str]:
        """Log ``count`` events; their ids say their number."""
        events = []
        for number in range(first, first + count):
            event_id = f"evt_{event_type}-{key}-{number}"
            body = {
                "id": event_id,
                "type": event_type,
                "source": "src",
                "ordering_key": key,
                "number": number,
                "received_at": f"2026-02-03T12:00:{number % 60:02d}.000Z",
            }
            events.append(NewEvent(event_id, "src", 600, msgspec.json.encode(body), b'{"raw":true}'))
        for at in range(0, count, 256):
            part = events[at : at + 256]
            counts = [("src", "accepted", len(part))]
            await self.log.commit(self.log.next_batch(), Batch(part, counts, [], []))
        return [event.id for event in events]

    def dispatcher(self, *subscribers: SubscriberSettings, owner: str | None = None) -> Dispatcher:
        """A dispatcher of this partition, as ``app.py`` wires it."""
        guard = Guard(own=())
        standings = Standings(self.store, [self.keys], wall_ms=self.wall_ms, rules=self.breaker_rules)
        return Dispatcher(
            partition_log=self.log,
            lease=Lease(self.store, self.keys, owner or owner_name()),
            subscribers=subscribers,
            make_lane=lambda each: self.lane(
                each,
                SubscriberStore(self.store, self.keys, each.name),
                self.log,
                guard,
                standings.of(each.name),
                wall_ms=self.wall_ms,
                monotonic=self.monotonic,
                jitter=lambda: 0.5,
            ),
            most_lag_bytes=self.most_lag_bytes,
            wall_ms=self.wall_ms,
            monotonic=self.monotonic,
        )

    @asynccontextmanager
    async def delivering(self, *subscribers: SubscriberSettings) -> AsyncIterator[Dispatcher]:
        """Deliver while the block runs, then hand over."""
        dispatcher = self.dispatcher(*subscribers)
        dispatcher.start()
        try:
            yield dispatcher
        finally:
            await dispatcher.stop()

    async def ledger(self) -> Ledger:
        """The account now."""
        (names,) = await subscribers_of(self.store, [self.keys])
        return make_ledger([await read_account(self.store, self.keys, names)], wall_ms())

    async def line(self, name: str = "crm") -> Subscriber:
        """One subscriber's line of it; zeros before it has a cursor."""
        return (await self.ledger()).subscribers.get(name, Subscriber())

    async def audited(self) -> tuple[int, list[str]]:
        """What a recount leaves unaccounted, and its findings."""
        (names,) = await subscribers_of(self.store, [self.keys])
        account = await read_account(self.store, self.keys, names)
        found = audit([account], [await recount(self.store, self.keys, names, account.seq)], wall_ms())
        return found.ledger.unaccounted, found.findings

    async def settled(self, *names: str, offered: int, within_s: float = HOPELESS_S) -> None:
        """Wait until each subscriber was offered that many and nothing is pending."""

        async def done() -> bool:
            lines = [await self.line(name) for name in names or ("crm",)]
            return all(line.offered == offered and line.pending == 0 for line in lines)

        await until(done, within_s=within_s)


def lane_status(dispatcher: Dispatcher, name: str = "crm") -> dict[str, Any]:
    """What a dispatcher says of one of its lanes."""
    found = dispatcher.lane_status(name)
    assert found is not None
    return found


async def until(condition: Callable[[], Any], *, within_s: float = HOPELESS_S) -> None:
    """Wait for a condition, sync or async; fails with its name when time is up."""
    deadline = time.monotonic() + within_s
    while True:
        result = condition()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return
        assert time.monotonic() < deadline, f"not within {within_s} s: {getattr(condition, '__qualname__', condition)}"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def rig(directory: Path) -> AsyncIterator[Rig]:
    """A store of its own in ``directory``, ended with the block."""
    settings = StoreSettings(url=f"embedded:{directory}")
    embedded = EmbeddedStore(settings)
    await embedded.start()
    store = Store(settings, embedded.url)
    try:
        yield Rig(store)
    finally:
        await store.close()
        await embedded.stop()


def numbers(bodies: Sequence[bytes]) -> list[int]:
    """The numbers of delivered events, in the order they came."""
    return [int(msgspec.json.decode(body)["number"]) for body in bodies]
