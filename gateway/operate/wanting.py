"""Would a subscriber want this event, by its settings of today, and if not, what says no: pure."""

import msgspec

from gateway.config import SubscriberSettings
from gateway.delivery.condition import BadCondition, Condition, Subject
from gateway.delivery.matching import type_matches
from schemas.event import CREDENTIAL_TYPE


class Verdict(msgspec.Struct, frozen=True):
    """What the settings say of one event."""

    wanted: bool
    by_type: bool
    """Whether the types cover it, whatever the condition says."""
    words: str
    """Which pattern covers it, or what says no, as a sentence without its subject."""


def judge(settings: SubscriberSettings, event_type: str, subject: Subject) -> Verdict:
    """Ask the types first, then the condition, as delivery does."""
    covering = next((each for each in settings.types if type_matches(each, event_type)), None)
    if covering is None:
        asked = ", ".join(settings.types)
        if event_type == CREDENTIAL_TYPE:
            return Verdict(
                False, False, f"did not name {CREDENTIAL_TYPE}, which no pattern covers; it asks for {asked}"
            )
        return Verdict(False, False, f"does not ask for {event_type}; it asks for {asked}")
    if settings.where is None:
        return Verdict(True, True, f"asks for it with {covering}")
    try:
        condition = Condition(settings.where, settings.types)
    except BadCondition:  # it was read by another version; delivery would not run with it either
        return Verdict(False, True, "has a condition that this version cannot read")
    found = condition.judge(subject.seen_by(condition))
    if found is True:
        return Verdict(True, True, f"asks for it with {covering}, and its where holds")
    clause, found = _blamed(settings, subject, found)
    if isinstance(found, str):
        return Verdict(False, True, f"where failed on it, which counts as no: {clause} ({found})")
    return Verdict(False, True, f"where said no: {clause}")


def _blamed(settings: SubscriberSettings, subject: Subject, found: bool | str) -> tuple[str, bool | str]:
    """The first part of the condition that does not hold; the whole where it has no parts that stand alone."""
    assert settings.where is not None
    for clause in clauses(settings.where):
        try:
            condition = Condition(clause, settings.types)
        except BadCondition:
            continue
        if (of_clause := condition.judge(subject.seen_by(condition))) is not True:
            return clause, of_clause
    return settings.where, found


_OPENING, _CLOSING = "([{", ")]}"


def clauses(where: str) -> list[str]:
    """The parts that ``&&`` joins at the top of an expression; the expression itself where it has none.

    ``||`` and ``?`` bind weaker than ``&&``: with one of them at the top, the parts say nothing by themselves.
    """
    parts: list[str] = []
    depth, start, at = 0, 0, 0
    while at < len(where):
        char = where[at]
        if char in "\"'":
            at = _behind_string(where, at)
            continue
        depth += (char in _OPENING) - (char in _CLOSING)
        if depth == 0 and (char == "?" or where.startswith("||", at)):
            return [where.strip()]
        if depth == 0 and where.startswith("&&", at):
            parts.append(where[start:at].strip())
            at += 2
            start = at
            continue
        at += 1
    return [*parts, where[start:].strip()]


def _behind_string(where: str, at: int) -> int:
    """The place behind the string that begins at ``at``. In a raw string (``r"…"``) a backslash escapes nothing."""
    quote = where[at] * 3 if where.startswith(where[at] * 3, at) else where[at]
    raw = at > 0 and where[at - 1] in "rR"
    at += len(quote)
    while at < len(where) and not where.startswith(quote, at):
        at += 2 if where[at] == "\\" and not raw else 1
    return at + len(quote)
