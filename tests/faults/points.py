"""The points, read from the code: none that is written there can be forgotten here."""

import ast
from collections.abc import Iterator
from pathlib import Path

GATEWAY = Path(__file__).parents[2] / "gateway"
NAMES = ("fault", "fault_in_loop")
SCRIPTS = sorted(path.stem for path in (GATEWAY / "store" / "lua").glob("*.lua"))


def calls(source: str) -> Iterator[ast.Call]:
    """Every call of a point in a source."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NAMES:
            yield node


def points_of(source: str) -> list[str]:
    """``<boundary>.<side>`` of each. A boundary that is no literal is the name of a script: all of them."""
    found = []
    for call in calls(source):
        boundary, side = (ast.unparse(each) for each in call.args[:2])
        assert boundary == "name" or boundary.startswith("'"), ast.unparse(call)
        boundaries = SCRIPTS if boundary == "name" else [boundary.strip("'")]
        found += [f"{each}.{ast.literal_eval(side)}" for each in boundaries]
    return found


def all_points() -> list[str]:
    """Those of the whole gateway, in the order of their names."""
    found: set[str] = set()
    for path in GATEWAY.rglob("*.py"):
        if path.name != "faults.py":
            found.update(points_of(path.read_text("utf-8")))
    return sorted(found)
