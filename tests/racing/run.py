"""The race: committers on one store, each behind a proxy that loses replies and breaks connections by chance."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

import msgspec

from gateway.errors import StoreUnavailable
from gateway.intake.committer import Committer
from gateway.store.layout import Keys
from gateway.store.log import NewEvent, PartitionLog
from tests.racing.verdict import Facts
from tests.store.partition import SOURCE, Partition, event
from tests.support.proxy import Proxy, proxied
from tests.support.stores import StoreServer, running

COMMITTERS = 4
LEG_EVENTS = 10_000
"""After so many events the log is judged, and the store emptied."""
AT_ONCE = 40
"""So many events race at the same time."""
DISTURB_EVERY_S = (0.0, 0.04)
CUT = 0.2
"""Of the disturbances, so many break the connection at any moment; the others lose a reply."""
AGAIN = 20
"""So often a sender comes again that was told the store is away."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do."""

    events: int
    copies: int
    seed: int


class Done(msgspec.Struct, kw_only=True):
    """What came of it."""

    legs: list[Facts]
    lost_replies: int
    cuts: int
    took_s: float


class _Runner:
    """A committer and its way to the store."""

    def __init__(self, committer: Committer, proxy: Proxy) -> None:
        self.committer = committer
        self.proxy = proxy


class Race:
    """A race under way."""

    def __init__(self, wanted: Plan, server: StoreServer, say: Callable[[str], None]) -> None:
        self._wanted = wanted
        self._server = server
        self._say = say
        self._chance = Random(wanted.seed)
        self._runners: list[_Runner] = []
        self._lost = self._cuts = 0

    async def run(self) -> Done:
        """All legs."""
        started_s = time.monotonic()
        legs: list[Facts] = []
        for first in range(0, self._wanted.events, LEG_EVENTS):
            await asyncio.to_thread(self._server.ask, "FLUSHALL")
            names = [
                f"{self._wanted.seed}-{number}" for number in range(first, min(first + LEG_EVENTS, self._wanted.events))
            ]
            legs.append(await self._leg(names))
            self._say(f"{first + len(names):,} of {self._wanted.events:,} events, {self._lost:,} replies lost")
        return Done(legs=legs, lost_replies=self._lost, cuts=self._cuts, took_s=time.monotonic() - started_s)

    async def _leg(self, names: list[str]) -> Facts:
        facts = Facts(
            copies={f"evt_{name}": 0 for name in names},
            logged=Counter(),
            numbers={},
            unanswered=set(),
            log=[],
            counted_logged=0,
            counted_duplicate=0,
            counted_accepted=0,
            unaccounted=0,
        )
        async with AsyncExitStack() as stack:
            self._runners = [await stack.enter_async_context(self._runner()) for _ in range(COMMITTERS)]
            trouble = asyncio.create_task(self._disturb())
            try:
                for at in range(0, len(names), AT_ONCE):
                    await self._heat([event(name) for name in names[at : at + AT_ONCE]], facts)
            finally:
                trouble.cancel()
                await asyncio.gather(trouble, return_exceptions=True)
        await self._look(facts)
        return facts

    @asynccontextmanager
    async def _runner(self) -> AsyncIterator[_Runner]:
        async with proxied(self._server.socket) as proxy, self._server.store(url=proxy.url) as store:
            committer = Committer(PartitionLog(store, Keys("0")), monotonic=time.monotonic)
            committer.start()
            try:
                yield _Runner(committer, proxy)
            finally:
                proxy.lose_replies = 0
                await committer.close()

    async def _heat(self, events: list[NewEvent], facts: Facts) -> None:
        """All copies of some events at once."""
        starters = [each for each in events for _ in range(self._wanted.copies)]
        self._chance.shuffle(starters)
        await asyncio.gather(*[self._send(each, self._chance.choice(self._runners), facts) for each in starters])

    async def _send(self, new: NewEvent, runner: _Runner, facts: Facts) -> None:
        """One copy, until it is answered."""
        for _ in range(AGAIN):
            try:
                (number,) = await runner.committer.submit([new], count=(SOURCE, "accepted"))
            except StoreUnavailable:
                facts.unanswered.add(new.id)
                continue
            facts.copies[new.id] += 1
            if number:
                facts.logged[new.id] += 1
                facts.numbers.setdefault(new.id, set()).add(number)
            return
        raise AssertionError(f"{new.id} was never answered")

    async def _disturb(self) -> None:
        chance = Random(self._wanted.seed + 1)
        while True:
            await asyncio.sleep(chance.uniform(*DISTURB_EVERY_S))
            proxy = chance.choice(self._runners).proxy
            if chance.random() < CUT:
                proxy.cut()
                self._cuts += 1
            elif not proxy.lose_replies:
                proxy.lose_replies = 1
                self._lost += 1

    async def _look(self, facts: Facts) -> None:
        async with self._server.store() as store:
            partition = Partition(store)
            after = 0
            while entries := await partition.log.read(after, 5_000):
                facts.log += [(entry.seq, msgspec.json.decode(entry.event_json)["id"]) for entry in entries]
                after = entries[-1].seq
            ledger = await partition.ledger()
        facts.counted_logged, facts.counted_duplicate = ledger.events.logged, ledger.events.duplicate
        facts.counted_accepted, facts.unaccounted = ledger.requests.accepted, ledger.unaccounted


def run(wanted: Plan, say: Callable[[str], None], server: StoreServer | None = None) -> Done:
    """Race on a store of its own, which is gone afterwards, or on the one that is given."""
    if server is not None:
        return asyncio.run(Race(wanted, server, say).run())
    with running("valkey") as own:
        return asyncio.run(Race(wanted, own, say).run())
