"""A real embedded store for the tests of this folder, and an office: desk, access and app on an empty store."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config import StoreSettings
from gateway.store.embedded import EmbeddedStore


@pytest.fixture(scope="session")
def store_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreSettings]:
    """The settings of an embedded store that runs as long as the session."""
    data: Path = tmp_path_factory.mktemp("operate") / "data"
    settings = StoreSettings(url=f"embedded:{data}", durability="memory")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    embedded = EmbeddedStore(settings)
    asyncio.run_coroutine_threadsafe(embedded.start(), loop).result(30)
    try:
        yield settings
    finally:
        asyncio.run_coroutine_threadsafe(embedded.stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
