"""The window of one lane: outcomes in any order, counts and cursor in the log's."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.parcel import Delivery, Slot
from gateway.delivery.window import WINDOW_BYTES, WINDOW_EVENTS, Passed, Window
from gateway.store.firsts import First
from gateway.store.log import Entry
from gateway.store.parked import Change


def delivery(seq: int, size_bytes: int = 2) -> Delivery:
    """An event of this size."""
    return Delivery(Entry(seq, b"x" * (size_bytes - size_bytes // 2), b"y" * (size_bytes // 2)), f"evt_{seq}", "t", "")


def has_room(window: Window) -> bool:
    """Whether it would take more."""
    return window.has_room


def test_the_cursor_follows_the_resolved_beginning() -> None:
    """An event that is done before those in front of it lets nothing pass; with the first all go at once."""
    window = Window(0)
    first, second, third = window.take_in(3, 3, [(0, delivery(1)), (1, delivery(2)), (2, delivery(3))])
    window.resolve(second, None)
    assert not window.lets_pass(0)
    assert window.take_out(0) == Passed(0, 0, 0, 0, [])
    window.resolve(first, None)
    assert window.lets_pass(0)
    assert window.take_out(0) == Passed(2, 2, 0, 0, [])
    assert [(slot.settled, slot.state) for slot in (first, second)] == [(True, "resolved")] * 2
    assert not third.settled
    assert list(window) == [third]


def test_changes_come_with_the_cursor_and_are_no_deliveries() -> None:
    """What is parked or dead is settled by its change; what was given up is discarded."""
    window = Window(10)
    slots = window.take_in(14, 4, [(number, delivery(11 + number)) for number in range(4)])
    park, dead = Change("park", 11), Change("dead", 13)
    slots[1].given_up = True
    for slot, change in zip(slots, (park, None, dead, None), strict=True):
        window.resolve(slot, change)
    assert window.take_out(10) == Passed(14, 1, 0, 1, [park, dead])
    assert len(window) == 0


def test_what_was_not_wanted_is_counted_with_the_next_that_was() -> None:
    """Filtered events before a wanted one pass with it, those behind the last one with the tail."""
    window = Window(0)
    slots = window.take_in(9, 9, [(2, delivery(3)), (6, delivery(7))])
    window.resolve(slots[0], None)
    assert window.take_out(0) == Passed(3, 1, 2, 0, [])
    window.resolve(slots[1], None)
    assert window.take_out(3) == Passed(9, 1, 5, 0, [])  # 4, 5, 6, and the tail: 8, 9
    assert window.take_out(9) == Passed(9, 0, 0, 0, [])


def test_numbers_that_the_log_no_longer_holds_are_discarded() -> None:
    """Before a wanted event, between two, and at the end: a gap is counted once, where it lies."""
    window = Window(0)
    # The log still holds 3 4 6 9 of 1 to 10; 4 and 9 are wanted.
    slots = window.take_in(10, 4, [(1, delivery(4)), (3, delivery(9))])
    for slot in slots:
        window.resolve(slot, None)
    assert window.take_out(0) == Passed(10, 2, 2, 6, [])  # 1 2 5 7 8 10
    assert window.read_seq == 10


def test_a_tail_goes_on_into_the_next_reading() -> None:
    """Filtered and missing ones behind the last wanted event are counted before the next one, not twice."""
    window = Window(0)
    assert window.take_in(3, 2, []) == []
    (slot,) = window.take_in(5, 2, [(1, delivery(5))])
    assert (slot.filtered_before, slot.gap_before) == (3, 1)
    window.resolve(slot, None)
    assert window.take_out(0) == Passed(5, 1, 3, 1, [])


def test_with_nothing_wanted_the_cursor_moves_all_the_same() -> None:
    """An idle subscriber's filtered events are settled by the tail alone."""
    window = Window(4)
    assert not window.lets_pass(4)
    window.take_in(7, 3, [])
    assert window.lets_pass(4)
    assert window.take_out(4) == Passed(7, 0, 3, 0, [])
    assert not window.lets_pass(7)


def test_skipping_discards_what_was_not_read() -> None:
    """Only forwards; what lies behind was read already."""
    window = Window(5)
    window.skip_to(8)
    assert window.read_seq == 8
    window.skip_to(8)
    window.skip_to(6)
    assert window.read_seq == 8
    assert window.take_out(5) == Passed(8, 0, 0, 3, [])


def test_what_was_given_up_does_not_wait_for_the_event_behind_it() -> None:
    """An event may wait for long, behind an open breaker: what was skipped before it is discarded at once."""
    window = Window(0)
    window.skip_to(8)
    (slot,) = window.take_in(11, 3, [(1, delivery(10))])
    assert window.lets_pass(0)
    assert window.take_out(0) == Passed(9, 0, 1, 8, [])
    assert not window.lets_pass(9)
    window.resolve(slot, None)
    assert window.take_out(9) == Passed(11, 1, 1, 0, [])


