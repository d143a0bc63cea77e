"""The crash run, short; and that its verdict can fail.

The long run takes some minutes: ``python -m tests.crashes --kills 200 --store-kills 50 --rate 1000 --seed 1``.
"""

import random
from collections import Counter
from typing import Any

import msgspec
import pytest

from tests.crashes.killer import SERVING_MOST_S, STARTING_S, plan
from tests.crashes.provider import make_message
from tests.crashes.run import Plan, run
from tests.crashes.verdict import Delivered, Facts, Logged, judge


@pytest.mark.long
@pytest.mark.timeout(600)  # it takes half a minute; the bound is for hopeless runs
def test_nothing_acknowledged_is_lost_when_we_crash() -> None:
    """Eight kills of the gateway and three of its store under load: everything that was answered 200 is in the log
    once and was delivered, in order where asked, and the audit adds up and finds one entry that is deleted."""
    done = run(Plan(kills=8, store_kills=3, rate=300, seed=7), lambda _: None)
    wrong = [line for line in judge(done.facts) if line.wrong]
    assert wrong == [], done.log[-2_000:]
    assert len(done.facts.kills_s) == 11
    assert len(done.facts.acknowledged) > 100, "it was under load: so many are under way in half a second"


def facts(**changed: Any) -> Facts:
    """A run of three events of one key in which nothing went wrong, but for what is ``changed``."""
    good = Facts(
        sent={"a", "b", "c"},
        acknowledged={"a": ["logged"], "b": ["duplicate"], "c": ["logged", "duplicate"]},
        log=[Logged("a", "k"), Logged("b", "k"), Logged("c", "other")],
        delivered={"crm": [Delivered(1, "a"), Delivered(5, "a"), Delivered(6, "c"), Delivered(7, "b")]},
        in_order={"crm"},
        kills_s=[3.0],
        resent=["duplicate"],
        exits=[],
        pending=0,
        unaccounted=0,
        unaccounted_after_deletion=1,
    )
    return msgspec.structs.replace(good, **changed)


def test_a_good_run_is_good() -> None:
    """The control: no line is wrong, and the repetition around the kill is counted."""
    lines = judge(facts())
    assert [line for line in lines if line.wrong] == []
    assert Counter({line.what: line.number for line in lines})["crm: delivered again around a kill"] == 1


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"log": [Logged("a", "k"), Logged("c", "other")]}, "acknowledged, not in the log"),
        ({"sent": {"a", "b", "c", "d"}}, "sent, never acknowledged"),
        ({"log": [Logged(name, None) for name in "abcd"]}, "in the log, never sent"),
        ({"log": [Logged(name, None) for name in "abca"]}, "in the log twice"),
        ({"acknowledged": {"a": ["logged", "logged"], "b": ["logged"], "c": ["logged"]}}, "answered 'logged' twice"),
        ({"delivered": {"crm": [Delivered(1, "a"), Delivered(2, "b")]}}, "crm: acknowledged, not delivered"),
        ({"delivered": {"crm": [Delivered(1, name) for name in "abcd"]}}, "crm: delivered, never sent"),
        ({"kills_s": [5.5]}, "crm: delivered again without a kill"),
        ({"kills_s": []}, "crm: delivered again without a kill"),
        ({"kills_s": [-4.5]}, "crm: delivered again without a kill"),
        (
            {"delivered": {"crm": [Delivered(1, name) for name in "bac"]}},
            "crm: delivered out of the order of its key",
        ),
        ({"resent": ["duplicate", "accepted"]}, "of these not answered 'duplicate'"),
        ({"resent": []}, "sent once more at the end"),
        ({"exits": [4]}, "gateways that ended by themselves"),
        ({"pending": 1}, "deliveries still pending"),
        ({"unaccounted": 1}, "unaccounted by the audit"),
        ({"unaccounted_after_deletion": 0}, "unaccounted with one entry deleted"),
        ({"unaccounted_after_deletion": 2}, "unaccounted with one entry deleted"),
        ({"sent": set(), "acknowledged": {}, "log": [], "delivered": {}}, "acknowledged with 200"),
    ],
)
def test_each_kind_of_loss_is_seen(changed: dict[str, Any], what: str) -> None:
    """One thing is wrong, and the line for it says so."""
    assert what in [line.what for line in judge(facts(**changed)) if line.wrong]


def test_what_the_store_forgot_may_be_logged_again() -> None:
    """After the store's clock was set beyond its window an event may come twice, and counts in its first place; another
    may not."""
    twice = {
        "log": [Logged("a", "k"), Logged("b", "k"), Logged("c", "other"), Logged("a", "k")],
        "acknowledged": {"a": ["logged", "logged"], "b": ["duplicate"], "c": ["logged", "duplicate"]},
    }
    assert [line.what for line in judge(facts(**twice, forgotten={"a", "b"})) if line.wrong] == []
    assert [line.what for line in judge(facts(**twice, forgotten={"b"})) if line.wrong] == [
        "in the log twice",
        "answered 'logged' twice",
    ]


def test_the_seed_decides_the_run() -> None:
    """The same seed gives the same kills and messages; both kinds of kill, at moments within their bounds."""
    kills = plan(200, 50, random.Random(1))
    assert kills == plan(200, 50, random.Random(1)) != plan(200, 50, random.Random(2))
    assert Counter(kill.victim for kill in kills) == {"gateway": 200, "store": 50}
    assert 10 < sum(kill.starting for kill in kills) < 60
    for kill in kills:
        assert 0 <= kill.after_s <= (STARTING_S if kill.starting else SERVING_MOST_S)
    longer = plan(200, 50, random.Random(1), serving_most_s=5.0)
    assert 4 < max(kill.after_s for kill in longer) <= 5
    messages = [make_message(number) for number in range(200)]
    assert messages == [make_message(number) for number in range(200)]
    assert len({message.event_id for message in messages}) == 200
