"""What every test may ask for: a store server, once on the wheel's Valkey and once on Debian's Redis.

And what holds for all of them: a run leaves nothing behind, who measures is alone, and what takes long begins early.
"""

import os
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.alone import turn
from tests.support.leftovers import CleanEnd
from tests.support.spills import judge
from tests.support.stores import Kind, StoreServer, missing, running

settings.register_profile("long", max_examples=5_000, deadline=None)


def pytest_configure(config: pytest.Config) -> None:
    """The run gets its folder; its workers have it already."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(CleanEnd(), "clean end")
        config.option.loadscopereorder = False  # xdist's own order begins with the files of many tests: the quick ones


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Workers take the files with tests marked ``alone`` first, then those of few tests, which are the long ones.

    So the workers are done at about the same time; and who wants to be alone waits for others that want it too, and not
    each time until the others have ended what they are at.
    """
    if not hasattr(config, "workerinput"):
        return
    tests = Counter(item.path for item in items)
    with_alone = {item.path for item in items if item.get_closest_marker("alone")}
    items.sort(key=lambda item: (item.path not in with_alone, tests[item.path]))


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outside the clock that ends a test which takes too long
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool | None, bool | None]:
    """Tests marked ``alone`` wait for the other workers to pause."""
    if not hasattr(item.config, "workerinput"):
        return (yield)
    with turn(Path(os.environ["TMPDIR"]), alone=item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """No test prints or logs a secret of a fixture."""
    report = yield
    judge(report)
    return report


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
