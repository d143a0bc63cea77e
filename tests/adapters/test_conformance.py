"""Every adapter of this repository goes through the conformance suite. Nobody has to join: they are enumerated."""

from pathlib import Path

from adapters.registry import bundled
from gateway.testing import CLAUSES, adapter_suite

FIXTURES = Path(__file__).parent.parent / "fixtures"
ADAPTERS = bundled()

for _name in ADAPTERS:
    globals()["Test" + _name.title().replace("_", "")] = adapter_suite(_name, FIXTURES / _name)


def test_there_are_adapters_and_clauses_to_try() -> None:
    """An empty enumeration would be green and mean nothing."""
    assert {"aivo_engage", "engium", "enviaai", "flexengage", "generic_chat"} <= set(ADAPTERS)
    assert len(CLAUSES) > 20


def test_every_folder_of_fixtures_belongs_to_an_adapter() -> None:
    """A recorded request that no adapter reads would look tested."""
    assert {path.name for path in FIXTURES.iterdir() if path.is_dir()} == set(ADAPTERS)
