"""A store that would acknowledge before the fsync is refused, on every connection, naming the line to change."""

import asyncio
from typing import Any

import pytest

from gateway.errors import NotDurable
from gateway.store.connection import WANTED, check_settings
from tests.store.partition import Partition, event
from tests.support.stores import Kind, StoreServer, running

GOOD = {name: value for name, (value, _) in WANTED.items()}


def test_the_settings_of_a_durable_server_pass(server: StoreServer) -> None:
    """The control of every refusal below; what the server said is there for the banner."""

    async def check() -> None:
        async with server.store() as store:
            await store.ping()
            assert store.live_settings == GOOD

    asyncio.run(check())


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (("--appendfsync", "everysec"), "appendfsync always"),
        (("--appendfsync", "no"), "appendfsync always"),
        (("--appendonly", "no"), "appendonly yes"),
        (("--maxmemory-policy", "allkeys-lru"), "maxmemory-policy noeviction"),
        (("--no-appendfsync-on-rewrite", "yes"), "no-appendfsync-on-rewrite no"),
    ],
)
def test_a_setting_that_loses_events_is_refused(store_kind: Kind, wrong: tuple[str, str], line: str) -> None:
    """Each of the four settings is looked at; the refusal names the one that is wrong, and no other."""
    with running(store_kind, *wrong) as careless:

        async def check() -> None:
            async with careless.store() as store:
                with pytest.raises(NotDurable) as refusal:
                    await store.ping()
                text = str(refusal.value)
                assert f"write the line: {line}" in text
                assert text.count("write the line") == 1
                with pytest.raises(NotDurable):  # not only at the first connection
                    await Partition(store).commit(event("a"))
                assert careless.ask("DBSIZE") == 0
            # Who typed that a crash may lose events is not asked again.
            async with careless.store(durability="memory") as store:
                assert await Partition(store).commit(event("a")) == [1]

        asyncio.run(check())


def test_all_wrong_settings_are_named_at_once(store_kind: Kind) -> None:
    """A server started without thinking of any of this is told everything in one refusal."""
    with running(store_kind, durable=False) as careless:

        async def check() -> None:
            async with careless.store() as store:
                with pytest.raises(NotDurable) as refusal:
                    await store.ping()
                assert "appendonly yes" in str(refusal.value)
                assert "appendfsync always" in str(refusal.value)

        asyncio.run(check())


def test_settings_are_read_again_on_every_connection(store_kind: Kind) -> None:
    """Changed while we run: the next connection, as after a failover, refuses; changed back: it goes on."""
    with running(store_kind) as changing:

        async def check() -> None:
            async with changing.store() as store:
                partition = Partition(store)
                await partition.commit(event("a"))
                changing.ask("CONFIG", "SET", "appendfsync", "everysec")
                await store.client.connection_pool.disconnect()
                with pytest.raises(NotDurable, match="appendfsync = everysec; write the line: appendfsync always"):
                    await partition.commit(event("b"))
                changing.ask("CONFIG", "SET", "appendfsync", "always")
                assert await partition.commit(event("b")) == [2]

        asyncio.run(check())


def test_connections_at_once_are_all_checked(store_kind: Kind) -> None:
    """Twenty commands at the same moment open many connections: none of them slips through."""
    with running(store_kind, "--appendfsync", "everysec") as careless:

        async def check() -> None:
            async with careless.store() as store:
                answers = await asyncio.gather(
                    *[store.call("SET", f"key-{number}", 1) for number in range(20)], return_exceptions=True
                )
                assert {type(answer) for answer in answers} == {NotDurable}
                assert careless.ask("DBSIZE") == 0

        asyncio.run(check())


def test_a_store_that_forbids_config_needs_a_word(store_kind: Kind) -> None:
    """Managed stores often do: the refusal says what to look at and what to type, and the typed word is taken."""
    with running(store_kind) as managed:
        managed.ask("ACL", "SETUSER", "default", "-config")

        async def check() -> None:
            async with managed.store() as store:
                with pytest.raises(NotDurable) as refusal:
                    await store.ping()
                text = str(refusal.value)
                assert "assume_durable = true under [store]" in text
                assert all(line in text for _, line in WANTED.values())
            async with managed.store(assume_durable=True) as store:
                assert await Partition(store).commit(event("a")) == [1]

        asyncio.run(check())


@pytest.mark.parametrize("name", WANTED)
@pytest.mark.parametrize("found", [None, "", "YES", "everysec"])
def test_what_is_not_said_is_not_believed(name: str, found: Any) -> None:
    """A setting the server does not mention, or spells otherwise, is wrong."""
    check_settings(GOOD)
    with pytest.raises(NotDurable, match=name):
        check_settings({key: value for key, value in {**GOOD, name: found}.items() if value is not None})
