"""The schedule: what follows an attempt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import SubscriberSettings
from gateway.delivery.outcome import Outcome, answered
from gateway.delivery.schedule import Again, Dead, Done, next_step

NOW_MS = 1_800_000_000_000
RETRY_S = SubscriberSettings(name="crm", url="", secrets=()).retry_s
DELIVERED = Outcome(True, "", 204, None, b"", 0.1, "")


def failure(retry_after: str | None = None, status: int = 503) -> Outcome:
    """A failed attempt."""
    return answered(status, retry_after, b"", 0.1, NOW_MS)


def wait_s(outcome: Outcome, attempt: int, jitter: float = 0.5) -> float:
    """The wait the schedule chose."""
    step = next_step(outcome, attempt, RETRY_S, NOW_MS, jitter)
    assert isinstance(step, Again)
    return (step.due_ms - NOW_MS) / 1000


def test_a_delivered_event_is_done() -> None:
    """Nothing follows a delivery, not even where it was the last attempt."""
    assert next_step(DELIVERED, 1, RETRY_S, NOW_MS, 0.0) == Done()
    assert next_step(DELIVERED, 10, RETRY_S, NOW_MS, 0.0) == Done()


def test_the_default_schedule() -> None:
    """Without spread the waits are those the design lists, and the tenth failure is the last."""
    assert [wait_s(failure(), n) for n in range(1, 10)] == [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
    assert next_step(failure(), 10, RETRY_S, NOW_MS, 0.5) == Dead("http_503")


def test_the_spread_is_a_fifth_to_either_side() -> None:
    """The smallest and the largest jitter give 80 % and just under 120 % of the wait."""
    assert wait_s(failure(), 2, 0.0) == 240
    assert wait_s(failure(), 2, 0.999999) == pytest.approx(360, abs=0.01)


def test_no_retries_means_dead_at_once() -> None:
    """An empty schedule makes the first failure the last."""
    assert next_step(failure(), 1, (), NOW_MS, 0.5) == Dead("http_503")


def test_a_longer_retry_after_is_honoured() -> None:
    """Nobody comes back sooner than the subscriber asked, whatever the jitter."""
    assert wait_s(failure("60"), 1, 0.0) == 60
    assert wait_s(failure("60"), 1, 0.5) == 66


def test_a_shorter_retry_after_changes_nothing() -> None:
    """The schedule's own wait stands where it is the longer one."""
    assert wait_s(failure("60"), 2) == 300
    assert wait_s(failure("0"), 1) == 5


def test_a_retry_after_does_not_add_attempts() -> None:
    """A subscriber that says "later" for ever still ends as a dead letter."""
    assert next_step(failure("60"), 10, RETRY_S, NOW_MS, 0.5) == Dead("http_503")


def test_gone_is_dead_and_disables() -> None:
    """410 ends a delivery at its first attempt and disables the subscriber."""
    assert next_step(failure(status=410), 1, RETRY_S, NOW_MS, 0.5) == Dead("gone", disables=True)


@given(
    attempt=st.integers(1, 9),
    jitter=st.floats(0, 1, exclude_max=True),
    retry_after=st.one_of(st.none(), st.text(), st.integers().map(str)),
    retry_s=st.lists(st.floats(0.001, 10 * 86_400), min_size=9, max_size=9),
)
def test_a_due_time_is_always_ahead_and_within_a_day(
    attempt: int, jitter: float, retry_after: str | None, retry_s: list[float]
) -> None:
    """Whatever is configured and whatever a subscriber asks for, the next attempt is due between now and 24 h on."""
    step = next_step(failure(retry_after), attempt, retry_s, NOW_MS, jitter)
    assert isinstance(step, Again)
    assert NOW_MS <= step.due_ms <= NOW_MS + 86_400_000
