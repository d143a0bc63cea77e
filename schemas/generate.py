"""Writes ``event.schema.json`` and ``event.ts`` from ``schemas/event.py``: ``python -m schemas.generate [--check]``.

``event.py`` is the only place where the event is described; everything here is derived. The JSON Schema is what msgspec
says of the structs, plus what their types cannot say: that ``type`` decides the kind of ``data``. The types for
TypeScript and Python are then written from the schema, so that all three say the same.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from schemas.event import EVENT_TYPES, FAMILY_OF, SCHEMA_ID, SCHEMA_VERSION, Event

Schema = dict[str, Any]

FOLDER = Path(__file__).parent
_REF = "#/$defs/"


class _Language(NamedTuple):
    """How a language writes the few forms of type that the event uses."""

    anything: str
    simple: dict[str, str]
    literals: Callable[[list[str]], str]
    names: Mapping[str, str]
    """Other names for classes whose own name means something else in the language."""


_TYPESCRIPT = _Language(
    anything="unknown",
    simple={"string": "string", "boolean": "boolean", "null": "null", "object": "Record<string, unknown>"},
    literals=" | ".join,
    names={"Error": "GatewayError"},
)
_PYTHON = _Language(
    anything="Any",
    simple={"string": "str", "boolean": "bool", "null": "None", "object": "dict[str, Any]"},
    literals=lambda values: f"Literal[{', '.join(values)}]",
    names={},
)


def json_schema() -> Schema:
    """The event as JSON Schema, draft 2020-12."""
    _, definitions = msgspec.json.schema_components([Event], ref_template=_REF + "{name}")
    event = _plain(definitions.pop("Event"))
    properties = event["properties"]
    properties["type"]["enum"] = list(EVENT_TYPES)  # msgspec sorts them; in our order, families stay together
    properties["data"]["oneOf"] = properties["data"].pop("anyOf")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **event,
        "allOf": [
            {
                "if": {"properties": {"type": {"enum": types}}},
                "then": {"properties": {"data": {"$ref": _REF + family}}},
            }
            for family, types in families().items()
        ],
        "$defs": {name: _plain(definition) for name, definition in definitions.items()},
    }


def families() -> dict[str, list[str]]:
    """The name of each class that ``data`` can be, with the types it goes with."""
    found: dict[str, list[str]] = {}
    for event_type, family in FAMILY_OF.items():
        found.setdefault(family.__name__, []).append(event_type)
    return found


def _plain(schema: Any) -> Any:
    """Without ``discriminator`` (OpenAPI's, not JSON Schema's), and ``const`` for an ``enum`` of one."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _plain(value) for key, value in schema.items() if key != "discriminator"}
    if isinstance(plain.get("enum"), list) and len(plain["enum"]) == 1:
        plain["const"] = plain.pop("enum")[0]
    return plain


