"""``/api/ledger``, ``/api/status``, ``/api/audit``: is anything lost?"""

from typing import Any

from litestar import get

from gateway.operate.absence import AwayBody
from gateway.operate.api.documented import UNAVAILABLE, documented
from gateway.operate.desk import Desk
from gateway.operate.views import AuditAnswer, Status
from gateway.store.ledger import Ledger


def routes(desk: Desk) -> list[Any]:
    """The handlers."""

    away = documented(UNAVAILABLE, unavailable=AwayBody)

    @get("/ledger", summary="The equation", operation_id="ledger", responses=away)
    async def ledger() -> Ledger:
        """Every request and every event is in exactly one place; `unaccounted` is what is in none."""
        return await desk.ledger()

    @get("/status", summary="Everything at a glance", operation_id="status", responses=away)
    async def status() -> Status:
        """Sources, subscribers, store, and open problems with the command that helps."""
        return await desk.status()

    @get("/audit", summary="The equation, counted again", operation_id="audit", responses=documented(UNAVAILABLE))
    async def audit() -> AuditAnswer:
        """Recounts from the log and the lists, never from the counters. Takes a second per 100 000 events or so."""
        found = await desk.audit()
        return AuditAnswer(ledger=found.ledger, findings=found.findings)

    return [ledger, status, audit]
