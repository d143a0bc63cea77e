"""What the store is told of an attempt."""

import msgspec
import pytest

from gateway.delivery.outcome import Outcome
from gateway.delivery.parcel import Delivery
from gateway.delivery.records import (
    DETAIL_CHARS,
    dead_change,
    done_change,
    in_flight_change,
    late_after,
    parked_change,
)
from gateway.delivery.schedule import Again, Dead
from gateway.store.dead_letters import split
from gateway.store.log import Entry
from gateway.store.parked import HISTORY, Attempt, Late, Parked

NOW = 1_800_000_000_000
DELIVERY = Delivery(Entry(7, b"{}", b"{}"), "evt_7", "message.read", "k1")
BAD = Outcome(False, "http_503", 503, None, b"down\nfor repair", 0.25, "the subscriber answered 503")
GOOD = Outcome(True, "", 200, None, b"", 0.125, "")


def parked(info: bytes) -> Parked:
    """A parked event as the store has it."""
    return msgspec.json.decode(info, type=Parked)


def test_an_attempt_is_remembered_with_cause_status_and_time_taken() -> None:
    """Its number, milliseconds, and an empty cause if it was delivered."""
    (bad,) = late_after(Parked(attempt=0), BAD, NOW).history
    assert bad == Attempt(number=1, at_ms=NOW, cause="http_503", status=503, duration_ms=250)
    (good,) = late_after(Parked(attempt=2), GOOD, NOW).history
    assert (good.number, good.cause) == (3, "")


@pytest.mark.parametrize(("counts", "attempt"), [(True, 3), (False, 2)])
def test_a_failed_attempt_is_parked_with_what_is_known(counts: bool, attempt: int) -> None:
    """It keeps the first failure's time and the key, counts the attempt unless it was a probe, and is due in time."""
    before = Parked(
        attempt=2,
        first_failed_ms=NOW - 9_000,
        key="k1",
        history=late_after(Parked(attempt=1), BAD, NOW - 9_000).history,
    )
    change = parked_change("again", DELIVERY, before, BAD, Again(NOW + 5_000), NOW, counts=counts)
    assert (change.operation, change.seq, change.key, change.at_ms) == ("again", 7, "k1", NOW + 5_000)
    info = parked(change.info)
    assert (info.attempt, info.first_failed_ms, info.cause, info.status) == (attempt, NOW - 9_000, "http_503", 503)
    assert (info.event_id, info.event_type, info.last_attempt_ms) == ("evt_7", "message.read", NOW)
    assert [each.at_ms for each in info.history] == [NOW - 9_000, NOW]


def test_the_first_failure_dates_itself() -> None:
    """Without an earlier failure, now is the first."""
    change = parked_change("park", DELIVERY, Parked(attempt=0), BAD, Again(NOW), NOW, counts=True)
    assert parked(change.info).first_failed_ms == NOW


def test_what_a_subscriber_makes_us_keep_is_bounded() -> None:
    """Of a long sentence the beginning is kept, and of many attempts the newest."""
    long = msgspec.structs.replace(BAD, detail="x" * 10_000)
    info = Parked(attempt=0)
    for number in range(50):
        change = parked_change("again", DELIVERY, info, long, Again(NOW), NOW + number, counts=True)
        info = parked(change.info)
    assert len(info.detail) == DETAIL_CHARS
    assert [each.at_ms - NOW for each in info.history] == list(range(50 - HISTORY, 50))
    assert [each.number for each in info.history] == list(range(51 - HISTORY, 51))
    assert (info.attempt, info.forgotten) == (50, 50 - HISTORY)
    assert len(change.info) < 2_048
    letter, _ = split(dead_change("bury", "crm", DELIVERY, info, BAD, Dead("http_503"), NOW).info + b"\n")
    late = msgspec.json.decode(done_change(DELIVERY, info, GOOD, NOW).info, type=Late)
    for ended in (letter, late):
        assert (ended.forgotten, len(ended.history), ended.history[-1].number) == (51 - HISTORY, HISTORY, 51)


def test_a_failed_probe_keeps_its_number_for_the_next_attempt() -> None:
    """It is remembered as a probe, and used no attempt up."""
    info = parked(parked_change("again", DELIVERY, Parked(attempt=2), BAD, Again(NOW), NOW, counts=False).info)
    info = parked(parked_change("again", DELIVERY, info, BAD, Again(NOW), NOW, counts=True).info)
    assert [(each.number, each.probe) for each in info.history] == [(3, True), (3, False)]


def test_a_last_chance_stays_one() -> None:
    """A follower of a dead letter that is parked again does not get a fresh schedule by it."""
    before = Parked(attempt=0, key="k1", last_chance=True)
    assert parked(parked_change("again", DELIVERY, before, BAD, Again(NOW), NOW, counts=False).info).last_chance


def test_an_attempt_in_flight_is_parked_without_a_failure() -> None:
    """It has used no attempt up and says what it is."""
    change = in_flight_change(DELIVERY, "k1", NOW - 1_200, NOW + 25_000)
    info = parked(change.info)
    assert (change.operation, change.key, change.at_ms) == ("park", "k1", NOW + 25_000)
    assert (info.in_flight, info.attempt, info.first_failed_ms, info.cause) == (True, 0, 0, "")
    assert info.started_ms == NOW - 1_200


def test_a_dead_letter_keeps_its_cause_and_the_last_answer_apart() -> None:
    """What is stored comes apart again, whatever newlines the answer holds."""
    before = Parked(
        attempt=3,
        first_failed_ms=NOW - 60_000,
        key="k1",
        history=late_after(Parked(attempt=2), BAD, NOW - 60_000).history,
    )
    change = dead_change("bury", "crm", DELIVERY, before, BAD, Dead("http_503"), NOW)
    assert (change.operation, change.key, change.answer) == ("bury", "k1", b"down\nfor repair")
    letter, answer = split(change.info + b"\n" + change.answer)
    assert answer == b"down\nfor repair"
    assert (letter.seq, letter.subscriber, letter.cause, letter.status) == (7, "crm", "http_503", 503)
    assert (letter.attempts, letter.first_failed_ms, letter.died_ms) == (4, NOW - 60_000, NOW)
    assert len(letter.history) == 2


def test_a_late_delivery_hands_its_history_on() -> None:
    """Failures first, the delivery last."""
    before = Parked(attempt=1, key="k1", history=late_after(Parked(attempt=0), BAD, NOW - 5_000).history)
    change = done_change(DELIVERY, before, GOOD, NOW)
    late = msgspec.json.decode(change.info, type=Late)
    assert (change.operation, change.key) == ("done", "k1")
    assert [(each.number, each.status) for each in late.history] == [(1, 503), (2, 200)]