def json_text() -> str:
    """The content of ``event.schema.json``."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


# TypeScript ----------------------------------------------------------------------------------------------------------


def typescript() -> str:
    """The content of ``event.ts``: a union that ``type`` tells apart."""
    schema = json_schema()
    lines = [
        f"// The canonical event, schema {SCHEMA_VERSION}. Generated from schemas/event.py; do not edit.",
        "// The names begin with Gateway where the browser has a global of the same name (Event, MessageEvent, Error).",
        "",
    ]
    for name, definition in schema["$defs"].items():
        lines += [
            *_ts_comment(definition, ""),
            f"export interface {_TYPESCRIPT.names.get(name, name)} {{",
            *_ts_fields(definition),
            "}",
            "",
        ]
    envelope = {**schema, "properties": _without_coupled(schema)}
    lines += ["/** What every event has. */", "export interface Envelope {", *_ts_fields(envelope), "}", ""]
    for family, types in families().items():
        lines += [
            _ts_union(f"{family}Type", [json.dumps(event_type) for event_type in types]),
            f"export interface Gateway{family}Event extends Envelope {{",
            f"  type: {family}Type;",
            f"  data: {family};",
            "}",
            "",
        ]
    members = [f"Gateway{family}Event" for family in families()]
    lines += [*_ts_comment(schema, ""), _ts_union("GatewayEvent", members)]
    return "\n".join(lines) + "\n"


def _ts_union(name: str, members: list[str]) -> str:
    return f"export type {name} =" + "".join(f"\n  | {member}" for member in members) + ";"


def _ts_fields(definition: Schema) -> Iterator[str]:
    required = definition.get("required", [])
    for name, field in definition["properties"].items():
        yield from _ts_comment(field, "  ")
        yield f"  {name}{'' if name in required else '?'}: {_type(field, _TYPESCRIPT)};"


def _ts_comment(schema: Schema, indent: str) -> Iterator[str]:
    if text := schema.get("description"):
        yield f"{indent}/** {text} */"


# Python --------------------------------------------------------------------------------------------------------------


def python() -> str:
    """The event as ``TypedDict`` classes that need nothing but the standard library (3.11+)."""
    schema = json_schema()
    lines = [
        f'"""The canonical event, schema {SCHEMA_VERSION}, as json.loads gives it. Generated; do not edit."""',
        "",
        "from typing import Any, Literal, NotRequired, TypedDict",
        "",
    ]
    names = list(schema["$defs"])
    for name in sorted(names, key=lambda name: _depth(schema, name)):  # what is referred to comes first
        lines += _python_class(name, "TypedDict", schema["$defs"][name])
    lines += _python_class("Envelope", "TypedDict", {**schema, "properties": _without_coupled(schema)})
    for family, types in families().items():
        lines += [
            "",
            f"class {family}Event(Envelope):",
            "    type: Literal[",
            *(f"        {json.dumps(event_type)}," for event_type in types),
            "    ]",
            f"    data: {family}",
            "",
        ]
    lines += ["", "Event = " + " | ".join(f"{family}Event" for family in families())]
    return "\n".join(lines) + "\n"


def _python_class(name: str, base: str, definition: Schema) -> Iterator[str]:
    required = definition.get("required", [])
    yield from ("", f"class {name}({base}):", f'    """{definition["description"]}"""', "")
    for field_name, field in definition["properties"].items():
        kind = _type(field, _PYTHON)
        yield f"    {field_name}: {kind if field_name in required else f'NotRequired[{kind}]'}"
        if text := field.get("description"):
            yield f'    """{text}"""'
    yield ""


def _depth(schema: Schema, name: str) -> int:
    inner = [reference.removeprefix(_REF) for reference in _references(schema["$defs"][name])]
    return 1 + max((_depth(schema, reference) for reference in inner), default=0)


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(reference := schema.get("$ref"), str):
            yield reference
        schema = list(schema.values())
    if isinstance(schema, list):
        for inner in schema:
            yield from _references(inner)


# Both ----------------------------------------------------------------------------------------------------------------


def _without_coupled(schema: Schema) -> Schema:
    """The fields of the envelope: ``type`` and ``data`` belong together and are written once a family."""
    return {name: field for name, field in schema["properties"].items() if name not in {"type", "data"}}


def _type(schema: Schema, language: _Language) -> str:
    """A field's type. Raises ``KeyError`` for a form of schema that event.py does not use yet."""
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix(_REF)
        return language.names.get(name, name)
    if "const" in schema or "enum" in schema:
        return language.literals([json.dumps(value) for value in schema.get("enum") or [schema["const"]]])
    if "anyOf" in schema:
        return " | ".join(_type(part, language) for part in schema["anyOf"])
    return language.simple[schema["type"]] if "type" in schema else language.anything


FILES: dict[str, Callable[[], str]] = {"event.schema.json": json_text, "event.ts": typescript}
"""What lies beside this file, and what makes it."""


def main(arguments: list[str]) -> int:
    """Write the files; with ``--check`` only say which are not current. The exit code is their number."""
    stale = [name for name, make in FILES.items() if not _is_current(FOLDER / name, make())]
    for name in stale:
        if "--check" in arguments:
            sys.stderr.write(f"schemas/{name} is not current; run: python -m schemas.generate\n")
        else:
            (FOLDER / name).write_text(FILES[name](), "utf-8")
    return len(stale) if "--check" in arguments else 0


def _is_current(path: Path, content: str) -> bool:
    return path.is_file() and path.read_text("utf-8") == content


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
