"""A store is of one shape for life."""

import asyncio

import pytest

from gateway.errors import StoreMismatch
from gateway.store import opening
from gateway.store.layout import Keys, tags
from gateway.store.opening import open_partitions
from tests.support.stores import StoreServer


def test_another_number_of_partitions_is_refused(server: StoreServer) -> None:
    """With another number an event's retry would be looked for elsewhere; the refusal says what to write."""

    async def check() -> None:
        async with server.store() as store:
            for _ in range(2):  # the second time it is compared, not written
                await open_partitions(store, [Keys(tag) for tag in tags(4)])
            for number in (1, 3, 5):
                with pytest.raises(StoreMismatch, match="write partitions = 4 under"):
                    await open_partitions(store, [Keys(tag) for tag in tags(number)])

    asyncio.run(check())


def test_another_format_is_refused(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layout this version does not know is not guessed at."""

    async def check() -> None:
        async with server.store() as store:
            await open_partitions(store, [Keys("0")])
            monkeypatch.setattr(opening, "FORMAT", 2)
            with pytest.raises(StoreMismatch, match="first used with format = 1, not 2"):
                await open_partitions(store, [Keys("0")])

    asyncio.run(check())
