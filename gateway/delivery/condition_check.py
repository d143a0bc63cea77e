"""What is wrong with a condition that compiles: fields there are not, comparisons that can never hold, loops in loops.

CEL knows nothing of our events: to it ``event`` is a map, and a misspelt field is only a key that happens to be
missing, so such a condition would compile and never match. Here it is held against the fields of every type it can
meet (``fields.py``). On the way is noted what the condition reads, so that nothing else need be handed to it. Pure.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from gateway.config_file.values import did_you_mean
from gateway.delivery.condition_compile import Mistake, literal_mistake
from gateway.delivery.condition_tree import Node
from gateway.delivery.fields import Field, Leaf, Open, Table, fields_of, find
from schemas.event import EVENT_TYPES

Reads = dict[str, "Reads | None"]
"""Which keys are read of a map, and what of each; ``None``: all of it, ``{}``: only whether it is there."""

_COMPARISONS = frozenset({"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"})
_EQUALS = frozenset({"_==_", "_!=_", "@in"})
_OF_TEXT = frozenset({"matches", "timestamp", "duration"})
_KIND_WORDS: dict[Literal["text", "flag"], str] = {"text": "a text", "flag": "true or false"}

MAX_LISTED = 16
"""Where more could be meant, the schema is named instead."""

Path = list[tuple[str, int]]
"""Keys from ``event`` on, each with its column."""


class Checked(msgspec.Struct):
    """What a look at the tree gave."""

    mistakes: list[Mistake]
    reads: Reads | None
    """What is read of the event."""
    reads_open: bool
    """Whether it reads where anything may stand, such as ``event.raw``, so that a sample can prove nothing."""


def check(tree: Node, types: Sequence[str]) -> Checked:
    """Check a compiled expression that will be tried on events of ``types``."""
    checker = _Checker(types)
    checker.visit(tree, in_loop=False)
    return Checked(checker.mistakes, None if checker.reads_whole else checker.reads, checker.reads_open)


class _Checker:
    def __init__(self, types: Sequence[str]) -> None:
        self._types = types
        self._tables = [fields_of(each) for each in types]
        self.mistakes: list[Mistake] = []
        self.reads: Reads = {}
        self.reads_whole = self.reads_open = False

    def visit(self, node: Node, *, in_loop: bool) -> None:
        if (path := _path(node)) is not None:
            self._read(path, is_test=node.is_test)
            return
        if node.kind == "loop":
            if in_loop:
                why = "a loop within a loop takes time as the square of what the event holds"
                self._wrong(node.column, why, "one of all, exists, exists_one, filter and map, without another in it")
                return
            if node.text == "event":
                self._wrong(node.column, "the loop hides event behind its own variable", "another name for it, like x")
                return
            in_loop = True
        elif node.kind == "call":
            self._call(node)
        for inner in node.inner:
            self.visit(inner, in_loop=in_loop)

    def _wrong(self, column: int, why: str, write: str) -> None:
        self.mistakes.append(Mistake(column, why, write))

    # Fields

    def _read(self, path: Path, *, is_test: bool) -> None:
        if not path:
            self.reads_whole = self.reads_open = True
            return
        names = [name for name, _ in path]
        found = self._find(names)
        if not found:
            self._unknown(path)
            return
        self.reads_open |= any(isinstance(field, Open) for field in found)
        if is_test and names[0] != "data" and all(isinstance(field, Leaf) for field in found):
            dotted = _dotted(names)
            nullable = any(isinstance(field, Leaf) and field.nullable for field in found)
            why = f"has({dotted}) is always true" + (": it is null when unknown" if nullable else "")
            self._wrong(path[-1][1], why, f"{dotted} != null" if nullable else "it without has()")
        _note(self.reads, names, is_test=is_test)

    def _find(self, names: Sequence[str]) -> list[Field]:
        return [field for table in self._tables if (field := find(table, names)) is not None]

    def _unknown(self, path: Path) -> None:
        names = [name for name, _ in path]
        known = next(length for length in range(len(names) - 1, -1, -1) if self._find(names[:length]))
        wrong, column = _dotted(names[: known + 1]), path[known][1]
        around = self._find(names[:known])
        siblings = sorted({name for field in around if isinstance(field, Table) for name in field.fields})
        elsewhere = [each for each in EVENT_TYPES if find(fields_of(each), names[: known + 1]) is not None]
        if not siblings:
            kinds = {_KIND_WORDS[field.kind] for field in around if isinstance(field, Leaf)}
            self._wrong(column, f"{_dotted(names[:known])} is {' or '.join(kinds)} and has no fields", "it alone")
        elif elsewhere:
            why = f"no event that types lets through has {wrong}, only {_globs(elsewhere)} have it"
            self._wrong(column, why, "a field of the events it lets through, or types that have it")
        else:
            hint = did_you_mean(wrong, self._all_paths() - {_dotted(names[:known])})
            self._wrong(column, f"no event has {wrong}{hint}", _one_of(siblings))

    def _all_paths(self) -> set[str]:
        found: set[str] = set()
        places: list[tuple[str, Field]] = [("event", table) for table in self._tables]
        while places:
            at, field = places.pop()
            found.add(at)
            if isinstance(field, Table):
                places += [(f"{at}.{name}", inner) for name, inner in field.fields.items()]
        return found

    # Calls

    def _call(self, node: Node) -> None:
        if node.text in _COMPARISONS:
            left, right = node.inner
            self._compare(node, left, [right])
            self._compare(node, right, [left])
        elif node.text == "@in":
            needle, stack = node.inner
            self._compare(node, needle, stack.inner if stack.kind == "list" else ())
            path = _path(stack)
            if path is not None and needle.kind == "constant" and isinstance(needle.value, str):
                self._read([*path, (needle.value, needle.column)], is_test=True)
        elif node.text in _OF_TEXT:
            literal = node.inner[-1].value
            if isinstance(literal, str) and (why := literal_mistake(node.text, literal)):
                self._wrong(node.inner[-1].column, why, f"a text that {node.text}() understands")

    def _compare(self, node: Node, field_node: Node, others: Sequence[Node]) -> None:
        path = _path(field_node)
        if not path:
            return
        found = self._find([name for name, _ in path])
        if not found or any(isinstance(field, Open) for field in found):
            return
        for other in others:
            if other.kind == "constant":
                self._compare_constant(node, [name for name, _ in path], found, other)

    def _compare_constant(self, node: Node, names: list[str], found: list[Field], other: Node) -> None:
        dotted, value = _dotted(names), other.value
        leaves = [field for field in found if isinstance(field, Leaf)]
        if value is None:
            if not any(leaf.nullable for leaf in leaves):
                in_data = names[0] == "data"
                why = f"{dotted} is never null" + (": where it is unknown it is absent" if in_data else "")
                self._wrong(other.column, why, f"has({dotted}) or !has({dotted})" if in_data else "something it can be")
            return
        wanted = "flag" if isinstance(value, bool) else "text" if isinstance(value, str) else None
        if not leaves:
            self._wrong(other.column, f"{dotted} has fields and is no single value", f"one of its fields: {dotted}.…")
        elif all(leaf.kind != wanted for leaf in leaves):
            kind = leaves[0].kind
            write = "true or false" if kind == "flag" else "a text in quotes"
            if kind == "text" and isinstance(value, int | float) and not isinstance(value, bool):
                write = f'"{value}", or double({dotted}) to compare it as a number'
            self._wrong(other.column, f"{dotted} is {_KIND_WORDS[kind]} and is compared with {_show(value)}", write)
        elif isinstance(value, str) and node.text in _EQUALS and all(leaf.values for leaf in leaves):
            possible = sorted({each for leaf in leaves for each in leaf.values})
            if value not in possible:
                why = f'{dotted} is never "{value}"{did_you_mean(value, possible)}'
                self._wrong(other.column, why, _one_of(possible))


def _path(node: Node) -> Path | None:
    """The keys from ``event`` on that a node selects; ``None`` if it is anything but such a selection."""
    if node.kind == "name":
        return [] if node.text.lstrip(".") == "event" else None
    if node.kind == "select":
        before, key = _path(node.inner[0]), (node.text, node.column)
    elif node.kind == "call" and node.text == "_[_]" and isinstance(node.inner[1].value, str):
        before, key = _path(node.inner[0]), (node.inner[1].value, node.inner[1].column)
    else:
        return None
    return None if before is None else [*before, key]


def _note(reads: Reads, names: Sequence[str], *, is_test: bool) -> None:
    at = reads
    for name in names[:-1]:
        below = at.setdefault(name, {})
        if below is None:
            return
        at = below
    if not is_test:
        at[names[-1]] = None
    else:
        at.setdefault(names[-1], {})


def _dotted(names: Sequence[str]) -> str:
    return ".".join(["event", *names])


def _globs(types: Sequence[str]) -> str:
    families = dict.fromkeys(each.partition(".")[0] for each in types)
    return " and ".join(f"{family}.*" if family != "other" else family for family in families)


def _one_of(known: Sequence[str]) -> str:
    return (
        f"one of {', '.join(known)}" if len(known) <= MAX_LISTED else "one that this prints: gateway schema --lang ts"
    )


def _show(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
