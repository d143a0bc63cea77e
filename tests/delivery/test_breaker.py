"""The breaker alone: when it opens, when it probes, when it closes."""

import msgspec
import pytest

from gateway.delivery.breaker import Breaker, BreakerState, Rules, is_trouble
from gateway.delivery.outcome import Outcome

NOW = 1_800_000_000_000
RULES = Rules(trip_failures=3, trip_rate=0.7, rate_over=10, first_wait_s=5.0, longest_wait_s=60.0)


def outcome(status: int | None = 500, *, retry_after_s: float | None = None) -> Outcome:
    """An attempt's end: a status, or ``None`` for a connection that failed."""
    delivered = status is not None and 200 <= status < 300
    cause = "" if delivered else f"http_{status}" if status else "connect"
    return Outcome(delivered, cause, status, retry_after_s, b"", 0.01, "")


GOOD, BAD = outcome(200), outcome(500)


def opened(rules: Rules = RULES) -> Breaker:
    """A breaker that has just opened."""
    breaker = Breaker(BreakerState(), rules)
    for _ in range(rules.trip_failures):
        breaker.note(BAD, NOW)
    assert breaker.is_open
    return breaker


def test_it_opens_after_failures_in_a_row_and_says_so_once() -> None:
    """The last failure that it takes opens it, and that one alone reports the change."""
    breaker = Breaker(BreakerState(), RULES)
    assert [breaker.note(BAD, NOW) for _ in range(5)] == [False, False, True, False, False]
    assert breaker.state == BreakerState(
        open=True, since_ms=NOW, probe_ms=NOW + 5_000, wait_s=5.0, failures=3, cause="http_500"
    )


def test_a_success_in_between_begins_the_row_anew() -> None:
    """Failures that are not in a row leave it closed, as long as they are not most of the attempts."""
    breaker = Breaker(BreakerState(), Rules(trip_failures=3, rate_over=1_000))
    assert not any(breaker.note(each, NOW) for each in [BAD, BAD, GOOD] * 50)


def test_it_opens_when_most_of_the_last_attempts_failed() -> None:
    """Seven of ten failed, never three in a row: it opens with the tenth, not before there are ten."""
    breaker = Breaker(BreakerState(), RULES)
    attempts = [BAD, BAD, GOOD, BAD, BAD, GOOD, BAD, BAD, GOOD, BAD]
    assert [breaker.note(each, NOW) for each in attempts] == [False] * 9 + [True]


def test_the_rate_forgets_what_is_long_ago() -> None:
    """Only the last attempts count, so one bad hour does not open it a day later."""
    breaker = Breaker(BreakerState(), RULES)
    for each in [BAD, BAD, GOOD, BAD, BAD, GOOD, BAD, BAD, GOOD]:
        breaker.note(each, NOW)
    assert not any(breaker.note(GOOD, NOW) for _ in range(10))
    assert not any(breaker.note(each, NOW) for each in [BAD, BAD, GOOD, BAD, BAD, GOOD])


@pytest.mark.parametrize("status", [400, 405, 406, 409, 410, 413, 415, 422, 499])
def test_answers_about_one_event_do_not_count(status: int) -> None:
    """A hundred answers that speak about the event leave the breaker closed, and between failures change nothing."""
    breaker = Breaker(BreakerState(), RULES)
    assert not any(breaker.note(outcome(status), NOW) for _ in range(100))
    assert [breaker.note(each, NOW) for each in [BAD, outcome(status), BAD, outcome(status), BAD]][-1]


@pytest.mark.parametrize("status", [None, 301, 307, 401, 403, 404, 407, 408, 429, 500, 502, 503, 504, 599, 999])
def test_answers_about_the_subscriber_count(status: int | None) -> None:
    """No answer, a redirect, a refusal of everybody and any fault of the server open it."""
    breaker = Breaker(BreakerState(), RULES)
    assert [breaker.note(outcome(status), NOW) for _ in range(3)] == [False, False, True]
    assert is_trouble(outcome(status))


