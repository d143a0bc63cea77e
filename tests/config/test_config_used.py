"""No setting is read from the file and then ignored."""

import ast
import re
from pathlib import Path

import msgspec
import pytest

from gateway.config import NOT_YET, AlertSettings, GatewaySettings, SourceSettings, StoreSettings, SubscriberSettings

GATEWAY = Path(__file__).parent.parent.parent / "gateway"
TABLES: dict[str, type[msgspec.Struct]] = {
    "gateway": GatewaySettings,
    "store": StoreSettings,
    "sources": SourceSettings,
    "subscribers": SubscriberSettings,
    "alerts": AlertSettings,
}
COMPARED = {("sources", "code_sha256")}
"""No setting, and only ever compared, with the whole table: a reload says that it is another."""


def attributes_read() -> set[str]:
    """The name of every attribute that the gateway's code looks at, outside the reading of the file."""
    found: set[str] = set()
    for path in GATEWAY.rglob("*.py"):
        if "config_file" in path.parts:
            continue
        tree = ast.parse(path.read_text("utf-8"))
        found.update(node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return found


READ = attributes_read()


@pytest.mark.parametrize(
    ("table", "field"),
    [
        (table, field)
        for table, made in TABLES.items()
        for field in made.__struct_fields__
        if (table, field) not in COMPARED
    ],
)
def test_each_setting_is_used_or_refused(table: str, field: str) -> None:
    """A setting that nothing reads must be in NOT_YET, so that asking for it is an error."""
    key = re.sub(r"_(s|bytes|per_s)$", "", field) if field != "retention_bytes" else field
    assert field in READ or f"{table}.{key}" in NOT_YET


def test_a_setting_that_nothing_reads_is_noticed() -> None:
    """The check above can fail: a name that nobody uses is not among those read."""
    assert "no_such_setting_s" not in READ
    assert {"timeout_s", "max_body_bytes"} <= READ
