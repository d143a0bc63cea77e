"""What comes while the spool is drained: it waits as little as it can, and the backlog shrinks all the same."""

import asyncio
from pathlib import Path

import pytest

from gateway.intake import spool as spool_module
from gateway.intake.spool import PACE_BATCHES, PACE_SAVED, Spool
from gateway.intake.spool_database import Held
from tests.intake.drained import Process, processes, until
from tests.support.stores import StoreServer

BACKLOG = 60


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No wait ends because the machine is slow."""
    monkeypatch.setattr(spool_module, "PACE_S", 60.0)


def spool_of(folder: Path, drained: int) -> Spool:
    """One from which so many were drained of a longer backlog, and that goes on being drained."""
    spool = Process("0", folder, None).spool  # type: ignore[arg-type]  # no store is asked
    spool.own = Held(rows=1_000)
    for _ in range(drained):
        spool.progress(0)
    return spool


async def waits(spool: Spool, partition: int = 0) -> bool:
    """Whether one more batch has to wait now."""
    pacing = asyncio.create_task(spool.pace(partition))
    for _ in range(5):
        await asyncio.sleep(0)
    if pacing.done():
        return False
    pacing.cancel()
    await asyncio.wait([pacing])
    return True


def test_a_batch_waits_until_older_ones_were_drained_for_it(tmp_path: Path) -> None:
    """So many for each, of its own partition; it goes on at the moment at which they are."""

    async def check() -> None:
        spool = spool_of(tmp_path, drained=1)
        pacing = asyncio.create_task(spool.pace(0))
        for _ in range(PACE_BATCHES - 1):
            for _ in range(5):
                await asyncio.sleep(0)
            assert not pacing.done()
            spool.progress(1)
            spool.progress(0)
        async with asyncio.timeout(20):
            await pacing
        assert await waits(spool)

    asyncio.run(check())


def test_a_step_of_many_lets_several_in_without_a_wait(tmp_path: Path) -> None:
    """They are drained all at once: were they counted only from when a batch comes, it would wait for a whole step. Not
    more are saved than some, or what comes would be taken in faster than it is drained when little is left.
    """

    async def check() -> None:
        spool = spool_of(tmp_path, drained=1_000)
        assert [await waits(spool) for _ in range(PACE_SAVED)] == [False] * PACE_SAVED
        assert await waits(spool)
        assert await waits(spool, partition=1)

    asyncio.run(check())


def test_nobody_waits_where_nothing_is_drained(tmp_path: Path) -> None:
    """A store that is lost again, a drainer that has ended, a spool that is empty."""

    async def check() -> None:
        for end in (lambda spool: spool.lost("a test took it"), Spool.is_drained):
            spool = spool_of(tmp_path, drained=1)
            assert await waits(spool)
            end(spool)
            assert not await waits(spool)
        spool = spool_of(tmp_path, drained=1)
        spool.own, spool.must_wait, spool.store_is_open = Held(), False, True
        assert not await waits(spool)

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
                    await one.spool.pace(0)
                if not one.spool.diverts:
                    break
                await one.put(f"{came}")
                came += 1
            assert one.spool.diverts is not paced
            assert (came <= 2 * BACKLOG + PACE_SAVED) is paced
            await until(lambda: not one.spool.diverts)
            assert await partition.names() == [f"{number}" for number in range(came)]

    asyncio.run(check())
