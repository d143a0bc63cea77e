"""Order by key, the part in memory: which event goes, waits or is held."""

from gateway.delivery.key_order import KeyOrder
from gateway.delivery.parcel import Delivery, Slot
from gateway.store.log import Entry


def slot(seq: int, key: str = "a") -> Slot:
    """An event of a key, as it comes into the window."""
    return Slot(Delivery(Entry(seq, b"{}", b""), f"evt_{seq}", "message.received", key), 0, 0)


def test_without_order_every_event_goes_at_once() -> None:
    """No key is looked at, none is held, and none is written with what is settled."""
    keys = KeyOrder({"a"}, on=False)
    first, second = slot(1), slot(2)
    assert [keys.admit(first), keys.admit(second)] == ["go", "go"]
    assert keys.key_of(first) == ""
    assert keys.hold(first) == []
    assert keys.next(first) is None


def test_events_without_a_key_have_no_order() -> None:
    """They neither wait for each other nor hold anybody."""
    keys = KeyOrder(set(), on=True)
    assert [keys.admit(slot(number, "")) for number in range(3)] == ["go"] * 3
    assert keys.hold(slot(1, "")) == []
    assert not keys.held


def test_one_event_of_a_key_goes_and_the_next_follows_when_it_is_done() -> None:
    """Those behind it come out in the order they came in; then the key is as new."""
    keys = KeyOrder(set(), on=True)
    slots = [slot(number) for number in range(4)]
    assert [keys.admit(each) for each in slots] == ["go", "wait", "wait", "wait"]
    assert keys.admit(slot(9, "b")) == "go", "another key does not wait"
    assert [keys.next(slots[number]) for number in range(3)] == slots[1:]
    assert keys.next(slots[3]) is None
    assert keys.admit(slot(10)) == "go"


def test_what_was_given_up_while_it_waited_is_passed_over() -> None:
    """The next one is the first that still waits."""
    keys = KeyOrder(set(), on=True)
    first, given_up, third = slot(1), slot(2), slot(3)
    for each in (first, given_up, third):
        keys.admit(each)
    given_up.state = "resolved"
    assert keys.next(first) is third


def test_a_parked_event_holds_its_key_and_those_that_waited() -> None:
    """What waited in memory is to be held in the store, and so is what comes later."""
    keys = KeyOrder(set(), on=True)
    slots = [slot(number) for number in range(3)]
    for each in slots:
        keys.admit(each)
    assert keys.hold(slots[0]) == slots[1:]
    assert keys.held == {"a"}
    assert keys.admit(slot(4)) == "hold"
    assert keys.admit(slot(5, "b")) == "go"


def test_a_key_is_free_when_all_that_waited_came_to_the_store_and_left() -> None:
    """Neither while one is on its way, nor held for ever after."""
    keys = KeyOrder(set(), on=True)
    slots = [slot(number) for number in range(3)]
    for each in slots:
        keys.admit(each)
    keys.hold(slots[0])
    for _ in range(2):
        keys.free(["a"])
        assert keys.held == {"a"}
        keys.hold_settled("a")
    keys.free(["a"])
    assert not keys.held


def test_a_key_held_in_the_store_at_the_start_holds_from_the_start() -> None:
    """What the process before had parked comes first."""
    keys = KeyOrder({"a"}, on=True)
    assert keys.admit(slot(1)) == "hold"
    keys.hold_settled("a")
    keys.free(["a"])
    assert keys.admit(slot(2)) == "go"


def test_a_freed_key_with_events_on_their_way_to_its_list_stays_held() -> None:
    """The store's word that nothing waits is older than what was held since; the second word counts."""
    keys = KeyOrder(set(), on=True)
    first = slot(1)
    keys.admit(first)
    keys.hold(first)
    assert keys.admit(slot(2)) == "hold"
    keys.free(["a"])
    assert keys.held == {"a"}, "event 2 has not reached the store yet, so an event 3 may not overtake it"
    assert keys.admit(slot(3)) == "hold"
    keys.hold_settled("a")
    keys.free(["a"])
    assert keys.held == {"a"}, "event 3 has not either"
    keys.hold_settled("a")
    keys.free(["a"])
    assert not keys.held


def test_an_in_flight_event_that_ends_before_the_store_knows_it_frees_its_key() -> None:
    """It was to be parked as in flight, but its end came first: nothing of the key is in the store."""
    keys = KeyOrder(set(), on=True)
    first = slot(1)
    keys.admit(first)
    assert keys.hold(first) == []
    assert keys.next(first) is None
    assert keys.admit(slot(2)) == "go"


def test_an_in_flight_event_that_ends_late_leaves_followers_to_the_store() -> None:
    """With followers on their way to the list, the key stays held until the store has sent them on."""
    keys = KeyOrder(set(), on=True)
    first, second = slot(1), slot(2)
    keys.admit(first)
    keys.admit(second)
    assert keys.hold(first) == [second]
    assert keys.next(first) is None
    assert keys.admit(slot(3)) == "hold"


def test_a_key_that_somebody_else_made_held_holds_what_waits_here() -> None:
    """What might go, and what waited behind it, goes behind what was retried; the store says when the key is free."""
    keys = KeyOrder(set(), on=True)
    first, second, other = slot(1), slot(2), slot(3, "b")
    for each in (first, second, other):
        keys.admit(each)
    assert keys.hold_new({"a"}, [first, other]) == [first, second]
    assert keys.admit(slot(4)) == "hold"
    for _ in range(3):
        keys.hold_settled("a")
    keys.free(["a"])
    assert keys.admit(slot(5)) == "go"


def test_an_attempt_that_runs_while_its_key_becomes_held_does_not_free_it() -> None:
    """The store has what was retried, though nothing from here has come to it yet."""
    keys = KeyOrder(set(), on=True)
    first = slot(1)
    keys.admit(first)
    with keys.on_wire(first.delivery):
        assert keys.hold_new({"a"}, []) == []
        assert not keys.may_return("a"), "two events of one key would be on the wire"
        assert keys.may_return("b")
    assert keys.may_return("a")
    assert keys.next(first) is None
    assert keys.held == {"a"}


def test_what_becomes_free_while_the_held_keys_are_read_is_seen() -> None:
    """What was read before may say that it is held."""
    keys = KeyOrder({"a", "b"}, on=True)
    keys.free(["b"])
    with keys.watch_freed() as freed:
        keys.free(["a"])
    assert freed == {"a"}