def test_what_was_given_up_behind_an_event_waits_for_it() -> None:
    """Only what lies before the first event may go; there one number is enough."""
    window = Window(0)
    first, second = window.take_in(5, 3, [(1, delivery(2)), (2, delivery(5))])
    assert (first.gap_before, second.gap_before) == (0, 2)
    assert not window.lets_pass(0)
    assert window.take_out(0) == Passed(0, 0, 0, 0, [])
    window.resolve(first, None)
    assert window.take_out(0) == Passed(4, 1, 1, 2, [])
    window.take_in(7, 1, [(0, delivery(7))])
    window.resolve(second, None)
    assert window.take_out(4) == Passed(6, 1, 0, 1, [])

    alone = Window(0)
    alone.take_in(2, 1, [(0, delivery(2))])
    assert alone.lets_pass(0)


def test_resolving_again_counts_once() -> None:
    """The change that is said last is settled; the number of resolved ones is that of slots."""
    window = Window(0)
    (first, _) = window.take_in(2, 2, [(0, delivery(1)), (1, delivery(2))])
    window.resolve(first, Change("park", 1))
    assert window.resolved == 1
    window.resolve(first, None)
    assert window.resolved == 1
    assert window.take_out(0) == Passed(1, 1, 0, 0, [])
    assert window.resolved == 0


def test_first_attempts_leave_the_window_in_log_order() -> None:
    """Those of delivered events, whatever the order in which they ended; each leaves once, with its event."""
    window = Window(0)
    slots = window.take_in(4, 4, [(at, delivery(at + 1)) for at in range(4)])
    firsts = [First(seq, 1_000 - seq, 5, 200) for seq in range(1, 5)]
    window.resolve(slots[1], None, firsts[1])
    window.resolve(slots[2], Change("park", 3))
    assert window.take_out(0).firsts == []
    window.resolve(slots[0], None, firsts[0])
    assert window.take_out(0).firsts == firsts[:2]
    slots[3].given_up = True
    window.resolve(slots[3], None)
    assert window.take_out(3).firsts == []


def test_the_window_is_bounded_in_events() -> None:
    """Full means full; what leaves makes room."""
    window = Window(0)
    slots = window.take_in(
        WINDOW_EVENTS - 1, WINDOW_EVENTS - 1, [(n, delivery(n + 1)) for n in range(WINDOW_EVENTS - 1)]
    )
    assert has_room(window)
    slots += window.take_in(WINDOW_EVENTS, 1, [(0, delivery(WINDOW_EVENTS))])
    assert not has_room(window)
    window.resolve(slots[0], None)
    window.take_out(0)
    assert [has_room(window), len(window)] == [True, WINDOW_EVENTS - 1]


def test_the_window_is_bounded_in_bytes() -> None:
    """Whole events, however many: the one that fills it is the last, and its leaving makes room."""
    large = Window(0)
    (first,) = large.take_in(1, 1, [(0, delivery(1, WINDOW_BYTES - 1))])
    assert has_room(large)
    large.take_in(2, 1, [(0, delivery(2, 1))])
    assert not has_room(large)
    large.resolve(first, None)
    large.take_out(0)
    assert has_room(large)


FATES = st.sampled_from(["gone", "filtered", "delivered", "parked", "given up"])


@given(st.lists(st.lists(FATES, max_size=8), max_size=6), st.randoms(use_true_random=False))
def test_every_number_is_counted_once(readings: list[list[str]], chance: Random) -> None:
    """Whatever was read, in whatever order it is done and however often it is settled: each number has one place."""
    window, cursor, seq = Window(0), 0, 0
    totals = dict.fromkeys(("delivered", "filtered", "discarded", "changes"), 0)
    open_slots: list[tuple[Slot, str]] = []

    def settle() -> None:
        nonlocal cursor
        passed = window.take_out(cursor)
        counts = (passed.delivered, passed.filtered, passed.discarded, len(passed.changes))
        assert sum(counts) == passed.cursor_to - cursor
        cursor = passed.cursor_to
        for name, count in zip(totals, counts, strict=True):
            totals[name] += count

    for fates in readings:
        there = [(seq + at, fate) for at, fate in enumerate(fates, 1) if fate != "gone"]
        wanted = [(index, number, fate) for index, (number, fate) in enumerate(there) if fate != "filtered"]
        seq += len(fates)
        slots = window.take_in(seq, len(there), [(index, delivery(number)) for index, number, _ in wanted])
        open_slots += [(slot, fate) for slot, (_, _, fate) in zip(slots, wanted, strict=True)]
        chance.shuffle(open_slots)
        for _ in range(len(open_slots) // 2):
            _resolve(window, *open_slots.pop())
        settle()
    for slot, fate in open_slots:
        _resolve(window, slot, fate)
    settle()
    all_fates = [fate for fates in readings for fate in fates]
    assert cursor == seq == len(all_fates)
    assert totals == {
        "delivered": all_fates.count("delivered"),
        "filtered": all_fates.count("filtered"),
        "discarded": all_fates.count("gone") + all_fates.count("given up"),
        "changes": all_fates.count("parked"),
    }


def _resolve(window: Window, slot: Slot, fate: str) -> None:
    slot.given_up = fate == "given up"
    window.resolve(slot, Change("park", slot.delivery.seq) if fate == "parked" else None)


@pytest.mark.parametrize("size_bytes", [1, 2, 3, 1_001])
def test_a_delivery_weighs_its_two_texts(size_bytes: int) -> None:
    """Event and raw both count."""
    assert delivery(1, size_bytes).size_bytes == size_bytes
