"""Pausing and resuming a subscriber, as the store keeps it."""

import asyncio
from pathlib import Path

import pytest

from gateway.store.control import Control
from gateway.store.layout import Keys, tags
from gateway.store.parked import SubscriberStore
from tests.support.delivering import rig


def test_a_pause_stands_in_every_partition_until_it_is_taken_back(tmp_path: Path) -> None:
    """Every partition's lane finds the reason; after resume none does."""

    async def run() -> None:
        async with rig(tmp_path) as at:
            keys = [Keys(tag) for tag in tags(3)]
            control = Control(at.store, keys, "crm")
            assert await control.read() == ""
            await control.pause("deploying")
            assert await control.read() == "deploying"
            found = [await at.store.call("HGET", each.subscriber("crm").sub, "paused") for each in keys]
            assert found == [b"deploying"] * 3
            await control.resume()
            assert await control.read() == ""

    asyncio.run(run())


def test_a_pause_before_the_first_cursor_does_not_take_its_place(tmp_path: Path) -> None:
    """A subscriber that is paused before it was ever delivered to still begins where it should, and stays paused."""

    async def run() -> None:
        async with rig(tmp_path) as at:
            control = Control(at.store, [at.keys], "crm")
            await control.pause("not yet")
            cursor = await SubscriberStore(at.store, at.keys, "crm").subscribe(0, 1)
            assert cursor.new
            assert await control.read() == "not yet"

    asyncio.run(run())


def test_a_pause_without_a_reason_is_refused(tmp_path: Path) -> None:
    """An empty reason would read as no pause."""

    async def run() -> None:
        async with rig(tmp_path) as at:
            with pytest.raises(ValueError, match="reason"):
                await Control(at.store, [at.keys], "crm").pause("")

    asyncio.run(run())
