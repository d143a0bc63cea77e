"""Imports run one way: schemas ← adapters ← gateway."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "schemas": {"schemas", "msgspec"},
    "adapters": {"adapters", "schemas", "msgspec", "cryptography"},
}
"""What each package may import besides the standard library."""
IMPURE = {
    "adapters": {"asyncio", "http", "logging", "random", "secrets", "socket", "ssl", "subprocess", "threading", "time"},
    "schemas": {"asyncio", "http", "logging", "random", "secrets", "socket", "ssl", "subprocess", "threading", "time"},
}
"""Modules of the standard library with a socket, a clock, a log or chance in them."""
MODULES = [path for package in ALLOWED for path in sorted((ROOT / package).rglob("*.py"))]


def imported(source: str) -> Iterator[str]:
    """The first part of every module a source imports, at whatever depth of the code."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            yield "."


def forbidden(package: str, source: str) -> set[str]:
    """What a source of ``package`` imports and must not."""
    found = set(imported(source))
    return {name for name in found - ALLOWED[package] if name not in sys.stdlib_module_names or name in IMPURE[package]}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_imports_only_what_lies_before_it(path: Path) -> None:
    """schemas know msgspec, adapters know schemas, and neither knows a socket, a clock or the gateway."""
    assert forbidden(path.relative_to(ROOT).parts[0], path.read_text("utf-8")) == set()


@pytest.mark.parametrize(
    ("package", "source", "found"),
    [
        ("schemas", "import adapters.contract", {"adapters"}),
        ("adapters", "def f():\n    from gateway.config import load", {"gateway"}),
        ("adapters", "import time", {"time"}),
        ("adapters", "import httpx", {"httpx"}),
        ("adapters", "from . import enviaai", {"."}),
        ("adapters", "import hmac\nfrom schemas.event import Event", set()),
    ],
)
def test_the_rule_can_be_broken(package: str, source: str, found: set[str]) -> None:
    """The check sees an import wherever it stands, and lets through what is allowed."""
    assert forbidden(package, source) == found
