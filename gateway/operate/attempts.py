"""Attempts that the store remembers, as they are shown."""

from collections.abc import Mapping

from gateway.operate.views import AttemptItem
from gateway.store.parked import Attempt
from schemas.timestamps import format_ms

_FAILED: Mapping[str, str] = {
    "timeout": "no whole answer in time",
    "dns": "could not look its name up",
    "connect": "could not connect",
    "tls": "could not connect securely",
    "reset": "the connection broke off before the answer",
    "protocol": "the answer is not HTTP",
    "redirect": "failed, answered with a redirect",
    "gone": "failed, answered 410 Gone",
    "refused_target": "not sent: deliveries may not go to its address",
    "internal": "not made, through a defect of the gateway",
    "closed": "no answer before the gateway stopped",
}
"""Cause of a failed delivery → what became of one attempt. Each says that it failed: ``connect`` alone does not."""


def attempt_words(attempt: Attempt) -> str:
    """What became of it, and after how long."""
    cause = attempt.cause
    if cause.startswith("http_"):
        what = f"failed, answered {cause.removeprefix('http_')}"
    elif cause:
        what = _FAILED.get(cause, f"failed with {cause}")
    else:
        what = "delivered" if attempt.status is None else f"delivered, answered {attempt.status}"
    return f"{what}, after {attempt.duration_ms} ms"


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
