"""The story: two witnesses who know nothing of each other, put together."""

from typing import Any

import pytest

from gateway.simulator.lines import Answered, Line, Purpose, Sent, Taken
from gateway.simulator.story import FOREIGN_AFTER_MS, Story


def sent(
    *events: tuple[str, str, str],
    outcome: str = "accepted",
    purpose: Purpose = "sample",
    at_ms: int = 1_000,
    status: int | None = 200,
    final: bool = True,
) -> Sent:
    return Sent(
        at_ms=at_ms,
        source="enviaai-br",
        provider="enviaai",
        case="message.read__documented",
        purpose=purpose,
        attempt=1,
        status=status,
        outcome=outcome,
        events=tuple(Answered(id=event_id, type=kind, status=state) for event_id, kind, state in events),
        final=final,
    )


def taken(event_id: str, *, status: int = 204, attempt: int = 1, at_ms: int = 1_004, **rest: bool) -> Taken:
    return Taken(
        at_ms=at_ms,
        id=event_id,
        type="message.read",
        source="enviaai-br",
        provider="enviaai",
        provider_type="message.read",
        attempt=attempt,
        status=status,
        verified=rest.get("verified", True),
        repeat=rest.get("repeat", False),
    )


LOGGED = sent(("evt_a", "message.read", "logged"))


def ledger(*, logged: int = 1, delivered: int = 1, **terms: int) -> dict[str, Any]:
    def term(name: str) -> int:
        return terms.get(name, 0)

    accepted = logged + term("duplicate")
    return {
        "requests": {
            "received": accepted + term("quarantined") + term("rejected"),
            "accepted": accepted,
            "ignored": 0,
            "quarantined": term("quarantined"),
            "rejected": term("rejected"),
        },
        "events": {"produced": accepted, "logged": logged, "duplicate": term("duplicate"), "spooled": 0},
        "subscribers": {
            "crm": {
                "offered": logged,
                "delivered": delivered,
                "filtered": term("filtered"),
                "dead": term("dead"),
                "discarded": 0,
                "pending": term("pending"),
                "unaccounted": 0,
            }
        },
        "unaccounted": term("unaccounted"),
    }


def orders() -> list[tuple[Line, ...]]:
    first, second = taken("evt_a", status=500), taken("evt_a", attempt=2, at_ms=2_000)
    return [(LOGGED, first, second), (first, LOGGED, second), (first, second, LOGGED)]


@pytest.mark.parametrize("lines", orders())
def test_whatever_order_the_lines_come_in_the_journey_is_the_same(lines: tuple[Line, ...]) -> None:
    """Answer before delivery or after it, refusal in between or not: one journey, settled once, nothing missing."""
    story = Story()
    for line in lines:
        story.add(line)
    over = story.settled() + story.settled()
    assert [(one.event_id, one.outcome, one.taken_ms) for one in over] == [("evt_a", "logged", 1_000)]
    assert not story.travelling(10_000)
    assert not story.missing
    assert story.problems(ledger(), alone=True) == []


def test_a_refused_delivery_is_still_travelling_and_missing() -> None:
    """What was refused and has not come again is under way, and is named if the story ends there."""
    story = Story()
    story.add(LOGGED)
    story.add(taken("evt_a", status=500))
    assert story.settled() == []
    assert [one.tries for one in story.travelling(2_000)] == [[(1, 500)]]
    assert story.missing == {"evt_a"}
    assert "evt_a was logged and never reached the subscriber" in story.problems(
        ledger(delivered=0, pending=1), alone=True
    )


