"""What was sent, acknowledged, logged and delivered, against each other. Pure."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

BEFORE_KILL_S = 5.0
"""A delivery that ended so long before a kill may not have been settled by then, and come again. It takes a second at
the most where the machine is not busy."""


class Delivered(NamedTuple):
    """One delivery that the subscriber took."""

    at_s: float
    event_id: str


class Logged(NamedTuple):
    """One entry of the log."""

    event_id: str
    key: str | None


class Facts(msgspec.Struct, kw_only=True):
    """What everybody saw. Times are seconds of one clock."""

    sent: set[str]
    """Ids of the events of all requests that were ever sent."""
    acknowledged: dict[str, list[str]]
    """Event id → the statuses it had in answers with 200 (``logged`` or ``duplicate``)."""
    log: list[Logged]
    """The log at the end, in order."""
    delivered: dict[str, list[Delivered]]
    """Subscriber → what it took, in order."""
    in_order: set[str]
    """Subscribers that asked for order by key."""
    kills_s: list[float]
    """When something was killed."""
    resent: list[str]
    """The statuses of acknowledged events that were sent once more at the end."""
    exits: list[int]
    """Exit codes of gateways that ended by themselves."""
    pending: int
    """Deliveries that did not end in the time to drain."""
    unaccounted: int
    unaccounted_after_deletion: int
    """The same after one entry of the log was deleted."""
    unwanted: dict[str, set[str]] = {}
    """Subscriber → events that are not for it."""
    spans_s: list[tuple[float, float]] = []
    """From when to when something was away or standing still, which explains a repetition as a kill does."""
    forgotten: set[str] = set()
    """Events that may be logged again if they are sent again: the store's clock was set beyond its dedupe window."""


class Line(NamedTuple):
    """One line of the verdict."""

    what: str
    number: int
    wrong: bool
    examples: Sequence[str] = ()


def judge(facts: Facts) -> list[Line]:
    """All lines; those that are ``wrong`` say what and, where there are any, which."""
    in_log = [entry.event_id for entry in facts.log]
    logged = set(in_log)
    lines = [
        Line("requests sent", len(facts.sent), wrong=not facts.sent),
        Line("acknowledged with 200", len(facts.acknowledged), wrong=not facts.acknowledged),
        _none("sent, never acknowledged", facts.sent - facts.acknowledged.keys()),
        _none("acknowledged, not in the log", facts.acknowledged.keys() - logged),
        _none("in the log, never sent", logged - facts.sent),
        _none("in the log twice", {name for name, count in Counter(in_log).items() if count > 1} - facts.forgotten),
        _none(
            "answered 'logged' twice",
            {name for name, statuses in facts.acknowledged.items() if statuses.count("logged") > 1} - facts.forgotten,
        ),
        Line("sent once more at the end", len(facts.resent), wrong=not facts.resent),
        Line(
            "of these not answered 'duplicate'",
            wrong_answers := sum(status != "duplicate" for status in facts.resent),
            wrong=wrong_answers > 0,
        ),
    ]
    for name, deliveries in sorted(facts.delivered.items()):
        took = {each.event_id for each in deliveries}
        unwanted = facts.unwanted.get(name, set())
        repeated, unexplained = repeats(deliveries, [*facts.spans_s, *((at_s, at_s) for at_s in facts.kills_s)])
        lines += [
            Line(f"{name}: delivered", len(deliveries), wrong=not deliveries),
            _none(f"{name}: acknowledged, not delivered", facts.acknowledged.keys() - took - unwanted),
            _none(f"{name}: delivered, never sent", took - facts.sent),
            _none(f"{name}: delivered, and not for it", took & unwanted),
            Line(f"{name}: delivered again around a kill", repeated, wrong=False),
            _none(f"{name}: delivered again without a kill", unexplained),
        ]
        if name in facts.in_order:
            lines.append(_none(f"{name}: delivered out of the order of its key", disorder(facts.log, deliveries)))
    lines += [
        Line("deliveries still pending", facts.pending, wrong=facts.pending != 0),
        Line("gateways that ended by themselves", len(facts.exits), wrong=bool(facts.exits)),
        Line("unaccounted by the audit", facts.unaccounted, wrong=facts.unaccounted != 0),
        Line(
            "unaccounted with one entry deleted",
            facts.unaccounted_after_deletion,
            wrong=facts.unaccounted_after_deletion != 1,
        ),
    ]
    return lines


def repeats(deliveries: Sequence[Delivered], spans_s: Sequence[tuple[float, float]]) -> tuple[int, set[str]]:
    """How many deliveries were repetitions that a kill (a span of no length) or another trouble explains, and the
    events repeated without one."""
    last_s: dict[str, float] = {}
    explained, unexplained = 0, set()
    for at_s, event_id in deliveries:
        before_s = last_s.get(event_id)
        last_s[event_id] = at_s
        if before_s is None:
            continue
        if any(before_s - BEFORE_KILL_S <= end_s and start_s <= at_s for start_s, end_s in spans_s):
            explained += 1
        else:
            unexplained.add(event_id)
    return explained, unexplained


def disorder(log: Sequence[Logged], deliveries: Sequence[Delivered]) -> set[str]:
    """Events that were delivered for the first time before one that stands before them under the same key."""
    place: dict[str, tuple[int, str | None]] = {}
    for number, entry in enumerate(log):
        place.setdefault(entry.event_id, (number, entry.key))
    highest: dict[str, int] = {}
    seen: set[str] = set()
    wrong: set[str] = set()
    for _, event_id in deliveries:
        number, key = place.get(event_id, (0, None))
        if key is None or event_id in seen:
            continue
        seen.add(event_id)
        if number < highest.get(key, -1):
            wrong.add(event_id)
        highest[key] = max(number, highest.get(key, -1))
    return wrong


def _none(what: str, found: "set[str] | frozenset[str]") -> Line:
    return Line(what, len(found), wrong=bool(found), examples=sorted(found)[:3])
