"""From one format to the next: every step once, whoever is killed, whoever else would do it at the same time."""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Mapping

import pytest

from gateway.errors import StoreMismatch
from gateway.store import migrations
from gateway.store.connection import Store
from gateway.store.layout import FORMAT, Keys, tags
from gateway.store.lease import Lease, owner_name
from gateway.store.migrations import MIGRATIONS, Migration
from gateway.store.opening import open_partitions
from tests.support.stores import StoreServer

PARTITIONS = [Keys(tag) for tag in tags(3)]
ROWS = 40


async def rename_rows(store: Store, keys: Keys) -> None:
    """A step as one writes it: row by row, each so that running it again changes nothing."""
    for row in range(ROWS):
        if await store.call("EXISTS", f"{keys.prefix}:old:{row}"):
            await store.call("RENAMENX", f"{keys.prefix}:old:{row}", f"{keys.prefix}:new:{row}")
        await asyncio.sleep(0)


async def count_up(store: Store, keys: Keys) -> None:
    """A second step, which can be seen to have run after the first."""
    await store.call("HSET", keys.state, "second", await store.call("EXISTS", f"{keys.prefix}:new:0"))


TABLE: Mapping[int, Migration] = {
    FORMAT: Migration("rows have another name", rename_rows),
    FORMAT + 1: Migration("a second step", count_up),
}
WANTED = FORMAT + 2


def test_there_is_a_step_from_every_earlier_format() -> None:
    """Whoever counts ``FORMAT`` up writes the step."""
    assert sorted(MIGRATIONS) == list(range(1, FORMAT))


async def fill(store: Store) -> None:
    """Three partitions of the present format with rows in each."""
    await open_partitions(store, PARTITIONS)
    for keys in PARTITIONS:
        for row in range(ROWS):
            await store.call("SET", f"{keys.prefix}:old:{row}", f"{keys.prefix}{row}")


async def check(store: Store) -> None:
    """Every partition went all the way, nothing was lost, and nobody holds the lock."""
    for keys in PARTITIONS:
        assert await store.call("HMGET", keys.state, "format", "second") == [str(WANTED).encode(), b"1"]
        for row in range(ROWS):
            assert await store.call("GET", f"{keys.prefix}:new:{row}") == f"{keys.prefix}{row}".encode()
            assert not await store.call("EXISTS", f"{keys.prefix}:old:{row}")
    assert await store.call("HMGET", PARTITIONS[0].state, "migrator", "migrator_until_ms") == [None, None]


def test_every_partition_goes_step_by_step_and_once(server: StoreServer) -> None:
    """Several who open it at once share one walk; a second opening does nothing; without the table it is refused."""
    runs: list[str] = []

    async def noted(store: Store, keys: Keys) -> None:
        runs.append(keys.prefix)
        await rename_rows(store, keys)

    table = {**TABLE, FORMAT: Migration("noted", noted)}

    async def run() -> None:
        async with server.store() as store:
            await fill(store)
            with pytest.raises(StoreMismatch):  # positive control: nothing but the table leads there
                await open_partitions(store, PARTITIONS, form=WANTED, table={})
            await asyncio.gather(*[open_partitions(store, PARTITIONS, form=WANTED, table=table) for _ in range(4)])
            await check(store)
            assert sorted(runs) == sorted(keys.prefix for keys in PARTITIONS)
            await open_partitions(store, PARTITIONS, form=WANTED, table=table)
            assert len(runs) == 3
            with pytest.raises(StoreMismatch, match=f"format = {WANTED}, not {FORMAT}"):
                await open_partitions(store, PARTITIONS)

    asyncio.run(run())


def test_who_is_killed_in_the_middle_is_followed(server: StoreServer) -> None:
    """kill -9 at three places: the next one goes on at once, and at the end it is as if nothing had happened."""

    async def prepare() -> None:
        async with server.store() as store:
            await fill(store)

    async def finish() -> None:
        async with server.store() as store:
            async with asyncio.timeout(10):
                await open_partitions(store, PARTITIONS, form=WANTED, table=TABLE)
            await check(store)

    places = []
    for wanted in (1, ROWS + 5, 2 * ROWS + 20):
        server.ask("FLUSHALL")
        asyncio.run(prepare())
        child = subprocess.Popen([sys.executable, "-m", "tests.store.test_migrations", server.url])
        try:
            deadline_s = time.monotonic() + 20
            while (done := _renamed(server)) < wanted and child.poll() is None:
                assert time.monotonic() < deadline_s
            child.kill()
            places.append(done)
        finally:
            child.wait(10)
        asyncio.run(finish())
    assert any(0 < place < ROWS * 3 for place in places), "positive control: some were killed in the middle"


def _renamed(server: StoreServer) -> int:
    return sum(server.ask("EXISTS", *[f"{keys.prefix}:new:{row}" for row in range(ROWS)]) for keys in PARTITIONS)


def test_a_gateway_that_still_delivers_is_not_walked_over(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the earlier version would not know what it finds: it is waited for, then named; without it, it goes on."""
    monkeypatch.setattr(migrations, "LEASE_PATIENCE_S", 0.2)

    async def run() -> None:
        async with server.store() as store:
            await fill(store)
            lease = Lease(store, PARTITIONS[1], owner_name())
            assert (await lease.take()).ours
            with pytest.raises(StoreMismatch, match="stop every gateway of the earlier version first"):
                await open_partitions(store, PARTITIONS, form=WANTED, table=TABLE)
            assert await store.call("HGET", PARTITIONS[0].state, "format") == str(FORMAT).encode()
            await lease.give_back()
            await open_partitions(store, PARTITIONS, form=WANTED, table=TABLE)
            await check(store)

    asyncio.run(run())


def test_another_number_of_partitions_is_refused_before_anything_changes(server: StoreServer) -> None:
    """A store that will not be opened is not changed first."""

    async def run() -> None:
        async with server.store() as store:
            await fill(store)
            with pytest.raises(StoreMismatch, match="write partitions = 3"):
                await open_partitions(store, PARTITIONS[:1], form=WANTED, table=TABLE)
            assert await store.call("HGET", PARTITIONS[0].state, "format") == str(FORMAT).encode()

    asyncio.run(run())


async def _walk(url: str) -> None:
    """What the child of the test above does: a walk that takes its time."""
    from gateway.config import StoreSettings

    store = Store(StoreSettings(url=url), url)
    with contextlib.suppress(StoreMismatch):
        await open_partitions(store, PARTITIONS, form=WANTED, table=TABLE)
    await store.close()


if __name__ == "__main__":
    asyncio.run(_walk(sys.argv[1]))
