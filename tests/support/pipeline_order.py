"""Was ``order = "key"`` kept? Asked of what happened, in the order in which it happened; for ``pipeline_model.py``."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal, NamedTuple


class Moment(NamedTuple):
    """Something that happened; when is its place in the list of all."""

    what: Literal["attempt", "delivered", "retry", "retried", "takeover"]
    """``retry``: an operator asks for it; ``retried``: the gateway knows."""
    subscriber: str = ""
    event: str = ""
    began: int = 0
    """Of a delivered one: where the attempt is in the list."""


def out_of_order(moments: Sequence[Moment], subscriber: str, logged: Sequence[tuple[str, str | None]]) -> list[str]:
    """Attempts at an event while an older one of its key was pending, in words.

    An older one was pending if it was delivered for the first time later, and was not a dead letter in between: then
    somebody has retried it in between. Not counted: what a process delivers that has lost the partition, by an attempt
    that was on the wire then.
    """
    delivered: dict[str, tuple[int, int]] = {}
    retries: dict[str, list[list[int]]] = defaultdict(list)
    attempts: list[tuple[int, str]] = []
    takeovers: list[int] = []
    for at, (what, name, event, began) in enumerate(moments):
        if what == "takeover":
            takeovers.append(at)
        if name != subscriber:
            continue
        if what == "attempt":
            attempts.append((at, event))
        elif what == "delivered":
            delivered.setdefault(event, (began, at))
        elif what == "retry":
            retries[event].append([at, len(moments)])
        elif what == "retried":
            retries[event][-1][1] = at
    older: dict[str, list[str]] = {}
    of_key: dict[str, list[str]] = defaultdict(list)
    for event, key in logged:
        if key is not None:
            older[event] = list(of_key[key])
            of_key[key].append(event)
    found = []
    for at, event in attempts:
        for before in older.get(event, ()):
            began, ended = delivered.get(before, (0, 0))
            was_dead = any(asked < ended and known > at for asked, known in retries[before])
            by_a_stale_one = began < at and any(began < taken < at for taken in takeovers)
            if ended > at and not was_dead and not by_a_stale_one:
                found.append(f"{event} was tried at {at}, before {before}, which was delivered at {ended}")
    return found
