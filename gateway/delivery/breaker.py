"""When a subscriber is in trouble, stop sending, and find out with one event at a time whether it is back. Pure.

*Closed*: deliveries run. After ``TRIP_FAILURES`` failures in a row, or when most of the last attempts failed, it
*opens*: nothing is sent, no attempt is used up, the cursor stops. After a wait one real event goes as a probe; if it is
delivered the breaker closes, else the wait doubles. Answers that speak about one event (400, 422 …) are no trouble of
the subscriber's and do not count.
"""

from collections import deque

import msgspec

from gateway.delivery.outcome import Outcome

ABOUT_THE_SUBSCRIBER = frozenset({401, 403, 404, 407, 408, 429})
"""Statuses of the 4xx that say that nothing will get through, rather than that this event is not wanted."""

SPREAD = 0.2


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """When it trips, and how patient it is."""

    trip_failures: int = 10
    """Failures in a row."""
    trip_rate: float = 0.7
    """Or this part of the last ``rate_over`` attempts."""
    rate_over: int = 100
    first_wait_s: float = 5.0
    longest_wait_s: float = 300.0


class BreakerState(msgspec.Struct, frozen=True, kw_only=True):
    """What outlives the process: kept in the store with the subscriber."""

    open: bool = False
    since_ms: int = 0
    """When it opened, or closed."""
    probe_ms: int = 0
    """When the next probe is due."""
    wait_s: float = 0.0
    asked_s: float = 0.0
    """What its ``Retry-After`` asked for, up to a day: nobody is called sooner than asked, but for ``hurry.py``."""
    failures: int = 0
    """In a row, when it opened."""
    cause: str = ""


class Breaker:
    """One subscriber's breaker in one process, for all partitions."""

    def __init__(self, state: BreakerState, rules: Rules) -> None:
        self.state = state
        self._rules = rules
        self._in_a_row = 0
        self._recent: deque[bool] = deque(maxlen=rules.rate_over)
        self._failed_recently = 0

    @property
    def is_open(self) -> bool:
        """Whether deliveries are held."""
        return self.state.open

    def probe_due(self, now_ms: int) -> bool:
        """Whether one event may go to find out. A probe further ahead than any wait was set before the clock jumped."""
        ahead_ms = self.state.probe_ms - now_ms
        longest_s = max(self._rules.longest_wait_s, self.state.asked_s)
        return self.state.open and (ahead_ms <= 0 or ahead_ms > 3_000 * longest_s)

    def adopt(self, state: BreakerState) -> None:
        """Go on with what another process has found. Where that is closed, old failures count no more."""
        self.state = state
        if not state.open:
            self._forget()

    def note(self, outcome: Outcome, now_ms: int) -> bool:
        """An ordinary attempt has ended. True if the breaker opened by it."""
        if not outcome.delivered and not is_trouble(outcome):
            return False
        failed = not outcome.delivered
        if len(self._recent) == self._rules.rate_over:
            self._failed_recently -= self._recent[0]
        self._recent.append(failed)
        self._failed_recently += failed
        if not failed:
            self._in_a_row = 0
            return False
        self._in_a_row += 1
        full = len(self._recent) == self._rules.rate_over
        rate = self._failed_recently / self._rules.rate_over
        if self.state.open or (
            self._in_a_row < self._rules.trip_failures and not (full and rate >= self._rules.trip_rate)
        ):
            return False
        self._open(outcome, now_ms, self._rules.first_wait_s, since_ms=now_ms)
        return True

    def probed(self, outcome: Outcome, now_ms: int, jitter: float) -> bool:
        """A probe has ended. True if the breaker closed by it. ``jitter``: a random number in [0, 1)."""
        if outcome.delivered or not is_trouble(outcome):
            self.state = BreakerState(since_ms=now_ms)
            self._forget()
            return True
        wait_s = min(self.state.wait_s * 2, self._rules.longest_wait_s) * (1 - SPREAD + 2 * SPREAD * jitter)
        self._open(outcome, now_ms, wait_s, since_ms=self.state.since_ms)
        return False

    def _forget(self) -> None:
        self._in_a_row = self._failed_recently = 0
        self._recent.clear()

    def _open(self, outcome: Outcome, now_ms: int, wait_s: float, *, since_ms: int) -> None:
        asked_s = outcome.retry_after_s or 0.0
        self.state = BreakerState(
            open=True,
            since_ms=since_ms,
            probe_ms=now_ms + round(max(wait_s, asked_s) * 1000),
            wait_s=wait_s,
            asked_s=asked_s,
            failures=max(self._in_a_row, self.state.failures),
            cause=outcome.cause,
        )


def is_trouble(outcome: Outcome) -> bool:
    """Whether a failure says something about the subscriber, and not only about the event."""
    if outcome.delivered:
        return False
    status = outcome.status
    return status is None or status >= 500 or status < 400 or status in ABOUT_THE_SUBSCRIBER
