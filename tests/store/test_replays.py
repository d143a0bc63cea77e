"""The records of replays: who may write them, and which are to run."""

import asyncio

import pytest

from gateway.errors import LeaseLost
from gateway.store.layout import Keys
from gateway.store.lease import Lease
from gateway.store.replays import Replay, Replays, ReplaySpec
from tests.support.stores import StoreServer


def _replay(name: str) -> Replay:
    return Replay(
        id=name, spec=ReplaySpec(subscriber="crm"), created_ms=1, created_by="ops", starts=[0], ends=[9], positions=[0]
    )


def test_a_record_changes_only_for_who_saw_it_last(server: StoreServer) -> None:
    """Of two who change one record at once, the second is told and changes nothing; so a cancel is never lost."""

    async def run() -> None:
        async with server.store() as store:
            replays = Replays(store, Keys("0"))
            assert await replays.save(_replay("rpl_a"), 0) == 1
            assert await replays.save(_replay("rpl_a"), 0) == 0, "it is not made twice"
            one, two = await replays.get("rpl_a"), await replays.get("rpl_a")
            assert one is not None
            assert two is not None
            one.replay.state, two.replay.matched = "cancelled", 5
            assert await replays.save(one.replay, one.version) == 2
            assert await replays.save(two.replay, two.version) == 0
            found = await replays.get("rpl_a")
            assert found is not None
            assert (found.replay.state, found.replay.matched, found.version) == ("cancelled", 0, 2)
            assert await replays.get("rpl_b") is None

    asyncio.run(run())


def test_only_the_holder_of_the_lease_writes_as_who_runs_it(server: StoreServer) -> None:
    """A write with an older epoch is refused whatever version it names; one without is an operator's."""

    async def run() -> None:
        async with server.store() as store:
            keys = Keys("0")
            replays = Replays(store, keys)
            first = await Lease(store, keys, "one").take()
            assert await replays.save(_replay("rpl_a"), 0, epoch=first.epoch) == 1
            await store.call("HDEL", keys.state, "owner", "lease_until_ms")
            second = await Lease(store, keys, "two").take()
            with pytest.raises(LeaseLost):
                await replays.save(_replay("rpl_a"), 1, epoch=first.epoch)
            assert await replays.save(_replay("rpl_a"), 1, epoch=second.epoch) == 2
            assert await replays.save(_replay("rpl_a"), 2) == 3
            runnable = await replays.runnable()
            assert (runnable.owner, runnable.epoch, runnable.ids) == ("two", second.epoch, ("rpl_a",))

    asyncio.run(run())


def test_what_has_ended_is_not_to_run(server: StoreServer) -> None:
    """The set of open ones follows the state, both ways."""

    async def run() -> None:
        async with server.store() as store:
            replays = Replays(store, Keys("0"))
            replay = _replay("rpl_a")
            version = 0
            for state, ids in (("planned", ("rpl_a",)), ("done", ()), ("planned", ("rpl_a",)), ("paused", ())):
                replay.state = state  # type: ignore[assignment]  # one of the four
                version = await replays.save(replay, version)
                assert (await replays.runnable()).ids == ids

    asyncio.run(run())
