"""What must hold after a race: every event in the log once, one copy of it answered ``logged``, all others not."""

from collections import Counter

import msgspec


class Facts(msgspec.Struct, kw_only=True):
    """What was sent, what was answered, what the store holds."""

    copies: dict[str, int]
    """Event → how often it was sent and answered."""
    logged: Counter[str]
    """Event → how many of its copies were answered with a sequence number."""
    numbers: dict[str, set[int]]
    """Event → those numbers."""
    unanswered: set[str]
    """Events of which a copy was told that the store is away, and sent again."""
    log: list[tuple[int, str]]
    """The log: sequence number and event."""
    counted_logged: int
    counted_duplicate: int
    counted_accepted: int
    unaccounted: int


class Line(msgspec.Struct, frozen=True):
    """One number, and whether it is wrong."""

    what: str
    number: int
    wrong: bool = False


def judge(facts: Facts) -> list[Line]:
    """The numbers of a race; every wrong one says so."""
    entries = Counter(name for _, name in facts.log)
    place = {name: seq for seq, name in facts.log}
    twice = sum(number - 1 for number in entries.values())
    missing = sum(name not in entries for name in facts.copies)
    unknown = sum(name not in facts.copies for name in entries)
    answered_twice = sum(number > 1 for number in facts.logged.values())
    # An event that was logged while its sender was told to come again is a duplicate when it does.
    never = sum(not facts.logged[name] and name not in facts.unanswered for name in facts.copies)
    elsewhere = sum(numbers != {place.get(name)} for name, numbers in facts.numbers.items())
    holes = sum(seq != at for at, (seq, _) in enumerate(facts.log, 1))
    copies = sum(facts.copies.values())
    lines = [
        Line("events", len(facts.copies), not facts.copies),
        Line("copies answered", copies, copies <= len(facts.copies)),
        Line("second entries in the log", twice, twice > 0),
        Line("not in the log", missing, missing > 0),
        Line("in the log, never sent", unknown, unknown > 0),
        Line("holes in the sequence", holes, holes > 0),
        Line("events answered 'logged' twice", answered_twice, answered_twice > 0),
        Line("events never answered 'logged'", never, never > 0),
        Line("answered with another's number", elsewhere, elsewhere > 0),
        Line("unaccounted", facts.unaccounted, facts.unaccounted != 0),
        Line("counted as logged beyond the log", off := facts.counted_logged - len(facts.log), off != 0),
    ]
    # Where nobody was told to come again each copy was counted exactly once.
    surplus = facts.counted_accepted - copies
    lines.append(
        Line("copies counted beyond those answered", surplus, surplus < 0 or (not facts.unanswered and surplus > 0))
    )
    repeated = facts.counted_logged + facts.counted_duplicate - facts.counted_accepted
    lines.append(Line("events counted beyond the copies", repeated, repeated != 0))
    return lines
