"""How a journey and the equation look, as text with styles. Pure: width in, text out.

A line never wraps. On a wide terminal it tells the whole way, on a narrow one the last station; what does not fit is
cut from the *front* of the provider's name for the event, whose end says most.
"""

import datetime as dt
from typing import Any

from rich.text import Text

from gateway.simulator.story import SUBSCRIBER_SUM, SUMS, Journey

FAMILY_STYLES = {
    "message": "cyan",
    "conversation": "magenta",
    "booking": "green",
    "payment": "yellow",
    "channel": "blue",
    "other": "bright_black",
}
WIDE_COLUMNS, MEDIUM_COLUMNS = 140, 104
_PROVIDER_COLUMNS, _MAPPING_COLUMNS = 12, 50
_GOOD, _PATIENT, _BAD, _QUIET = "green", "yellow", "red", "dim"

_PROVEN = ("proven", _QUIET)

_WRONG = {
    "wrong_signature": "wrong signature",
    "not_json": "body breaks off",
    "retry": "sent again",
    "sample": "",
}

Station = tuple[str, str]
"""A word and its style."""


def journey_line(journey: Journey, columns: int | None) -> Text:
    """One line: time, provider, provider's name → canonical type, id, stations. ``columns=None``: as long as needed."""
    narrow = columns is not None and columns < MEDIUM_COLUMNS
    gap = " " if narrow else "  "
    line = Text(no_wrap=True, overflow="ellipsis")
    clock = dt.datetime.fromtimestamp(journey.at_ms / 1000, dt.UTC).astimezone()
    line.append(f"{clock:%H:%M:%S}{gap}", _QUIET)
    line.append(f"{journey.provider:<{_PROVIDER_COLUMNS}.{_PROVIDER_COLUMNS}}{gap}", "bold")
    if narrow and columns is not None:
        shown_id, ways, mapping_columns = (journey.event_id or "")[4:10], _last_station(journey), columns - 41
    else:
        shown_id, ways, mapping_columns = (journey.event_id or "")[:10], _stations(journey), _MAPPING_COLUMNS
        if columns is not None and columns < WIDE_COLUMNS:
            ways = [station for station in ways if station != _PROVEN][-2:]
            mapping_columns = min(_MAPPING_COLUMNS, columns - 72)
    mapping = _mapping(journey, None if columns is None else mapping_columns)
    mapping.pad_right(max(0, mapping_columns - mapping.cell_len))
    line.append_text(mapping)
    line.append(f"{gap}{shown_id:<{6 if narrow else 10}}{gap}", _QUIET)
    for number, (word, style) in enumerate(ways):
        line.append(" · " if number else "", _QUIET)
        line.append(word, style)
    line.rstrip()
    if columns is not None:
        line.truncate(columns, overflow="ellipsis")
    return line


def equation(ledger: dict[str, Any], columns: int | None = None) -> Text:
    """The ledger as sums, a line each, broken before a plus where the terminal ends; zeros stand back."""
    rows = [(name, ledger[name], *SUMS[name]) for name in SUMS]
    rows += [(name, counts, *SUBSCRIBER_SUM) for name, counts in ledger["subscribers"].items()]
    name_columns = max(len(name) for name, *_ in rows)
    count_columns = max(len(str(counts[whole])) for _, counts, whole, _ in rows)
    text = Text(no_wrap=False)
    for name, counts, whole, parts in rows:
        text.append(f"{name:<{name_columns}}  ", "bold")
        text.append(f"{counts[whole]:>{count_columns}} ", "bold")
        text.append(f"{whole:<8} ", _QUIET)
        indent = at = name_columns + count_columns + 12
        for number, part in enumerate(parts):
            term = f"{counts[part]} {part}"
            if columns is not None and number and at + 3 + len(term) > columns:
                text.append("\n" + " " * (indent - 1))
                at = indent - 1
            text.append(" + " if number else "= ", _QUIET)
            text.append(term, _part_style(part) if counts[part] else _QUIET)
            at += 3 + len(term)
        text.append("\n")
    unaccounted = ledger["unaccounted"]
    text.append(f"{'':<{name_columns}}  ")
    text.append(f"{unaccounted:>{count_columns}} unaccounted", f"bold {_BAD if unaccounted else _GOOD}")
    return text


def _mapping(journey: Journey, columns: int | None) -> Text:
    if journey.type is not None:
        right, style = journey.type, FAMILY_STYLES[journey.type.split(".")[0]]
    else:
        right, style = "no event", _QUIET
    left = journey.provider_type or "?"
    if columns is not None:
        room = columns - len(right) - 3
        if room < 5:
            return Text(right, style)
        if len(left) > room:
            left = "…" + left[len(left) - room + 1 :]
    return Text.assemble(left, (" → ", _QUIET), (right, style))


def _stations(journey: Journey) -> list[Station]:
    """The whole way, word by word."""
    odd = [(_WRONG[journey.purpose], _PATIENT)] if _WRONG[journey.purpose] else []
    if journey.times_sent > 1:
        odd.append((f"taken when sent the {_ordinal(journey.times_sent)} time", _PATIENT))
    if journey.outcome == "rejected":
        return [*odd, (f"{journey.status} rejected", _BAD)]
    if journey.outcome == "unanswered":
        return [*odd, (journey.detail or "no answer", _BAD)]
    if journey.outcome in ("quarantined", "ignored"):
        return [*odd, _PROVEN, (journey.outcome, _PATIENT)]
    if journey.outcome == "duplicate":
        return [*odd, _PROVEN, ("duplicate", _PATIENT)]
    way: list[Station] = [*odd, _PROVEN, ("logged", _QUIET)]
    if journey.outcome == "filtered":
        return [*way, ("filtered: holds a login", _PATIENT)]
    refused = [status for _, status in journey.tries if not 200 <= status < 300]
    way += [(str(status), _BAD) for status in refused]
    if journey.taken_ms is not None:
        on = [f"attempt {journey.tries[-1][0]}"] if refused else []
        return [*way, (", ".join(["delivered", *on, *_duration(journey.taken_ms)]), _GOOD)]
    return [*way, ("will be tried again" if refused else "on its way", _PATIENT)]


def _last_station(journey: Journey) -> list[Station]:
    """The last word only, in eleven columns."""
    if journey.taken_ms is not None and journey.outcome == "logged":
        attempt = journey.tries[-1][0] if journey.tries else 1
        return [("delivered" if attempt <= 1 else f"attempt {attempt} ✓", _GOOD)]
    if journey.outcome in ("", "logged"):
        refused = journey.tries[-1][1] if journey.tries else None
        return [(f"{refused}, again" if refused else "on its way", _PATIENT)]
    return [(journey.outcome, _BAD if journey.outcome in ("rejected", "unanswered") else _PATIENT)]


def _ordinal(number: int) -> str:
    return {2: "2nd", 3: "3rd"}.get(number, f"{number}th")


def _duration(milliseconds: int) -> list[str]:
    """Nothing where it is not known, or less than a clock of milliseconds can tell."""
    if milliseconds <= 0:
        return []
    return [f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"]


def _part_style(part: str) -> str:
    if part in ("accepted", "logged", "delivered"):
        return _GOOD
    return _BAD if part in ("rejected", "dead", "discarded") else _PATIENT
