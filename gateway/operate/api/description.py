"""``/schema/openapi.json`` and ``.yaml``: what this gateway answers, and the events it sends.

JSON and YAML only: the framework's pages for reading it load scripts from other hosts. The framework describes the
operations; the canonical event comes from ``schemas/event.schema.json``, so that there is one description of it.
"""

from importlib import resources
from typing import Any

import msgspec
from litestar import Request, Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from gateway import problems
from gateway.operate.api import examples
from gateway.operate.api.bodies import OPTIONAL, body_schemas
from gateway.operate.api.examples_overview import EVENT as EXAMPLE
from gateway.operate.gate import Door, gate
from gateway.operate.refusals import SECURITY_HEADERS, exception_handlers
from gateway.problems import Problem

Described = dict[str, Any]

PROBLEMS = [each for each in vars(problems).values() if isinstance(each, Problem)]

_COMPONENTS = "#/components/schemas/"
_DEFINITIONS = "#/$defs/"

OPEN = ("/healthz", "/readyz")
"""The described paths that need no token."""


def openapi_config(door: Door) -> OpenAPIConfig:
    """The description, behind the same gate as what it describes."""
    return OpenAPIConfig(
        title="Webhook gateway",
        version="1.0.0",
        description="What operators and consumers may ask of a gateway, and the events it delivers (`webhooks`).",
        use_handler_docstrings=True,
        components=Components(
            security_schemes={
                "token": SecurityScheme(type="http", scheme="bearer", description="A token of role read or operate."),
                "session": SecurityScheme(
                    type="apiKey",
                    security_scheme_in="cookie",
                    name=door.cookie,
                    description="A browser that logged in; changes need the header x-csrf-token too.",
                ),
            }
        ),
        security=[{"token": []}, {"session": []}],
        render_plugins=[_Json(), _Yaml()],
        openapi_router=Router(
            "/schema",
            route_handlers=[],
            guards=[gate(door)],
            exception_handlers=exception_handlers(),
            include_in_schema=False,
            response_headers=SECURITY_HEADERS,
        ),
    )


class _Json(JsonRenderPlugin):
    def render(self, request: Request[Any, Any, Any], openapi_schema: Described) -> bytes:
        return super().render(request, with_events(openapi_schema))


class _Yaml(YamlRenderPlugin):
    def render(self, request: Request[Any, Any, Any], openapi_schema: Described) -> bytes:
        return super().render(request, with_events(openapi_schema))


def with_events(described: Described) -> Described:
    """The framework's description, with the canonical event where the operations answer one, and as a webhook."""
    schemas = {**described["components"]["schemas"], **event_schemas()}
    event = {"$ref": f"{_COMPONENTS}Event"}
    schemas["EventPage"] = _with_property(schemas["EventPage"], "items", {"type": "array", "items": event})
    schemas["EventDetail"] = _with_property(schemas["EventDetail"], "event", event)
    bodies, components = body_schemas()
    schemas = {**components, **schemas}
    paths = {
        path: {
            method: _with_examples(_open(operation) if path in OPEN else operation, bodies)
            for method, operation in operations.items()
        }
        for path, operations in described["paths"].items()
    }
    whole = {
        **described,
        "paths": paths,
        "components": {**described["components"], "schemas": schemas},
        "webhooks": {"event": {"post": _delivery(event)}},
    }
    plain: Described = msgspec.json.decode(msgspec.json.encode(whole))  # YAML has no form for tuples and enumerations
    return plain


def _open(operation: Described) -> Described:
    """Without a token. (The framework drops an empty list, which is how OpenAPI says so.)"""
    return {**operation, "security": []}


def _with_examples(operation: Described, bodies: Described) -> Described:
    """With the body that its handler reads by hand, and an example of each body and answer."""
    name = operation["operationId"]
    found = {**operation, "responses": dict(operation["responses"])}
    if name in bodies:
        content = {"application/json": {"schema": bodies[name]}}
        found["requestBody"] = {"required": name not in OPTIONAL, "content": content}
    if name in examples.BODIES:
        found["requestBody"] = _with_example(found["requestBody"], examples.BODIES[name])
    for status, response in operation["responses"].items():
        if status.startswith("2") and name in examples.ANSWERS:
            found["responses"][status] = _with_example(response, examples.ANSWERS[name])
        elif "application/problem+json" in response.get("content", {}):
            found["responses"][status] = _with_example(response, _problem(int(status), response["description"]))
        elif status == "400":  # the framework's own idea of what it answers to a wrong parameter
            title = problems.BAD_REQUEST.title
            media = {"schema": {"$ref": f"{_COMPONENTS}Body"}, "example": _problem(400, title)}
            found["responses"][status] = {"description": title, "content": {"application/problem+json": media}}
    return found


def _with_example(content_of: Described, example: Any) -> Described:
    content = {kind: {**media, "example": example} for kind, media in content_of["content"].items()}
    return {**content_of, "content": content}


def _problem(status: int, title: str) -> Described:
    """What a refusal looks like; the title is that of its kind."""
    code = next((each.code for each in PROBLEMS if (each.status, each.title) == (status, title)), "unavailable")
    return {"type": "about:blank", "title": title, "status": status, "detail": "why, in a sentence", "code": code}


def event_schemas() -> Described:
    """The canonical event and its parts, as components that refer to each other the way OpenAPI does."""
    text = (resources.files("schemas") / "event.schema.json").read_text("utf-8")
    event = msgspec.json.decode(text.replace(f'"{_DEFINITIONS}', f'"{_COMPONENTS}'), type=dict[str, Any])
    parts: Described = event.pop("$defs")
    # A component is named by its place here; an $id would make its references relative to itself.
    del event["$schema"], event["$id"]
    return {**parts, "Event": {**event, "examples": [EXAMPLE]}}


def _with_property(schema: Described, name: str, replaced: Described) -> Described:
    return {**schema, "properties": {**schema["properties"], name: replaced}}


def _delivery(event: Described) -> Described:
    signed = "Standard Webhooks: sign and verify as its specification says."
    headers = {
        "webhook-id": "The event's id. Store it and ignore repeats.",
        "webhook-timestamp": f"Seconds since the epoch at this attempt. {signed}",
        "webhook-signature": f"One signature or several, separated by spaces. {signed}",
        "gateway-attempt": "Which attempt this is, from 1; from 1 again when a dead letter was tried again.",
        "gateway-attempts-left": "How many would follow if this one failed.",
    }
    return {
        "operationId": "deliver",
        "summary": "One canonical event, to a subscriber",
        "description": "Any answer of 2xx settles it. Anything else, or none in time, is tried again later; 410 ends "
        "deliveries to this subscriber.",
        "security": [],
        "parameters": [
            {"name": name, "in": "header", "required": True, "description": words, "schema": {"type": "string"}}
            for name, words in headers.items()
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": event, "example": {**EXAMPLE, "raw": {"event": "…"}}}},
        },
        "responses": {"2XX": {"description": "Taken"}, "default": {"description": "Not taken: tried again later"}},
    }