def test_requests_without_an_event_and_duplicates_are_journeys_of_their_own() -> None:
    """Rejected, quarantined and duplicate end at once; the duplicate adds no delivery."""
    story = Story()
    for line in (
        LOGGED,
        taken("evt_a"),
        sent(("evt_a", "message.read", "duplicate"), outcome="duplicate", purpose="retry"),
        sent(outcome="rejected", purpose="wrong_signature", status=401),
        sent(outcome="quarantined", purpose="not_json"),
    ):
        story.add(line)
    assert [one.outcome for one in story.settled()] == ["logged", "duplicate", "rejected", "quarantined"]
    assert story.problems(ledger(duplicate=1, rejected=1, quarantined=1), alone=True) == []


def test_a_login_credential_is_filtered_and_not_missing() -> None:
    """channel.qr_updated is not for a subscriber of *, so it is settled without a delivery."""
    story = Story()
    story.add(sent(("evt_q", "channel.qr_updated", "logged")))
    assert [one.outcome for one in story.settled()] == ["filtered"]
    assert story.problems(ledger(delivered=0, filtered=1), alone=True) == []


def test_somebody_elses_event_is_shown_after_a_while_and_blamed_only_on_a_lonely_demo() -> None:
    """A delivery that no simulated provider caused (gateway send) appears too; --once counts it as a fault."""
    story = Story()
    story.add(taken("evt_z", at_ms=1_000))
    assert len(story.travelling(1_000)) == 1
    assert story.travelling(1_001 + FOREIGN_AFTER_MS) == []
    assert [one.event_id for one in story.settled()] == ["evt_z"]
    assert story.problems(ledger(), alone=False) == []
    assert any("no provider was told of" in problem for problem in story.problems(ledger(), alone=True))


def test_an_attempt_without_an_answer_makes_larger_counts_believable() -> None:
    """Where an answer was lost, the gateway may know of more than the provider was told."""
    story = Story()
    story.add(sent(outcome="unanswered", status=None, final=False))
    story.add(sent(("evt_a", "message.read", "duplicate"), outcome="duplicate"))
    story.add(taken("evt_a"))
    assert story.problems(ledger(duplicate=1), alone=True) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"unaccounted": 1}, "unaccounted 1"),
        ({"delivered": 0}, "crm: 1 offered, but the parts add up to 0"),
        ({"delivered": 0, "pending": 1}, "crm: 1 pending"),
        ({"delivered": 0, "dead": 1}, "crm: 1 dead"),
        ({"logged": 2, "delivered": 2}, "the ledger counts 2 as events.logged, the providers were told 1"),
        ({"logged": 0, "delivered": 0}, "the ledger counts 0 as events.logged, the providers were told 1"),
        ({"duplicate": 1}, "the ledger counts 1 as events.duplicate, the providers were told 0"),
        ({"rejected": 1}, "the ledger counts 1 as requests.rejected, the providers were told 0"),
    ],
)
def test_each_wrong_number_of_the_ledger_is_found(change: dict[str, int], complaint: str) -> None:
    """The verdict adds up for itself and compares with what both sides saw."""
    story = Story()
    story.add(LOGGED)
    story.add(taken("evt_a"))
    assert story.problems(ledger(), alone=True) == []
    assert complaint in story.problems(ledger(**change), alone=True)


def test_deliveries_that_do_not_verify_and_requests_without_an_answer_are_faults() -> None:
    """An unsigned delivery counts as none; a provider that gave up is named."""
    story = Story()
    story.add(LOGGED)
    story.add(taken("evt_a", status=401, verified=False))
    story.add(sent(outcome="unanswered", status=503))
    problems = story.problems(ledger(), alone=True)
    assert "1 deliveries did not verify" in problems
    assert "1 requests got no final answer" in problems
    assert story.missing == {"evt_a"}


def test_a_repeated_delivery_is_counted_and_changes_nothing() -> None:
    """After a crash a delivery may come twice; the subscriber said it is a repeat."""
    story = Story()
    for line in (LOGGED, taken("evt_a"), taken("evt_a", attempt=2, repeat=True)):
        story.add(line)
    assert (len(story.settled()), story.repeated_deliveries) == (1, 1)
    assert story.problems(ledger(), alone=True) == []
