"""The lease: one owner a partition, a new epoch for each, and a quick successor of one that is gone."""

import asyncio
import subprocess
import sys
import time

import pytest

from gateway.store.connection import Store
from gateway.store.lease import TTL_MS, Lease, owner_name, provably_gone
from tests.store.partition import Partition
from tests.support.stores import StoreServer

OTHER_MACHINE = "elsewhere/boot/1/2/3/cafe"


async def _end_in(store: Store, partition: Partition, left_ms: int) -> None:
    """Make the lease end so many milliseconds from now, by the store's clock."""
    seconds, micros = await store.call("TIME")
    now_ms = int(seconds) * 1_000 + int(micros) // 1_000
    await store.call("HSET", partition.keys.state, "lease_until_ms", now_ms + left_ms)


def test_one_owner_at_a_time(server: StoreServer) -> None:
    """Who has it keeps it by renewing; another is told whose it is and for how long."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            mine, other = Lease(store, partition.keys, "a"), Lease(store, partition.keys, "b")
            first = await mine.take()
            assert (first.ours, first.epoch) == (True, 1)
            refused = await other.take()
            assert (refused.ours, refused.owner, refused.epoch) == (False, "a", 1)
            assert 0 < refused.left_ms <= TTL_MS
            await _end_in(store, partition, 50)
            renewed = await mine.take()
            assert (renewed.ours, renewed.epoch, renewed.left_ms) == (True, 1, TTL_MS)
            assert not (await other.take()).ours

    asyncio.run(check())


def test_a_lease_given_back_is_free_at_once(server: StoreServer) -> None:
    """The next owner gets the next epoch; who does not hold it cannot give it back."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            mine, other = Lease(store, partition.keys, "a"), Lease(store, partition.keys, "b")
            await mine.take()
            await other.give_back()
            assert not (await other.take()).ours
            await mine.give_back()
            assert (await other.take()).epoch == 2

    asyncio.run(check())


def test_a_lease_that_ran_out_goes_to_who_asks(server: StoreServer) -> None:
    """A holder on another machine that went silent is replaced when its time is over, not before."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            gone = Lease(store, partition.keys, OTHER_MACHINE)
            await gone.take()
            assert not (await Lease(store, partition.keys, "b").take()).ours
            await _end_in(store, partition, -1)
            assert (await Lease(store, partition.keys, "b").take()).epoch == 2
            assert not (await gone.take()).ours

    asyncio.run(check())


def test_a_lease_from_before_a_clock_jump_is_over(server: StoreServer) -> None:
    """The store's clock went back by a year: a lease that ends later than any lease can does not block for a year."""

    async def check() -> None:
        async with server.store() as store:
            partition = Partition(store)
            await Lease(store, partition.keys, OTHER_MACHINE).take()
            await _end_in(store, partition, 365 * 86_400_000)
            assert (await Lease(store, partition.keys, "b").take()).ours
            # The control: one that a lease can still have is respected.
            await _end_in(store, partition, TTL_MS)
            assert not (await Lease(store, partition.keys, "c").take()).ours

    asyncio.run(check())


def test_a_holder_that_was_killed_is_replaced_at_once(server: StoreServer) -> None:
    """A process of this machine that is provably gone need not be waited for; one that runs is."""
    program = "from gateway.store.lease import owner_name; print(owner_name(), flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None
        name = holder.stdout.readline().decode().strip()

        async def check() -> None:
            async with server.store() as store:
                partition = Partition(store)
                await Lease(store, partition.keys, name).take()
                successor = Lease(store, partition.keys, owner_name())
                assert not (await successor.take()).ours
                holder.kill()
                async with asyncio.timeout(10):
                    while not provably_gone(name):  # its remains, which nobody has waited for, do not count
                        await asyncio.sleep(0.001)
                assert holder.returncode is None
                started_s = time.monotonic()
                assert (await successor.take()).epoch == 2
                assert time.monotonic() - started_s < TTL_MS / 2_000

        asyncio.run(check())


def test_a_process_that_runs_is_not_gone() -> None:
    """Another process that was given the same number, or ran before the machine was restarted, is told from it."""
    mine = owner_name()
    assert not provably_gone(mine)
    host, _, _, _, started, chance = mine.split("/")
    parts = mine.split("/")
    assert provably_gone("/".join((*parts[:4], str(int(started) + 1), chance)))  # the number was given again
    assert provably_gone("/".join((host, "another-boot", *parts[2:])))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "tester",
        OTHER_MACHINE,
        "a/b/c",
        "{host}/?/{space}/1/1/x",
        "{host}/{boot}/?/999999/1/x",
        "{host}/{boot}/{space}/999999/?/x",
        "{host}/{boot}/{space}/pid/1/x",
        "{host}/{boot}/another-space/999999/1/x",
    ],
)
def test_in_doubt_nobody_is_gone(name: str) -> None:
    """A name of another machine, of another container, or that cannot be read is never declared gone."""
    host, boot, space, _, _, _ = owner_name().split("/")
    assert not provably_gone(name.format(host=host, boot=boot, space=space))
