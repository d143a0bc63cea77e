"""What can be known of an event before it comes: the fields it may have, by type, and samples. Pure.

Read from ``schemas/event.py``, so that there is one truth. A filter is checked against it when it is loaded.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any, Literal

import msgspec
from msgspec import inspect

from schemas.event import FAMILY_OF, Event


class Leaf(msgspec.Struct, frozen=True):
    """A field that holds one value."""

    kind: Literal["text", "flag"]
    values: tuple[str, ...] = ()
    """All it can be; empty: anything of its kind."""
    nullable: bool = False
    """Whether it is ``null`` when unknown. Fields that are not are there, or absent."""
    sample: Any = None


class Open(msgspec.Struct, frozen=True):
    """A field that holds whatever the provider wrote: nothing is known of its inside."""

    sample: Any = None


class Table(msgspec.Struct, frozen=True):
    """A field that holds fields."""

    fields: dict[str, "Field"]


Field = Leaf | Open | Table

_SAMPLE_TEXTS = {
    "^evt_": "evt_hdvgbpm7wgvb2yt2wqsgnew4cu",
    "^[0-9a-f]{64}": "0" * 64,
    r"^\+": "+15550100",
    "^-?[0-9]": "12.50",
    "^[0-9]{4}": "2026-02-03T12:00:05.000Z",
}
"""By the beginning of the field's pattern."""


@cache
def fields_of(event_type: str) -> Table:
    """Everything an event of this type may have. Raises ``KeyError`` for a type there is not."""
    event = _table(inspect.type_info(Event))
    data = _table(inspect.type_info(FAMILY_OF[event_type]))
    kind = Leaf("text", (event_type.partition(".")[0],), sample=event_type.partition(".")[0])
    return Table(
        {
            **event.fields,
            "type": Leaf("text", (event_type,), sample=event_type),
            "data": Table({"kind": kind, **data.fields}),
        }
    )


def find(table: Table, path: Iterable[str]) -> Field | None:
    """The field at a path, ``None`` if there is none. Inside an open field everything is open."""
    found: Field = table
    for name in path:
        if isinstance(found, Open):
            return found
        if not isinstance(found, Table) or name not in found.fields:
            return None
        found = found.fields[name]
    return found


def sample(event_type: str, *, full: bool) -> dict[str, Any]:
    """An event of this type in which every field is set, or none that need not be."""
    top = fields_of(event_type).fields
    event = {name: _sample(field, full=full) for name, field in top.items() if full or name != "raw"}
    if not full:
        event["data"] = {"kind": event["data"]["kind"]}
    return event


def _sample(field: Field, *, full: bool) -> Any:
    if isinstance(field, Table):
        return {name: _sample(inner, full=full) for name, inner in field.fields.items()}
    return None if isinstance(field, Leaf) and field.nullable and not full else field.sample


def _table(info: inspect.Type) -> Table:
    assert isinstance(info, inspect.StructType)
    return Table({field.encode_name: _field(field.type) for field in info.fields})


def _field(info: inspect.Type) -> Field:
    nullable = False
    while isinstance(info, inspect.Metadata | inspect.UnionType):
        if isinstance(info, inspect.Metadata):
            info = info.type
            continue
        nullable = any(isinstance(each, inspect.NoneType) for each in info.types)
        rest = [each for each in info.types if not isinstance(each, inspect.NoneType)]
        if len(rest) != 1:  # ``data``, whose class depends on the type
            return Open({})
        info = rest[0]
    match info:
        case inspect.StructType():
            return _table(info)
        case inspect.LiteralType(values=values):
            texts = tuple(str(value) for value in values)
            return Leaf("text", texts, nullable, texts[0])
        case inspect.StrType(pattern=pattern):
            found = next((text for start, text in _SAMPLE_TEXTS.items() if (pattern or "").startswith(start)), "text")
            return Leaf("text", (), nullable, found)
        case inspect.BoolType():
            return Leaf("flag", sample=True)
        case _:
            return Open({})
