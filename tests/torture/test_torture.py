"""The torture, very short, and that its verdict can fail.

A long run takes minutes: ``python -m tests.torture --minutes 6 --seed 1``.
"""

from collections import Counter
from typing import Any, get_args

import msgspec
import pytest
from rich.console import Console

from gateway.faults import read_orders
from gateway.simulator import scene
from tests.crashes.verdict import Delivered, Facts, Logged
from tests.faults.points import all_points
from tests.torture.__main__ import lines_of, play
from tests.torture.act import Done, Kind
from tests.torture.strikes import ALSO, ALWAYS, ARMED, CLOCK, DISK
from tests.torture.world import TURNS, Senders

FACTS = Facts(
    sent={"a", "b"},
    acknowledged={"a": ["logged"], "b": ["spooled"]},
    log=[Logged("a", "k"), Logged("b", "k")],
    delivered={"plain": [Delivered(1, "a"), Delivered(2, "b")], "filtered": [Delivered(1, "a")]},
    in_order=set(),
    kills_s=[],
    resent=["duplicate"],
    exits=[],
    pending=0,
    unaccounted=0,
    unaccounted_after_deletion=1,
    unwanted={"filtered": {"b"}},
)
DONE = Done(
    kind="embedded",
    facts=FACTS,
    strikes=Counter(),
    normal_s=[(0.5, "store killed")],
    spooled=1,
    replayed=0,
    dead_retried=0,
    refused=0,
    failed_stops=[],
    findings=[],
    took_s=1.0,
    lacks=[],
    ledger={},
    log="",
)


def wrong(done: Done) -> list[str]:
    """What the verdict finds wrong."""
    return [line.what for line in lines_of(done, strict=True) if line.wrong]


@pytest.mark.long
@pytest.mark.timeout(600)  # it takes half a minute; the bound is for hopeless runs
def test_nothing_is_lost_whatever_goes_wrong() -> None:
    """Gateway and store are killed, the clock jumps, the disk is full and freed, once each, under five providers:
    nothing that was answered 200 is lost, and the account adds up."""
    only = ["gateway killed", "store killed", CLOCK, DISK, "replay"]
    done = play("embedded", seed=4, rate=150, seconds=0, only=only, notes=Console(quiet=True))
    # How soon all is normal again depends on who else uses the machine; the long run asks for it.
    assert [line for line in lines_of(done) if line.wrong] == [], done.log[-2_000:]
    if done.lacks:
        pytest.skip(f"{'; '.join(done.lacks)}; all else is well")
    assert done.strikes == Counter(only)


def test_a_good_act_is_good() -> None:
    """The control of the one below."""
    assert wrong(DONE) == []


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"failed_stops": [-9]}, "stops that did not end with 0"),
        ({"findings": ["a hole"]}, "findings of the audit"),
        ({"normal_s": [(5.1, "store killed")]}, "slowest return to normal, ms"),
        ({"facts": msgspec.structs.replace(FACTS, unwanted={})}, "filtered: acknowledged, not delivered"),
        (
            {"facts": msgspec.structs.replace(FACTS, unwanted={"filtered": {"a", "b"}})},
            "filtered: delivered, and not for it",
        ),
    ],
)
def test_what_is_wrong_is_seen(changed: dict[str, Any], what: str) -> None:
    """One thing is wrong, and the line for it says so."""
    assert what in wrong(msgspec.structs.replace(DONE, **changed))


def test_a_span_explains_a_repetition_and_its_absence_does_not() -> None:
    """While the store stood still a delivery may come twice; at another time it may not."""
    delivered = {"plain": [*FACTS.delivered["plain"], Delivered(9, "b")], "filtered": FACTS.delivered["filtered"]}
    again = msgspec.structs.replace(FACTS, delivered=delivered)
    assert wrong(msgspec.structs.replace(DONE, facts=again)) == ["plain: delivered again without a kill"]
    explained = msgspec.structs.replace(again, spans_s=[(3.0, 8.0)])
    assert wrong(msgspec.structs.replace(DONE, facts=explained)) == []


def test_every_provider_has_its_turn_and_its_requests_are_distinct() -> None:
    """All five sources; no two requests alike; and what the filtered subscriber does not want is known."""
    senders = Senders(scene.draw_secrets())
    made = [senders.make(number) for number in range(3 * len(TURNS))]
    assert len({message.event_id for message in made}) == len(made)
    assert len({message.wire.split(b" ")[1] for message in made}) == 5
    assert 0 < len(senders.unwanted["filtered"]) < len(made)


def test_what_is_armed_exists() -> None:
    """Every point that the torture arms is a point of the code, and every act has strikes of its own."""
    points = set(all_points())
    for text in ARMED:
        assert read_orders(text.format(n=2)).keys() <= points
    for kind in get_args(Kind):
        assert ALSO[kind].keys().isdisjoint(ALWAYS)
