"""Attempts that the store remembers, as they are shown."""

from gateway.operate.views import AttemptItem
from gateway.store.parked import Attempt
from schemas.timestamps import format_ms


def attempt_item(attempt: Attempt) -> AttemptItem:
    """One of them."""
    return AttemptItem(
        number=attempt.number,
        began_at=format_ms(attempt.at_ms - attempt.duration_ms),
        at=format_ms(attempt.at_ms),
        cause=attempt.cause or None,
        status=attempt.status,
        duration_ms=attempt.duration_ms,
        probe=attempt.probe,
        before_retry=attempt.before_retry,
    )
