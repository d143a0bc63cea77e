"""What requests bring to one partition, the batch that is made of it, and its answer to each of them."""

import asyncio

import msgspec

from gateway.intake.notes import Counts, Doubt
from gateway.store.log import Batch, KeptRequest, NewEvent


class Work(msgspec.Struct):
    """What one request brings to one partition."""

    events: list[NewEvent]
    count: tuple[str, str] | None
    """Source and outcome to count, where this partition counts the request."""
    quarantined: KeptRequest | None
    size_bytes: int
    since_s: float
    done: "asyncio.Future[list[int]]"


def batch_of(works: list[Work], noted: Counts, doubt: Doubt | None, rejected: list[KeptRequest]) -> Batch:
    """What these requests bring, with the counts, the doubt and the rejected requests that go along."""
    counts = dict(noted)  # a copy: should the batch fail, what was noted goes again without what the requests count
    for work in works:
        if work.count is not None:
            counts[work.count] = counts.get(work.count, 0) + 1
    return Batch(
        events=[event for work in works for event in work.events],
        counts=_listed(counts),
        quarantined=[work.quarantined for work in works if work.quarantined is not None],
        rejected=rejected,
        doubtful=_listed(doubt.counts) if doubt is not None else [],
        doubtful_number=doubt.number if doubt is not None else 0,
    )


def answer(works: list[Work], sequence: list[int]) -> None:
    """Each request gets the numbers of its own events."""
    at = 0
    for work in works:
        end = at + len(work.events)
        if not work.done.done():  # else the provider hung up; the event is logged all the same
            work.done.set_result(sequence[at:end])
        at = end


def _listed(counts: Counts) -> list[tuple[str, str, int]]:
    return [(source, outcome, number) for (source, outcome), number in counts.items()]
