"""What a round holds."""

from collections import Counter
from pathlib import Path

from adapters.contract import Adapter
from adapters.registry import find, names
from gateway.simulator.rounds import plan

CASES = {
    "a": ["one__documented", "one__other", "two__documented"],
    "b": ["three__documented"],
    "c": [f"name{number}__documented" for number in range(9)],
}


def test_every_event_name_comes_once_and_variants_take_turns() -> None:
    """Round after round each name is sent once; its variants follow each other."""
    for number, variant in ((0, "one__documented"), (1, "one__other"), (2, "one__documented")):
        ordinary = [step for step in plan(CASES, ["a", "c"], number, seed=1) if step.purpose == "sample"]
        assert Counter(step.case.split("__")[0] for step in ordinary) == Counter(
            ["one", "two", "three", *(f"name{at}" for at in range(9))]
        )
        assert variant in {step.case for step in ordinary}


def test_every_round_has_a_retry_after_its_first_a_wrong_signature_and_half_a_body() -> None:
    """So that duplicate, rejected and quarantined are never empty; the odd ones go to sources a secret proves."""
    for number in range(20):
        steps = plan(CASES, ["a", "c"], number, seed=7)
        assert Counter(step.purpose for step in steps if step.purpose != "sample") == Counter(
            ["retry", "wrong_signature", "not_json"]
        )
        again = next(at for at, step in enumerate(steps) if step.purpose == "retry")
        first = next(at for at, step in enumerate(steps) if step.seed == steps[again].seed)
        assert first < again
        assert (steps[first].purpose, steps[first].case) == ("sample", steps[again].case)
        assert {step.source for step in steps if step.purpose in ("wrong_signature", "not_json")} <= {"a", "c"}


def test_plans_repeat_with_their_seed_and_never_share_events_otherwise() -> None:
    """The same seed and round, the same plan; another seed or round, other events throughout."""
    first, again = plan(CASES, ["a"], 0, seed=1), plan(CASES, ["a"], 0, seed=1)
    assert first == again
    seeds = [{step.seed for step in plan(CASES, ["a"], number, seed)} for number in range(3) for seed in (1, 2)]
    assert len(set.union(*seeds)) == sum(map(len, seeds))


def test_a_round_of_nothing_is_empty_and_one_of_a_single_request_still_works() -> None:
    """No sources, no steps; one case is enough for a retry."""
    assert plan({}, [], 0, seed=1) == []
    assert [step.purpose for step in plan({"b": ["three__documented"]}, [], 0, seed=1)] == ["sample", "retry"]


def test_the_real_adapters_show_an_unknown_type_and_a_login_credential_in_the_first_round() -> None:
    """Each round of all adapters has a type that becomes other, and enviaai's login code, which is filtered."""
    adapters = [adapter for name in names() if isinstance(adapter := find(name, Path()), Adapter)]
    assert adapters
    cases = {adapter.name: adapter.cases for adapter in adapters}
    for number in range(3):
        sent = [step.case for step in plan(cases, ["enviaai"], number, seed=1)]
        assert "instance.qr_updated__documented" in sent
        assert any("unknown" in case for case in sent)
