"""A store is of one shape for life."""

import asyncio

import pytest

from gateway.errors import NotDurable, StoreMismatch, StoreUnavailable
from gateway.store.layout import Keys, tags
from gateway.store.opening import gateway_version, open_partitions, open_store
from tests.support.proxy import proxied
from tests.support.stores import Kind, StoreServer, running


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


def test_another_format_is_refused(server: StoreServer) -> None:
    """A layout this version does not know is not guessed at; the refusal names the version that used it last."""

    async def check() -> None:
        async with server.store() as store:
            await open_partitions(store, [Keys("0")])
            last = f"use gateway {gateway_version()}, which used it last"
            for form in (2, 0):
                with pytest.raises(StoreMismatch, match=f"first used with format = 1, not {form}; {last}"):
                    await open_partitions(store, [Keys("0")], form=form)
            server.ask("DEL", Keys("0").versions)
            with pytest.raises(StoreMismatch, match="use the version of the gateway that wrote it"):
                await open_partitions(store, [Keys("0")], form=2)
            await open_partitions(store, [Keys("0")])

    asyncio.run(check())


def test_a_store_that_comes_back_is_waited_for(server: StoreServer) -> None:
    """A store that is away for a moment is opened when it is back; without patience, or for too long, it is refused."""

    async def check() -> None:
        async with proxied(server.socket) as proxy, server.store(url=proxy.url) as store:
            keys = [Keys("0")]
            proxy.refuse = True
            for patience_s in (0, 0.05):
                with pytest.raises(StoreUnavailable):
                    await open_store(store, keys, patience_s=patience_s)
            opening_it = asyncio.create_task(open_store(store, keys, patience_s=10))
            refused = proxy.connections
            async with asyncio.timeout(10):
                while proxy.connections < refused + 2:
                    await asyncio.sleep(0.01)
            proxy.refuse = False
            await opening_it

    asyncio.run(check())


def test_patience_is_for_absence_only(store_kind: Kind) -> None:
    """A store of another shape, or one that loses events, is refused at once: waiting would not mend it."""
    with running(store_kind) as own:

        async def check() -> None:
            async with own.store() as store:
                await open_store(store, [Keys("0")], patience_s=0)
                async with asyncio.timeout(5):
                    with pytest.raises(StoreMismatch):
                        await open_store(store, [Keys(tag) for tag in tags(2)], patience_s=60)
                    own.ask("CONFIG", "SET", "appendfsync", "everysec")
                    await store.client.connection_pool.disconnect()
                    with pytest.raises(NotDurable):
                        await open_store(store, [Keys("0")], patience_s=60)

        asyncio.run(check())
