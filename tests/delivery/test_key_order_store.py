"""Order by key, the part in memory, where the store has a say: retried letters, attempts on the wire, freed keys."""

import pytest

from gateway.delivery.key_order import KeyOrder
from gateway.store.parked import Change
from tests.delivery.test_key_order import slot


def test_a_key_that_an_operator_holds_holds_what_waits_here() -> None:
    """Fresh ones that might go now and those that waited behind them, in log order; other keys go on."""
    keys = KeyOrder(set(), on=True)
    first, second, third, other = slot(1), slot(2), slot(3), slot(4, "b")
    assert [keys.admit(each) for each in (first, second, third, other)] == ["go", "wait", "wait", "go"]
    given_up = slot(5)
    keys.admit(given_up)
    given_up.state = "resolved"
    assert keys.hold_new(["a"], [first, other]) == [first, second, third]
    assert keys.held == {"a"}
    assert keys.admit(slot(6)) == "hold"
    assert keys.admit(slot(7, "b")) == "wait"
    assert keys.hold_new(["a"], []) == [], "said again it is not new"
    for _ in range(4):  # three that waited here, and the one that came since
        keys.free(["a"])
        assert keys.held == {"a"}, "one is still on its way to the list"
        keys.hold_settled("a")
    keys.free(["a"])
    assert not keys.held


def test_without_order_no_key_is_held() -> None:
    """Whatever the store says of former times, when the subscriber had an order."""
    keys = KeyOrder(set(), on=False)
    assert keys.hold_new(["a"], [slot(1)]) == []
    assert keys.admit(slot(2)) == "go"
    assert not keys.held


def test_what_runs_when_its_key_is_held_is_let_run_and_lets_nothing_follow() -> None:
    """It is on the wire already: when it is done the next of the key comes from the store, not from here."""
    keys = KeyOrder(set(), on=True)
    running, waiting = slot(1), slot(2)
    keys.admit(running)
    keys.admit(waiting)
    assert keys.hold_new(["a"], []) == [waiting]
    assert keys.next(running) is None
    assert keys.held == {"a"}, "the store said that something is parked there"
    assert keys.admit(slot(3)) == "hold"


def test_an_event_of_a_held_key_is_settled_at_the_end_of_its_list() -> None:
    """With its number and its key; the key stays held until the store has it and says it is free."""
    keys = KeyOrder(set(), on=True)
    first = slot(1)
    keys.admit(first)
    keys.hold(first)
    assert keys.to_hold(slot(8)) == Change("hold", 8, "a")
    keys.free(["a"])
    assert keys.held == {"a"}
    keys.hold_settled("a")
    keys.free(["a"])
    assert not keys.held


def test_a_key_with_nothing_behind_it_is_forgotten() -> None:
    """When its event is done, and when those behind it were given up: the next one goes."""
    keys = KeyOrder(set(), on=True)
    first, second = slot(1), slot(2)
    keys.admit(first)
    keys.admit(second)
    second.state = "resolved"
    assert keys.next(first) is None
    assert keys.admit(slot(3)) == "go"


def test_what_was_given_up_is_not_held() -> None:
    """Only what still waits goes to the list, and only that is waited for."""
    keys = KeyOrder(set(), on=True)
    first, given_up = slot(1), slot(2)
    keys.admit(first)
    keys.admit(given_up)
    given_up.state = "resolved"
    assert keys.hold(first) == []
    keys.free(["a"])
    assert not keys.held


def test_nothing_returns_while_another_of_its_key_is_on_the_wire() -> None:
    """Neither the first attempt nor a second at once; other keys, and those without one, may."""
    keys = KeyOrder(set(), on=True)
    one, two = slot(1).delivery, slot(2).delivery
    assert keys.may_return("a")
    with keys.on_wire(one):
        assert [keys.may_return(key) for key in ("a", "b", "")] == [False, True, True]
        with keys.on_wire(two):
            assert not keys.may_return("a")
        assert not keys.may_return("a"), "one of the two still is"
    assert keys.may_return("a")
    with pytest.raises(RuntimeError), keys.on_wire(one):
        raise RuntimeError
    assert keys.may_return("a"), "an attempt that ended in a defect is over too"
    with keys.on_wire(slot(3, "").delivery):
        assert keys.may_return("")


def test_without_order_everything_returns() -> None:
    """There is no key to wait for."""
    keys = KeyOrder(set(), on=False)
    with keys.on_wire(slot(1).delivery):
        assert keys.may_return("a")


def test_keys_that_become_free_are_noted_while_somebody_looks() -> None:
    """What the store said before of a key that was freed meanwhile is not true any more."""
    keys = KeyOrder({"a", "b", "c"}, on=True)
    keys.free(["a"])
    with keys.watch_freed() as freed:
        assert freed == set()
        keys.free(["b"])
        assert freed == {"b"}
    keys.free(["c"])
    assert freed == {"b"}
    with pytest.raises(RuntimeError), keys.watch_freed() as later:
        raise RuntimeError
    keys.free(["a"])
    assert later == set()
    assert not keys.held


def test_a_key_the_store_holds_is_not_freed_by_an_attempt_that_ends_here() -> None:
    """Until the store itself says so, though nothing of it waits in memory."""
    keys = KeyOrder({"a"}, on=True)
    assert keys.next(slot(1)) is None
    assert keys.held == {"a"}
    keys.free(["a"])
    keys.hold(slot(2))
    assert keys.next(slot(2)) is None
    assert not keys.held, "it was freed before: what was held here since is not in the store"


def test_the_held_keys_are_shown_as_they_are_now() -> None:
    """A picture, not the set itself."""
    given = {"a"}
    keys = KeyOrder(given, on=True)
    shown = keys.held
    keys.free(["a"])
    assert (set(shown), set(keys.held)) == ({"a"}, set())
