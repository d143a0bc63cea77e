"""The description of the whole gateway's API: complete for every operation, and its examples fit its schemas."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from litestar.routes import HTTPRoute

from gateway.app import Gateway
from gateway.config import load
from gateway.config_file.written import read_written
from gateway.operate.api.bodies import SubscriberNew
from gateway.operate.api.description import with_events

NO_PROBLEMS = ("healthz", "readyz")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    """One that is built and never started."""
    folder: Path = tmp_path_factory.mktemp("described")
    (folder / "gateway.toml").write_text('[store]\nurl = "embedded:./data"\n')
    return Gateway(load(folder / "gateway.toml", {}), role="all", listen=("127.0.0.1", 1))


@pytest.fixture(scope="module")
def described(gateway: Gateway) -> dict[str, Any]:
    """What ``/schema/openapi.json`` answers."""
    return with_events(gateway.app.openapi_schema.to_schema())


def operations(described: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and operation of everything that can be asked."""
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def media_of(described: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every JSON body and answer there is, with the name of its operation and place."""
    for _, _, operation in operations(described):
        name = operation["operationId"]
        for place, holder in [("body", operation.get("requestBody", {})), *operation["responses"].items()]:
            for kind, media in holder.get("content", {}).items():
                if "json" in kind and (name, place) != ("readyz", "503"):
                    yield f"{name} {place}", media


def judge(described: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    """Judges with the description's components."""
    return Draft202012Validator({**schema, "components": described["components"]})


def test_every_route_is_described(gateway: Gateway, described: dict[str, Any]) -> None:
    """Nothing under ``/api`` can be asked that is not told, and nothing is told twice under one name."""
    routes = {
        (method.lower(), route.path_format)
        for route in gateway.app.routes
        if isinstance(route, HTTPRoute) and route.path.startswith("/api")
        for method in route.methods - {"OPTIONS", "HEAD"}
    }
    told = {(method, path) for method, path, _ in operations(described) if path.startswith("/api")}
    assert routes == told
    assert len(routes) >= 28
    names = [operation["operationId"] for _, _, operation in operations(described)]
    assert len(names) == len(set(names))


def test_every_operation_is_complete(described: dict[str, Any]) -> None:
    """A summary, a description, an example of its body and of its answer, its refusals as problems."""
    for method, path, operation in operations(described):
        where = f"{method} {path}"
        assert operation.get("summary"), where
        assert operation.get("description"), where
        good = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
        assert good, where
        assert all("example" in media for answer in good for media in answer["content"].values()), where
        for media in operation.get("requestBody", {}).get("content", {}).values():
            assert "example" in media, where
        if operation["operationId"] in NO_PROBLEMS:
            continue
        for status in ("401", "403", "503"):
            assert "application/problem+json" in operation["responses"][status]["content"], where
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), (where, parameter["name"])


def test_the_examples_fit_their_schemas(described: dict[str, Any]) -> None:
    """Each is valid; and a schema that took anything would be noticed, for it takes no list."""
    looked_at = 0
    for where, media in media_of(described):
        assert "example" in media, where
        found = judge(described, media["schema"])
        assert [error.message for error in found.iter_errors(media["example"])] == [], where
        assert list(found.iter_errors([1])), where
        looked_at += 1
    assert looked_at > 100


def test_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    """No ``$ref`` into the void."""
    names = set(re.findall(r"'#/components/schemas/([^']+)'", str(described)))
    assert names <= set(described["components"]["schemas"])
    assert {"SubscriberNew", "SubscriberPatch", "Event", "Trace"} <= names


def test_a_subscribers_body_has_the_fields_that_the_reader_knows(tmp_path: Path) -> None:
    """The reader names its keys when it meets one that it does not know."""
    found = read_written("crm", {"nothing": 1}, tmp_path, {}, {})
    (mistake,) = [each for each in found.mistakes if each.at == "nothing"]
    known = {word.strip() for word in mistake.why.rpartition("one of ")[2].split(",")}
    assert known | {"name"} == set(SubscriberNew.__struct_fields__)
