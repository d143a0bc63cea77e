"""What every test may ask for: a store server, once on the wheel's Valkey and once on Debian's Redis."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.stores import Kind, StoreServer, missing, running

settings.register_profile("long", max_examples=5_000, deadline=None)


@pytest.fixture(scope="session", params=["valkey", pytest.param("redis", marks=pytest.mark.redis)])
def store_kind(request: pytest.FixtureRequest) -> Kind:
    """Which server; a test that asks for it runs on each."""
    kind: Kind = request.param
    if binary := missing(kind):
        pytest.skip(f"{binary} is not installed")
    return kind


@pytest.fixture(scope="session")
def shared_server(store_kind: Kind) -> Iterator[StoreServer]:
    """One durable server for all tests; ask for ``server`` to find it empty."""
    with running(store_kind) as started:
        yield started


@pytest.fixture
def server(shared_server: StoreServer) -> StoreServer:
    """A durable server with nothing on it."""
    shared_server.ask("FLUSHALL")
    return shared_server
