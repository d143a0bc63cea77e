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

from gateway.operate.access import Access
from gateway.operate.gate import COOKIE, gate
from gateway.operate.refusals import SECURITY_HEADERS, exception_handlers

Described = dict[str, Any]

_COMPONENTS = "#/components/schemas/"
_DEFINITIONS = "#/$defs/"

OPEN = ("/healthz", "/readyz")
"""The described paths that need no token."""

EXAMPLE: Described = {
    "id": "evt_hdvgbpm7wgvb2yt2wqsgnew4cu",
    "type": "message.received",
    "schema": "1.0",
    "occurred_at": "2026-02-03T12:00:00.000Z",
    "received_at": "2026-02-03T12:00:00.412Z",
    "provider": "enviaai",
    "source": "enviaai-br",
    "account": "inst_xyz789",
    "channel": "whatsapp",
    "ordering_key": "chat_def456",
    "origin": "live",
    "data": {
        "kind": "message",
        "message_id": "msg_abc123",
        "conversation_id": "chat_def456",
        "direction": "inbound",
        "sender": {"id": "5511999999999", "phone": "+5511999999999", "name": "John Doe", "role": "customer"},
        "content": {"type": "text", "text": "Hello!"},
        "is_group": False,
    },
    "provenance": {
        "provider_type": "message.received",
        "provider_id": None,
        "adapter": "enviaai/1",
        "verified": "hmac-sha256",
        "raw_sha256": "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c",
    },
}
"""An event as the API lists it (without raw)."""


def openapi_config(access: Access) -> OpenAPIConfig:
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
                    name=COOKIE,
                    description="A browser that logged in; changes need the header x-csrf-token too.",
                ),
            }
        ),
        security=[{"token": []}, {"session": []}],
        render_plugins=[_Json(), _Yaml()],
        openapi_router=Router(
            "/schema",
            route_handlers=[],
            guards=[gate(access)],
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
    paths = {path: _open(operations) if path in OPEN else operations for path, operations in described["paths"].items()}
    return {
        **described,
        "paths": paths,
        "components": {**described["components"], "schemas": schemas},
        "webhooks": {"event": {"post": _delivery(event)}},
    }


def _open(operations: Described) -> Described:
    """Without a token. (The framework drops an empty list, which is how OpenAPI says so.)"""
    return {method: {**operation, "security": []} for method, operation in operations.items()}


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
        "gateway-attempt": "Which attempt this is, from 1.",
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
