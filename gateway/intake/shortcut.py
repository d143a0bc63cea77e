"""The way of ``/in/`` past the framework.

Litestar's routing, its state object and its exception middleware take about 15 µs of a request, a third of all that is
spent on one (measured); the intake uses none of it, as it answers every error itself. So a webhook goes from the server
straight to the endpoint, and everything else to Litestar, which has the endpoint mounted as well.
"""

from gateway.intake.bodies import Receive
from gateway.intake.endpoint import Endpoint, Scope, Send


def shortcut(endpoint: Endpoint, app: object) -> object:
    """An ASGI app: ``endpoint`` for ``/in/…``, ``app`` for the rest."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["raw_path"].startswith(b"/in/"):
            await endpoint(scope, receive, send)
        else:
            await app(scope, receive, send)  # type: ignore[operator]  # any ASGI app; its types name its own scopes

    return call
