"""The OpenAPI description: complete, resolvable, and true of what is answered."""

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml  # type: ignore[import-untyped]  # Litestar brings it, without types
from jsonschema import Draft202012Validator
from litestar.routes import HTTPRoute

from gateway.config import StoreSettings
from gateway.operate.api.examples_overview import EVENT as EXAMPLE
from schemas.event import Event
from tests.operate.office import Office, office
from tests.operate.test_dead_api import bury


async def description(at: Office) -> dict[str, Any]:
    """As a client gets it."""
    answer = await at.reader.get("/schema/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def references(value: Any) -> Iterator[str]:
    """Every ``$ref`` in it."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for child in value.values():
            yield from references(child)
    elif isinstance(value, list):
        for child in value:
            yield from references(child)


def validator(found: dict[str, Any], name: str) -> Draft202012Validator:
    """Judges what should be of the component ``name``."""
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": found["components"]})


def test_json_and_yaml_say_the_same_and_every_reference_leads_somewhere(store_settings: StoreSettings) -> None:
    """OpenAPI 3.1, in two forms; nothing in it or beside it loads from another host."""

    async def run() -> None:
        async with office(store_settings) as at:
            found = await description(at)
            assert found["openapi"].startswith("3.1")
            assert yaml.safe_load((await at.reader.get("/schema/openapi.yaml")).text) == found
            names = set(references(found))
            assert "#/components/schemas/Event" in names
            for name in names:
                assert name.removeprefix("#/components/schemas/") in found["components"]["schemas"]
            for path in ("/schema", "/schema/redoc", "/schema/swagger", "/schema/elements"):
                assert "<script" not in (await at.reader.get(path)).text

    asyncio.run(run())


def test_every_api_route_is_described_with_its_refusals(store_settings: StoreSettings) -> None:
    """No route under ``/api`` is missing, and each names 401, 403 and 503 as problems."""

    async def run() -> None:
        async with office(store_settings) as at:
            found = await description(at)
            routes = {
                (route.path_format, method.lower())
                for route in at.app.routes
                if isinstance(route, HTTPRoute) and route.path.startswith(("/api", "/metrics"))
                for method in route.methods - {"OPTIONS"}
            }
            assert len(routes) >= 11
            for path, method in routes:
                operation = found["paths"][path][method]
                assert operation["summary"]
                for status in ("401", "403", "503"):
                    assert "application/problem+json" in operation["responses"][status]["content"], (path, status)
            assert found["paths"]["/healthz"]["get"]["security"] == []
            assert "security" not in found["paths"]["/api/ledger"]["get"]
            assert found["security"] == [{"token": []}, {"session": []}]

    asyncio.run(run())


def test_the_webhook_is_the_canonical_event(store_settings: StoreSettings) -> None:
    """``webhooks`` contains the event's schema; it takes the example and refuses one without its id."""

    async def run() -> None:
        async with office(store_settings) as at:
            found = await description(at)
            body = found["webhooks"]["event"]["post"]["requestBody"]["content"]["application/json"]
            assert body["schema"] == {"$ref": "#/components/schemas/Event"}
            judge = validator(found, "Event")
            assert list(judge.iter_errors(body["example"])) == []
            assert list(judge.iter_errors(EXAMPLE)) == []
            assert list(judge.iter_errors({**EXAMPLE, "id": "x"}))
            assert list(judge.iter_errors({**EXAMPLE, "type": "booking.created"}))
            assert msgspec.convert(EXAMPLE, Event).id == EXAMPLE["id"]

    asyncio.run(run())


def test_answers_are_what_the_description_says(store_settings: StoreSettings) -> None:
    """Each list and object, filled, is valid against its component."""

    async def run() -> None:
        async with office(store_settings) as at:
            ids = await bury(at, 2)
            await at.keep("quarantined", 1, b"[1,2]")
            found = await description(at)
            for path, name in (
                ("/api/ledger", "Ledger"),
                ("/api/status", "Status"),
                ("/api/audit", "AuditAnswer"),
                ("/api/events?raw=true", "EventPage"),
                (f"/api/events/{ids[0]}", "EventDetail"),
                ("/api/dead", "DeadPage"),
                ("/api/quarantine", "KeptPage"),
                ("/api/nothing", "Body"),
            ):
                answer = (await at.operator.get(path)).json()
                assert [error.message for error in validator(found, name).iter_errors(answer)] == [], path
                assert list(validator(found, name).iter_errors({})), path
        async with office(store_settings, away=True) as at:
            found = await description(at)
            content = found["paths"]["/api/status"]["get"]["responses"]["503"]["content"]
            assert content["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/AwayBody"}
            answer = (await at.operator.get("/api/status")).json()
            judge = validator(found, "AwayBody")
            assert list(judge.iter_errors(answer)) == []
            assert list(judge.iter_errors({**answer, "store_away": {}}))

    asyncio.run(run())
