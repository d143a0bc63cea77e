"""The scanner beside tomllib: which line a key stands on."""

import json
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config_file.lines import KeyPath, Lines

TRICKY = '''\
# a comment with [brackets] = "and quotes
top = 1  # after it

[ table . "quo.ted" ]
"key with = and #" = """
[not.a.table]
fake = 1 \\""" still inside """
'lit"eral' = 'C:\\'
dotted.inner."x y" = 'a'
list = [ # here
  "one", # two = 2
  [1, 2,
   3],
  { a = 1, b.c = "]}" },
]
ends = """four quotes""""
multi = \'\'\'
[[neither]]
\'\'\'\'
when = 1979-05-27 07:32:00
[[rows]]
name = "first"
[rows.sub]
x = 1
[[rows]]
name = "second"
[[rows.deep]]
y = 1
[rows.deep.er]
z = 2
inline = { a = [ { b = 1 } ] }
'''


def _walk(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Every path in a parsed document."""
    if path:
        yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _walk(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _walk(inner, (*path, index))


def test_every_form_of_key_is_found() -> None:
    """Tables, arrays of tables, dotted, quoted and inline keys: the scanner finds exactly what tomllib reads."""
    assert Lines(TRICKY).paths() == set(_walk(tomllib.loads(TRICKY)))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 2),
        (("table", "quo.ted"), 4),
        (("table", "quo.ted", "key with = and #"), 5),
        (("table", "quo.ted", 'lit"eral'), 8),
        (("table", "quo.ted", "dotted", "inner", "x y"), 9),
        (("table", "quo.ted", "list"), 10),
        (("table", "quo.ted", "list", 1, 2), 13),
        (("table", "quo.ted", "list", 2, "b", "c"), 14),
        (("table", "quo.ted", "ends"), 16),
        (("table", "quo.ted", "when"), 20),
        (("rows", 0, "sub", "x"), 24),
        (("rows", 1), 25),
        (("rows", 1, "deep", 0, "er", "z"), 30),
        (("rows", 1, "deep", 0, "er", "inline", "a", 0, "b"), 31),
    ],
)
def test_the_line_is_the_one_a_reader_would_point_at(path: KeyPath, line: int, newline: str) -> None:
    """Lines are counted from 1, with either kind of newline, past strings that look like tables."""
    assert Lines(TRICKY.replace("\n", newline)).line(path) == line


def test_what_is_not_written_is_placed_at_its_table() -> None:
    """A missing key is reported at the table that lacks it, a missing table at the top."""
    lines = Lines("a = 1\n[b]\nc = 2\n")
    assert lines.line(("b", "missing")) == 2
    assert lines.line(("nowhere", "at", "all")) == 1
    assert ("b", "c") in lines
    assert ("b", "missing") not in lines


_NAMES = st.one_of(st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True), st.text(min_size=1, max_size=4))
_SCALARS = st.one_of(st.text(max_size=12), st.integers(-99, 99), st.booleans())
_VALUES = st.recursive(_SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3))


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(name)} = {_written(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[\n" + "".join(f"  {_written(inner)}, # ]\n" for inner in value) + "]"
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's, with what TOML forbids beyond JSON escaped too."""
    return "".join(f"\\u{ord(char):04x}" if ord(char) < 32 or ord(char) == 127 else char for char in _escaped(text))


def _escaped(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(_NAMES, st.dictionaries(_NAMES, _VALUES, max_size=4), max_size=4))
def test_any_document_is_followed(document: dict[str, dict[str, Any]]) -> None:
    """For documents of every shape: the same paths as tomllib, and each key on the line it was written on."""
    text, expected = "", {}
    for table, pairs in document.items():
        text += f"[{_quoted(table)}]\n"
        for name, value in pairs.items():
            expected[(table, name)] = text.count("\n") + 1
            text += f"{_quoted(name)} = {_written(value)} # {name!r}\n"
    lines = Lines(text)
    assert lines.paths() == set(_walk(tomllib.loads(text)))
    assert {path: lines.line(path) for path in expected} == expected
