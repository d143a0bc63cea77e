"""What follows an attempt: done, again at a time, or dead letter. Pure.

With the default schedule a delivery is tried ten times: at once, then after 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 14 h, 20 h
and 24 h, each wait counted from the failure before it and spread by 20 % to either side, so that deliveries that failed
together do not come back together.
"""

from collections.abc import Sequence

import msgspec

from gateway.delivery.outcome import Outcome

SPREAD = 0.2
"""A wait is between 80 % and 120 % of what the schedule says."""
MAX_WAIT_S = 86_400.0
"""No wait is longer, spread and ``Retry-After`` included. The lanes take a due time more than 25 h ahead for a clock
that jumped."""


class Done(msgspec.Struct, frozen=True, gc=False):
    """Delivered."""


class Again(msgspec.Struct, frozen=True, gc=False):
    """Park it."""

    due_ms: int
    """When the next attempt is due, in milliseconds since the epoch."""


class Dead(msgspec.Struct, frozen=True, gc=False):
    """It becomes a dead letter."""

    cause: str
    """The last attempt's cause."""
    disables: bool = False
    """The subscriber is gone and is to be disabled."""


Step = Done | Again | Dead

_DONE = Done()


def next_step(outcome: Outcome, attempt: int, retry_s: Sequence[float], now_ms: int, jitter: float) -> Step:
    """Say what follows attempt number ``attempt`` (from 1), which ended at ``now_ms`` with ``outcome``.

    ``retry_s[n - 1]`` is the wait after attempt n; where the list ends, so do the attempts. ``jitter`` is a random
    number in [0, 1). A longer ``Retry-After`` replaces the wait, and is spread upwards only, by up to 20 %: nobody is
    called sooner than asked.
    """
    if outcome.delivered:
        return _DONE
    if outcome.disables or attempt > len(retry_s):
        return Dead(outcome.cause, outcome.disables)
    wait_s = retry_s[attempt - 1] * (1 - SPREAD + 2 * SPREAD * jitter)
    if outcome.retry_after_s is not None:
        wait_s = max(wait_s, outcome.retry_after_s * (1 + SPREAD * jitter))
    return Again(now_ms + round(min(wait_s, MAX_WAIT_S) * 1000))
