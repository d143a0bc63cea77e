"""The queue before a committer: sources take turns, each in its own order, and none fills all of it."""

from collections import deque

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import IntakeFull
from gateway.intake.queue import FairQueue


class Work(msgspec.Struct, frozen=True):
    """What a request brings, as much as the queue looks at."""

    source: str
    number: int
    size_bytes: int = 10
    since_s: float = 0.0
    events: tuple[int, ...] = (1,)


def test_a_flood_holds_up_nobody_else() -> None:
    """Behind a thousand requests of one source, another's goes with the next batch."""
    queue: FairQueue[Work] = FairQueue(100_000)
    for number in range(1_000):
        queue.push("flood", Work("flood", number))
    queue.push("quiet", Work("quiet", 0))
    batch = queue.take(10, 1_000)
    assert [work.source for work in batch].count("quiet") == 1
    assert batch.index(Work("quiet", 0)) == 1
    assert len(queue) == 991


def test_who_did_not_fit_is_first_in_the_next_batch() -> None:
    """A turn is not lost because the batch was full."""
    queue: FairQueue[Work] = FairQueue(100_000)
    for number in range(3):
        for source in ("a", "b"):
            queue.push(source, Work(source, number, size_bytes=400))
    assert [(work.source, work.number) for work in queue.take(256, 1_000)] == [("a", 0), ("b", 0)]
    assert [(work.source, work.number) for work in queue.take(256, 1_300)] == [("a", 1), ("b", 1), ("a", 2)]
    assert [(work.source, work.number) for work in queue.take(256, 1)] == [("b", 2)]  # the first always fits


def test_a_flood_leaves_room() -> None:
    """One source may take half of the bytes, two a third each; the rest is for others."""
    for floods, part in ((1, 1 / 2), (2, 1 / 3), (4, 1 / 5)):
        queue: FairQueue[Work] = FairQueue(10_000)
        full: set[int] = set()
        while len(full) < floods:
            for flood in range(floods):
                try:
                    queue.push(f"flood-{flood}", Work(f"flood-{flood}", 0))
                except IntakeFull:
                    full.add(flood)
        assert queue.size_bytes == pytest.approx(10_000 * part * floods, rel=0.02)
        queue.push("quiet", Work("quiet", 0, size_bytes=int(10_000 * part * 0.9)))


def test_one_large_request_has_the_whole_room() -> None:
    """The part of a source is about its line; its first request is bounded by the queue alone."""
    queue: FairQueue[Work] = FairQueue(1_000)
    queue.push("a", Work("a", 0, size_bytes=900))
    with pytest.raises(IntakeFull):
        queue.push("a", Work("a", 1, size_bytes=90))
    with pytest.raises(IntakeFull):
        queue.push("b", Work("b", 0, size_bytes=101))
    queue.push("b", Work("b", 0, size_bytes=100))


SOURCES = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), SOURCES, st.integers(0, 50), st.integers(0, 3)),
        st.tuples(st.just("take"), st.integers(1, 5), st.integers(1, 100)),
        st.tuples(st.just("since"), st.integers(0, 40)),
    ),
    max_size=60,
)


@given(STEPS)
def test_nothing_is_lost_and_each_source_keeps_its_order(steps: list[tuple[object, ...]]) -> None:
    """Whatever is asked: what comes out is what went in, of each source in order, and the counts hold."""
    queue: FairQueue[Work] = FairQueue(300)
    waiting: dict[str, deque[Work]] = {"a": deque(), "b": deque(), "c": deque()}
    for at, step in enumerate(steps):
        taken: list[Work] = []
        match step:
            case ("push", str(source), int(size), int(events)):
                work = Work(source, at, size_bytes=size, since_s=float(at), events=(1,) * events)
                try:
                    queue.push(source, work)
                except IntakeFull:
                    continue
                waiting[source].append(work)
            case ("take", int(events), int(size)):
                taken = queue.take(events, size)
                assert bool(taken) == any(waiting.values())
                if len(taken) > 1:
                    assert sum(len(work.events) for work in taken) <= events
                    assert sum(work.size_bytes for work in taken) <= size
            case ("since", int(until)):
                taken = queue.take_since(float(until))
                for work in taken:
                    assert work.since_s <= until
        for work in taken:
            assert waiting[work.source].popleft() == work
        if step[0] == "since":
            assert all(not line or line[0].since_s > step[1] for line in waiting.values())  # type: ignore[operator]  # a number
        assert len(queue) == sum(len(line) for line in waiting.values())
        assert queue.size_bytes == sum(work.size_bytes for line in waiting.values() for work in line) <= 300
