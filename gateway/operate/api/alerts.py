"""``/api/alerts/test``: does an alert arrive?"""

from typing import Any

from litestar import Request, post

from gateway.operate.alerts import Alerts, AlertTrial
from gateway.operate.api.documented import BAD_REQUEST, UNAVAILABLE, documented


def routes(alerts: Alerts) -> list[Any]:
    """The handler."""

    @post(
        "/alerts/test",
        summary="Send a test alert",
        operation_id="test_alert",
        status_code=200,
        responses=documented(BAD_REQUEST, UNAVAILABLE),
    )
    async def test_alert(request: Request[Any, Any, Any]) -> AlertTrial:
        """Posts `alert.test` to the URL under `[alerts]`, once, and says what came back."""
        return await alerts.test(request.user.name)

    return [test_alert]
