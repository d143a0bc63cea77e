"""``/schema/openapi.json`` and ``.yaml``: what this gateway answers, and the events it sends.

JSON and YAML only: the framework's pages for reading it load scripts from other hosts.
"""

from litestar import Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin

from gateway.operate.access import Access
from gateway.operate.gate import gate
from gateway.operate.refusals import SECURITY_HEADERS


def openapi_config(access: Access) -> OpenAPIConfig:
    """The description, behind the same gate as what it describes."""
    return OpenAPIConfig(
        title="Webhook gateway",
        version="1.0.0",
        render_plugins=[JsonRenderPlugin(), YamlRenderPlugin()],
        openapi_router=Router(
            "/schema",
            route_handlers=[],
            guards=[gate(access)],
            include_in_schema=False,
            response_headers=SECURITY_HEADERS,
        ),
    )
