"""A compiled CEL expression as a tree, with the column of every node. Pure.

The library shows no tree, but ``Expression.serialize()`` is one: ``cel.expr.CheckedExpr`` in Protocol Buffers' wire
form, inside a ``google.protobuf.Any``. Only the few fields a check needs are read here, which takes no more than what
follows; the numbers are those of ``cel/expr/syntax.proto`` and ``checked.proto`` at github.com/google/cel-spec.
"""

import re
import struct
from collections.abc import Iterator
from typing import Literal

import msgspec

Kind = Literal["constant", "name", "select", "call", "list", "map", "loop", "other"]


class Node(msgspec.Struct):
    """One node of an expression."""

    kind: Kind
    column: int
    """Where it stands in the expression, from 1; of a selection, where the field's name begins."""
    text: str = ""
    """The name, the selected field, the called function, or the name a loop gives to each element."""
    value: str | int | float | bool | bytes | None = None
    """Of a constant."""
    inner: tuple["Node", ...] = ()
    """What it is made of: operands in the order they are written, a loop's range first."""
    is_test: bool = False
    """Of a selection: it is within ``has()``."""


def read_tree(serialized: bytes, expression: str) -> Node:
    """The tree of ``expression``, from what ``serialize()`` gave for it."""
    checked = _fields(_fields(serialized)[2][0])
    positions: dict[int, int] = {}
    for pair in _fields(checked[5][0]).get(4, ()):
        entry = _fields(pair)
        positions[_integer(entry, 1)] = _integer(entry, 2)
    return _Reader(expression, positions).node(checked[4][0])


_Fields = dict[int, list[bytes]]


class _Reader:
    def __init__(self, expression: str, positions: dict[int, int]) -> None:
        self._expression = expression
        self._positions = positions

    def node(self, raw: bytes) -> Node:
        expr = _fields(raw)
        at = self._positions.get(_integer(expr, 2), 0)
        column = at + 1
        match next((number for number in expr if number >= 3), 0):
            case 3:
                return Node("constant", column, value=_constant(_fields(expr[3][0])))
            case 4:
                return Node("name", column, _text(_fields(expr[4][0]), 1))
            case 5:
                return self._select(_fields(expr[5][0]), at)
            case 6:
                call = _fields(expr[6][0])
                operands = [*call.get(1, ()), *call.get(3, ())]
                return Node("call", column, _text(call, 2), inner=self._nodes(operands))
            case 7:
                return Node("list", column, inner=self._nodes(_fields(expr[7][0]).get(1, [])))
            case 8:
                entries = [_fields(entry) for entry in _fields(expr[8][0]).get(2, ())]
                parts = [part for entry in entries for number in (3, 4) for part in entry.get(number, ())]
                return Node("map", column, inner=self._nodes(parts))
            case 9:
                loop = _fields(expr[9][0])
                parts = [part for number in (2, 4, 5, 6, 7) for part in loop.get(number, ())]
                return Node("loop", column, _text(loop, 1), inner=self._nodes(parts))
            case _:
                return Node("other", column)

    def _select(self, select: _Fields, at: int) -> Node:
        operand, field = self.node(select[1][0]), _text(select, 2)
        # Of ``has(a.b)`` the position is that of the macro, so the field is looked for behind what it is selected from.
        found = re.compile(rf"\.\s*`?(?={re.escape(field)})").search(self._expression, max(0, operand.column - 1))
        column = found.end() + 1 if found else at + 1
        return Node("select", column, field, inner=(operand,), is_test=bool(_integer(select, 3)))

    def _nodes(self, raws: list[bytes]) -> tuple[Node, ...]:
        return tuple([self.node(raw) for raw in raws])


def _constant(constant: _Fields) -> str | int | float | bool | bytes | None:
    number = next(iter(constant), 1)
    match number:
        case 2:
            return bool(_integer(constant, 2))
        case 3:
            value = _integer(constant, 3)
            return value - (1 << 64) if value >> 63 else value
        case 4:
            return _integer(constant, 4)
        case 5:
            (value,) = struct.unpack("<d", constant[5][0])
            return float(value)
        case 6:
            return _text(constant, 6)
        case 7:
            return constant[7][0]
        case _:
            return None


def _fields(raw: bytes) -> _Fields:
    """The fields of one message: number → contents; an integer as its 8 bytes."""
    found: _Fields = {}
    for number, content in _scan(raw):
        found.setdefault(number, []).append(content)
    return found


def _scan(raw: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(raw):
        key, at = _varint(raw, at)
        match key & 7:
            case 0:
                value, at = _varint(raw, at)
                content = value.to_bytes(8, "little")
            case 1:
                content, at = raw[at : at + 8], at + 8
            case 2:
                size, at = _varint(raw, at)
                content, at = raw[at : at + size], at + size
            case 5:
                content, at = raw[at : at + 4], at + 4
            case wire:
                raise ValueError(f"wire type {wire} is not in use")
        yield key >> 3, content


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value & (1 << 64) - 1, at
        shift += 7


def _integer(fields: _Fields, number: int) -> int:
    return int.from_bytes(fields[number][0], "little") if number in fields else 0


def _text(fields: _Fields, number: int) -> str:
    return fields[number][0].decode() if number in fields else ""
