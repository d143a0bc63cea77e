"""The generated schema, TypeScript and Python say what ``schemas/event.py`` says."""

import copy
import json
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from schemas import generate
from schemas.event import EVENT_TYPES, FAMILY_OF, SCHEMA_ID, Event

SCHEMA = generate.json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
FIXTURES = Path(__file__).parent.parent / "fixtures"
_WRONG_VALUES: dict[str, Any] = {"integer": 7, "string": "", "null": None, "boolean": False, "array": [], "object": {}}


Place = tuple[tuple[str, ...], dict[str, Any], bool]


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema, or the definition it refers to."""
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return found


def _full(schema: dict[str, Any]) -> Any:
    """A value with every field the schema knows: the most that can be removed or given another type."""
    schema = _resolved(schema)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return _full(schema["anyOf"][0])
    if "examples" in schema:
        return schema["examples"][0]
    if "properties" in schema:
        return {name: _full(field) for name, field in schema["properties"].items() if name != "data"}
    samples = {"^\\+": "+5511999999999", "^-?": "10.50", "^[0-9a-f]": "0" * 64, "^evt": "evt_" + "a" * 26}
    if "pattern" in schema:
        return next(value for start, value in samples.items() if schema["pattern"].startswith(start))
    return {"string": "text", "boolean": True, "object": {"any": "thing"}}.get(schema.get("type", ""), {"any": 1})


def _event(event_type: str) -> dict[str, Any]:
    family = SCHEMA["$defs"][FAMILY_OF[event_type].__name__]
    return {**_full(SCHEMA), "type": event_type, "data": _full(family)}


def _places(value: Any, schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[Place]:
    """Every field inside a value that the schema knows: its path, its own schema, whether it is required."""
    schema = _resolved(schema)
    for name, inner in schema.get("properties", {}).items():
        field = _resolved(inner)
        if path == () and name == "data":
            field = SCHEMA["$defs"][FAMILY_OF[value["type"]].__name__]
        yield (*path, name), field, name in schema.get("required", [])
        yield from _places(value[name], field, (*path, name))


def _changed(value: dict[str, Any], path: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A copy of ``value``, and the object inside it that holds the last part of ``path``."""
    whole = copy.deepcopy(value)
    holder = whole
    for part in path[:-1]:
        holder = holder[part]
    return whole, holder


ONE_OF_EACH_FAMILY = [types[0] for types in generate.families().values()]
PLACES = [
    pytest.param(event_type, place, field, required, id=f"{event_type}:{'.'.join(place)}")
    for event_type in ONE_OF_EACH_FAMILY
    for place, field, required in _places(_event(event_type), SCHEMA)
]


def test_generated_files_are_current() -> None:
    """The files beside event.py are what it generates today."""
    assert generate.main(["--check"]) == 0


def test_a_stale_file_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--check counts a file that differs and one that is missing, and writing mends both."""
    (tmp_path / "event.ts").write_text("// old\n")
    monkeypatch.setattr(generate, "FOLDER", tmp_path)
    assert generate.main(["--check"]) == 2
    assert "python -m schemas.generate" in capsys.readouterr().err
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0


def test_the_schema_is_a_schema() -> None:
    """It is valid JSON Schema 2020-12 under the name that CloudEvents' dataschema gives."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$id"] == SCHEMA_ID
    assert SCHEMA["$schema"].endswith("2020-12/schema")


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_a_full_event_of_each_type_holds(event_type: str) -> None:
    """Every field at once validates, and msgspec reads it as the same event."""
    event = _event(event_type)
    VALIDATOR.validate(event)
    assert msgspec.to_builtins(msgspec.convert(event, Event)) == event


@pytest.mark.parametrize("event_type", EVENT_TYPES)
@pytest.mark.parametrize("family", sorted({family.__name__ for family in FAMILY_OF.values()}))
def test_type_decides_the_kind_of_data(event_type: str, family: str) -> None:
    """message.sent with a booking's data is refused, and so is every other pair that does not belong together."""
    event = {**_event(event_type), "data": {"kind": family.lower()}}
    assert VALIDATOR.is_valid(event) == (FAMILY_OF[event_type].__name__ == family)


@pytest.mark.parametrize(("event_type", "place", "field", "required"), PLACES)
def test_each_field_is_held_to_what_it_is(
    event_type: str, place: tuple[str, ...], field: dict[str, Any], required: bool
) -> None:
    """A required field that is missing, a field of another type, and a field nobody knows are refused."""
    event = _event(event_type)
    without, holder = _changed(event, place)
    del holder[place[-1]]
    assert VALIDATOR.is_valid(without) != required

    for kind, value in _WRONG_VALUES.items():
        retyped, holder = _changed(event, place)
        holder[place[-1]] = value
        assert VALIDATOR.is_valid(retyped) == _fits(kind, field)

    unknown, holder = _changed(event, place)
    holder["nobody_knows_this"] = 1
    assert not VALIDATOR.is_valid(unknown)


def _fits(kind: str, field: dict[str, Any]) -> bool:
    """Whether the emptiest value of a JSON type is one the field allows."""
    if field.keys() & {"const", "enum", "pattern"}:
        return False
    if "anyOf" in field:
        return any(_fits(kind, part) for part in field["anyOf"])
    if "type" not in field:
        return True
    return kind == field["type"] and not field.get("required")


EXPECTED = sorted(FIXTURES.glob("**/expected.json"))


@pytest.mark.parametrize("path", EXPECTED, ids=lambda path: f"{path.parent.parent.name}/{path.parent.name}")
def test_every_fixture_yields_events_of_the_schema(path: Path) -> None:
    """What the adapters' cases expect validates against the schema we publish."""
    expected = json.loads(path.read_text("utf-8"))
    events = expected if isinstance(expected, list) else []
    assert events or expected.get("outcome") in {"ignored", "quarantined"}
    for event in events:
        VALIDATOR.validate(event)


def test_typescript_tells_events_apart_by_type() -> None:
    """Each type stands in exactly one union, beside the data that goes with it, and every field is written."""
    source = generate.typescript()
    for event_type in EVENT_TYPES:
        assert source.count(f'| "{event_type}"') == 1
    for family in generate.families():
        assert (
            f"export interface Gateway{family}Event extends Envelope {{\n  type: {family}Type;\n  data: {family};"
            in source
        )
        for field in SCHEMA["$defs"][family]["properties"]:
            assert f"  {field}?: " in source or f"  {field}: " in source


def test_typescript_is_read_by_a_compiler() -> None:
    """tsc, where there is one, takes the file in strict mode."""
    tsc = shutil.which("tsc")
    if tsc is None:
        pytest.skip("tsc is not installed")
    done = subprocess.run(
        [tsc, "--strict", "--noEmit", str(generate.FOLDER / "event.ts")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_python_types_run_and_name_the_same_fields() -> None:
    """The Python types need only the standard library, and each class has the fields of its definition."""
    module = types.ModuleType("consumer")
    exec(compile(generate.python(), "consumer.py", "exec"), module.__dict__)
    for name, definition in SCHEMA["$defs"].items():
        made = getattr(module, name)
        assert set(made.__annotations__) == set(definition["properties"])
        assert made.__required_keys__ == set(definition.get("required", []))
    assert set(module.MessageEvent.__annotations__) == set(SCHEMA["properties"])


def test_the_command_of_the_docstring_works() -> None:
    """python -m schemas.generate --check runs as written."""
    command = [sys.executable, "-m", "schemas.generate", "--check"]
    assert subprocess.run(command, cwd=generate.FOLDER.parent, capture_output=True).returncode == 0