def test_a_probe_is_due_after_the_wait_and_only_while_it_is_open() -> None:
    """A closed breaker asks for no probe; an open one from its time on."""
    assert not Breaker(BreakerState(), RULES).probe_due(NOW)
    breaker = opened()
    assert not breaker.probe_due(NOW + 4_999)
    assert breaker.probe_due(NOW + 5_000)


def test_each_failed_probe_doubles_the_wait_up_to_the_longest() -> None:
    """Without spread: 5, 10, 20, 40, 60, 60 seconds; open since the first failure of all."""
    breaker, now, waits = opened(), NOW, []
    for _ in range(6):
        waits.append(breaker.state.probe_ms - now)
        now = breaker.state.probe_ms
        assert not breaker.probed(BAD, now, 0.5)
    assert waits == [5_000, 10_000, 20_000, 40_000, 60_000, 60_000]
    assert (breaker.state.since_ms, breaker.state.failures) == (NOW, 3)


@pytest.mark.parametrize(("jitter", "wait_ms"), [(0.0, 8_000), (0.5, 10_000), (0.999_999, 12_000)])
def test_the_wait_is_spread_by_a_fifth(jitter: float, wait_ms: int) -> None:
    """Breakers that opened together do not probe together."""
    breaker = opened()
    breaker.probed(BAD, NOW, jitter)
    assert breaker.state.probe_ms == pytest.approx(NOW + wait_ms, abs=1)


def test_retry_after_delays_the_probe_as_long_as_was_asked() -> None:
    """Nobody is called sooner than asked, a probe included: up to the day that an answer may ask for."""
    for asked_s, wait_ms in ((0.0, 5_000), (2.0, 5_000), (30.0, 30_000), (86_400.0, 86_400_000)):
        breaker = Breaker(BreakerState(), RULES)
        for _ in range(3):
            breaker.note(outcome(429, retry_after_s=asked_s), NOW)
        assert breaker.state.probe_ms == NOW + wait_ms
        breaker = opened()
        breaker.probed(outcome(503, retry_after_s=asked_s), NOW, 0.5)
        assert breaker.state.probe_ms == NOW + max(wait_ms, 10_000)


@pytest.mark.parametrize("status", [200, 204, 400, 422])
def test_a_probe_that_shows_the_subscriber_alive_closes_it_with_a_clean_slate(status: int) -> None:
    """A delivered probe, or one whose answer is about the event, closes it; old failures count no more."""
    breaker = opened()
    assert breaker.probed(outcome(status), NOW + 7_000, 0.5)
    assert breaker.state == BreakerState(since_ms=NOW + 7_000)
    assert [breaker.note(BAD, NOW) for _ in range(3)] == [False, False, True]


def test_its_state_survives_as_json() -> None:
    """What is saved and read again is the same state, and goes on doubling from where it was."""
    breaker = opened()
    breaker.probed(BAD, NOW, 0.5)
    saved = msgspec.json.decode(msgspec.json.encode(breaker.state), type=BreakerState)
    again = Breaker(saved, RULES)
    assert again.is_open
    assert not again.probe_due(NOW + 9_999)
    again.probed(BAD, NOW + 10_000, 0.5)
    assert again.state.probe_ms == NOW + 30_000


@pytest.mark.parametrize("jump_ms", [-3_600_000, -86_400_000, -31_536_000_000, 1_000, 31_536_000_000])
def test_a_clock_that_jumps_delays_no_probe_for_long(jump_ms: int) -> None:
    """After a jump back the probe is due at once, as it lies further ahead than any wait; after one forward, too."""
    breaker = opened()
    now = NOW + 5_000 + jump_ms
    assert breaker.probe_due(now)


def test_a_small_jump_back_delays_a_probe_by_itself_at_most() -> None:
    """A second back is a second later."""
    breaker = opened()
    assert not breaker.probe_due(NOW + 5_000 - 1_000)
    assert breaker.probe_due(NOW + 5_000)
