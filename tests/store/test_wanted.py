"""The log waits for every gateway's subscribers, and is held back for long by nobody who is gone."""

import asyncio

import pytest
from structlog.testing import capture_logs

from gateway.store.connection import Store
from gateway.store.housekeeping import TRIM_S, Housekeeping
from gateway.store.wanted import GAP_S, SAID_MS, WAIT_S, tell_deleted
from tests.store.partition import Partition
from tests.store.test_housekeeping import aged, keeper, keeping
from tests.support.clock import Clock
from tests.support.stores import StoreServer

OLD = 5


async def with_old_events(store: Store) -> Partition:
    """A log of what retention lets go; ``theirs`` has not read it."""
    partition = Partition(store)
    await partition.commit(*[aged(f"{number}", 3) for number in range(OLD)])
    await partition.subscriber("theirs")
    return partition


def knowing(store: Store, partition: Partition, clock: Clock, *names: str) -> Housekeeping:
    """The housekeeping of a gateway with these in its configuration."""
    return keeper(store, partition, monotonic=clock.monotonic, is_configured=lambda name: name in names)


async def silence(store: Store, partition: Partition) -> None:
    """Every word in the store has ended, as it does by the store's own time."""
    for word in await store.call("ZRANGE", partition.keys.wanted, 0, -1):
        await store.call("ZADD", partition.keys.wanted, 1, word)


async def listen(keep: Housekeeping, clock: Clock, seconds: float, step_s: float = GAP_S) -> int:
    """So long go round after round; how many entries went."""
    removed, end_s = 0, clock.monotonic() + seconds
    while clock.monotonic() < end_s:
        clock.advance(min(step_s, end_s - clock.monotonic()))
        removed += await keep.trim(keeping())
    return removed


def test_who_is_in_no_configuration_for_an_hour_holds_nothing_back(server: StoreServer) -> None:
    """Its place is kept, but its unread entries go when they are old: else one forgotten name fills the store."""

    async def check() -> None:
        async with server.store() as store:
            partition, clock = await with_old_events(store), Clock()
            keep = knowing(store, partition, clock, "ours")
            assert await keep.trim(keeping()) == 0, "it may be another gateway's, which says so in a moment"
            assert await listen(keep, clock, WAIT_S - 1) == 0
            assert await listen(keep, clock, 1) == OLD
            assert "theirs" in (await partition.account()).subscribers

    asyncio.run(check())


def test_who_another_gateway_wants_is_waited_for(server: StoreServer) -> None:
    """As long as that one says so, and an hour longer; then it is let go."""

    async def check() -> None:
        async with server.store() as store:
            partition, clock = await with_old_events(store), Clock()
            keep, other = knowing(store, partition, clock), knowing(store, partition, clock, "theirs")
            await other.trim(keeping())
            assert await listen(keep, clock, 2 * WAIT_S) == 0
            await silence(store, partition)
            assert await listen(keep, clock, WAIT_S - GAP_S) == 0
            assert await listen(keep, clock, GAP_S) == OLD

    asyncio.run(check())


@pytest.mark.parametrize("away", ["the store", "both gateways"])
def test_when_nobody_could_speak_nobody_is_let_go(server: StoreServer, away: str) -> None:
    """Whoever comes first after hours of silence trims nothing of what another gateway's subscriber needs.

    Story: the words ended by the store's time alone, and the first round after them knew only its own names."""

    async def check() -> None:
        async with server.store() as store:
            partition, clock = await with_old_events(store), Clock()
            keep, other = knowing(store, partition, clock), knowing(store, partition, clock, "theirs")
            for each in (keep, other):
                await each.trim(keeping())
            await silence(store, partition)
            clock.advance(WAIT_S + 1)
            if away == "both gateways":
                keep, other = knowing(store, partition, clock), knowing(store, partition, clock, "theirs")
            assert await keep.trim(keeping()) == 0
            assert await listen(keep, clock, WAIT_S - 1) == 0
            await other.trim(keeping())
            assert await listen(keep, clock, WAIT_S) == 0

    asyncio.run(check())


def test_who_is_new_is_waited_for_before_its_gateway_says_so(server: StoreServer) -> None:
    """Between its first cursor and the first word for it retention takes nothing from it, in the same round neither."""

    async def check() -> None:
        async with server.store() as store:
            partition, clock = Partition(store), Clock()
            keep = knowing(store, partition, clock, "ours")
            await listen(keep, clock, WAIT_S)
            await partition.commit(*[aged(f"{number}", 3) for number in range(OLD)])
            call = store.call

            async def subscribing(*command: object) -> object:
                if command[0] == "XRANGE":
                    await partition.subscriber("theirs")
                return await call(*command)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(store, "call", subscribing)
                assert await keep.trim(keeping()) == 0, "it came while the round ran"
            assert await listen(keep, clock, TRIM_S) == 0
            assert (await partition.account()).trimmed == 0

    asyncio.run(check())


@pytest.mark.parametrize("elsewhere", [False, True])
def test_who_was_deleted_holds_nothing_back_unless_another_wants_it(server: StoreServer, elsewhere: bool) -> None:
    """Whoever deletes a subscriber because it fills the store need not wait for an hour; the last words end first."""

    async def check() -> None:
        async with server.store() as store:
            partition, clock = await with_old_events(store), Clock()
            await knowing(store, partition, clock, "theirs").trim(keeping())
            keep = knowing(store, partition, clock)
            assert await keep.trim(keeping()) == 0
            await tell_deleted(store, partition.keys, "theirs")
            assert await listen(keep, clock, TRIM_S, TRIM_S) == 0, "the word for it still holds"
            await store.call("ZADD", partition.keys.wanted, 1, "theirs")  # SAID_MS later
            if elsewhere:
                await knowing(store, partition, clock, "theirs").trim(keeping())
            assert await listen(keep, clock, TRIM_S, TRIM_S) == (0 if elsewhere else OLD)
            assert SAID_MS / 1000 > 2 * TRIM_S, "who wants it says so again before its last word ends"

    asyncio.run(check())


def test_whom_only_another_gateway_has_is_warned_of_once(server: StoreServer) -> None:
    """Whoever delivers knows only its own subscribers: the other's would wait, and nobody would say why. One's own that
    was just taken out of the file is no reason to warn."""

    async def check() -> None:
        async with server.store() as store:
            partition, clock = await with_old_events(store), Clock()
            keep, other = knowing(store, partition, clock), knowing(store, partition, clock, "theirs")
            with capture_logs() as logs:
                await other.trim(keeping())
                await listen(keep, clock, SAID_MS / 1000, TRIM_S)
                await silence(store, partition)
                await listen(keep, clock, 2 * SAID_MS / 1000, TRIM_S)
                assert logs == []
                await other.trim(keeping())
                await listen(keep, clock, 2 * SAID_MS / 1000, TRIM_S)
            assert [(each["event"], each["subscriber"]) for each in logs] == [("store.unknown_subscriber", "theirs")]

    asyncio.run(check())
