"""What comes while the spool is drained: it waits as little as it can, and the backlog shrinks all the same."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from gateway.intake import spool as spool_module
from gateway.intake.spool import PACE_TIMES, Spool
from gateway.intake.spool_database import Held
from tests.intake.drained import Process, processes, until
from tests.support.stores import StoreServer

BACKLOG = 60
KIB = 1024


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No wait ends because the machine is slow."""
    monkeypatch.setattr(spool_module, "PACE_S", 60.0)


@asynccontextmanager
async def draining(folder: Path, *, left_bytes: int) -> AsyncIterator[Process]:
    """A process whose spool is drained: one small batch is, and so much is left."""
    one = Process("0", folder, None)  # type: ignore[arg-type]  # no store is asked
    await one.spool.open()
    one.spool.elsewhere = Held(bytes=left_bytes)
    one.spool.progress(1)
    try:
        yield one
    finally:
        await one.spool.close()


async def waits(spool: Spool) -> bool:
    """Whether one more batch has to wait now."""
    pacing = asyncio.create_task(spool.pace())
    for _ in range(5):
        await asyncio.sleep(0)
    if pacing.done():
        return False
    pacing.cancel()
    await asyncio.wait([pacing])
    return True


def test_a_batch_waits_until_enough_was_drained_for_the_one_before(tmp_path: Path) -> None:
    """So many times its bytes, whosever they are; it goes on at the moment at which they are."""

    async def check() -> None:
        async with draining(tmp_path, left_bytes=100 * KIB) as one:
            spool = one.spool
            assert not await waits(spool)
            await one.put("a")
            pacing = asyncio.create_task(spool.pace())
            for _ in range(PACE_TIMES):
                for _ in range(5):
                    await asyncio.sleep(0)
                assert not pacing.done()
                spool.progress(spool.own.bytes)
            async with asyncio.timeout(20):
                await pacing

    asyncio.run(check())


def test_a_step_of_many_lets_several_in_without_a_wait(tmp_path: Path) -> None:
    """It ends for all of them at once: were they counted only from when a batch comes, this would wait for a whole
    step. What is left is the most that is saved, or what comes would go on being taken in when nothing is left.
    """

    async def check() -> None:
        for left_bytes, fewest, most in ((100 * KIB, 10, 100), (2 * KIB, 1, 4)):
            async with draining(tmp_path, left_bytes=left_bytes) as one:
                for _ in range(32):
                    one.spool.progress(KIB)
                came = 0
                while not await waits(one.spool):
                    await one.put(f"{came}")
                    came += 1
                assert fewest <= came <= most

    asyncio.run(check())


def test_nobody_waits_where_nothing_is_drained(tmp_path: Path) -> None:
    """A store that is lost again, a drainer that has ended, a spool that is empty."""

    async def check() -> None:
        async with draining(tmp_path, left_bytes=100 * KIB) as one:
            for end in (partial(one.spool.lost, "a test took it"), one.spool.is_drained):
                one.spool.progress(1)
                assert not await waits(one.spool)  # nothing is owed from before
                await one.put("a")
                assert await waits(one.spool)
                end()
                assert not await waits(one.spool)
            one.spool.progress(1)
            await one.put("b")
            assert await waits(one.spool)
            one.spool.own, one.spool.must_wait, one.spool.store_is_open = Held(), False, True
            assert not await waits(one.spool)

    asyncio.run(check())


def test_no_batch_waits_for_longer_than_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the drainer makes no way at all. What it owes is forgotten with that: the next one does not wait."""
    monkeypatch.setattr(spool_module, "PACE_S", 0.0)

    async def check() -> None:
        async with draining(tmp_path, left_bytes=100 * KIB) as one:
            await one.put("a")
            async with asyncio.timeout(20):
                await one.spool.pace()
            monkeypatch.setattr(spool_module, "PACE_S", 60.0)
            assert not await waits(one.spool)

    asyncio.run(check())


@pytest.mark.parametrize("paced", [True, False], ids=["paced", "control"])
def test_the_backlog_ends_whatever_comes(valkey: StoreServer, tmp_path: Path, paced: bool) -> None:
    """A sender that never pauses brings less than is drained, until the store is used again.

    The control: without pacing there is always one more in the spool, and the store is never used again."""

    async def check() -> None:
        async with processes(valkey, tmp_path, 1) as ((one,), partition):
            for number in range(BACKLOG):
                await one.put(f"{number}")
            await one.drainer.start()
            came = BACKLOG
            while came < 4 * BACKLOG:
                if paced:
                    await one.spool.pace()
                if not one.spool.diverts:
                    break
                await one.put(f"{came}")
                came += 1
            assert one.spool.diverts is not paced
            assert (came < 2 * BACKLOG) is paced
            await until(lambda: not one.spool.diverts)
            assert await partition.names() == [f"{number}" for number in range(came)]

    asyncio.run(check())
