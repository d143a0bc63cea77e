"""A subscriber's ``where``: an expression over the event that says whether it wants it.

CEL (cel.dev) with one variable, ``event``: the canonical event, whose unknown fields in ``data`` are absent, so that
``has(event.data.error)`` means what it says. A condition is compiled once, and checked when it is loaded
(``condition_check.py``): what could never match is a mistake with its place, not a silence. An expression that fails on
an event is no match, and is counted.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.delivery.condition_check import Checked, Reads, check
from gateway.delivery.condition_compile import BadCondition, Mistake, compile_expression, evaluate
from gateway.delivery.condition_tree import read_tree
from gateway.delivery.fields import sample
from gateway.delivery.matching import type_matches
from schemas.event import EVENT_TYPES

__all__ = ["BadCondition", "Condition", "Mistake", "Subject"]

MAX_CHARS = 2_000
"""Longer filters are programs, and belong into the subscriber."""

_HOPELESS = ("No matching overloads", "Key not found", "the result is")
"""Failures on a sample with every field set that no other value would mend."""


class Condition:
    """One compiled ``where``."""

    def __init__(self, where: str, types: Sequence[str] = ("*",)) -> None:
        """``types``: the type patterns that are asked first. Raises ``BadCondition``."""
        if len(where) > MAX_CHARS:
            mistake = Mistake(
                0, f"is {len(where)} characters long", f"at most {MAX_CHARS}, or filter in the subscriber"
            )
            raise BadCondition([mistake])
        met = [each for each in EVENT_TYPES if any(type_matches(pattern, each) for pattern in types)] or EVENT_TYPES
        self._expression = compile_expression(where)
        checked = check(read_tree(self._expression.serialize(), where), met)
        if checked.mistakes:
            raise BadCondition(sorted(set(checked.mistakes), key=lambda mistake: mistake.column))
        self._reads = checked.reads
        self._try_on_samples(met, checked)
        self.text = where
        self.failures = 0
        """On how many events it failed."""

    @property
    def reads_raw(self) -> bool:
        """Whether it looks at ``event.raw``."""
        return self._reads is None or "raw" in self._reads

    def wants(self, event: Mapping[str, Any]) -> bool:
        """Whether it holds for a canonical event. One it fails on is not wanted, and counted."""
        found = self.judge(event)
        if found is True:
            return True
        if found is not False:
            self.failures += 1
        return False

    def judge(self, event: Mapping[str, Any]) -> bool | str:
        """Whether it holds, or in words why it failed. Counts nothing."""
        # Converting the event is most of the cost, and one number beyond 64 bits anywhere in it would fail them all.
        return evaluate(self._expression, dict(event) if self._reads is None else _cut(event, self._reads))

    def _try_on_samples(self, types: Sequence[str], checked: Checked) -> None:
        """Where every event that could come would fail, say so now."""
        failures: list[str] = []
        for event_type in types:
            for full in (True, False):
                found = self.judge(sample(event_type, full=full))
                if isinstance(found, bool) or not any(words in found for words in _HOPELESS):
                    return
                failures.append(found)
        if not checked.reads_open:
            why = failures[0].partition(": ")[2] or failures[0]
            raise BadCondition([Mistake(0, f"fails on every event that could come: {why}", "what gives true or false")])


class Subject:
    """An event of the log as conditions see it: decoded once, and only if one asks."""

    __slots__ = ("_event", "_event_json", "_has_raw", "_raw_json")

    def __init__(self, event_json: bytes, raw_json: bytes) -> None:
        self._event_json = event_json
        self._raw_json = raw_json
        self._event: dict[str, Any] | None = None
        self._has_raw = False

    def suits(self, condition: Condition | None) -> bool:
        """Whether who has this condition wants it; who has none does."""
        return condition is None or condition.wants(self.seen_by(condition))

    def seen_by(self, condition: Condition) -> Mapping[str, Any]:
        """The event with as much of it as this condition looks at."""
        if self._event is None:
            self._event = msgspec.json.decode(self._event_json)
        if condition.reads_raw and not self._has_raw and self._raw_json:
            self._event["raw"] = msgspec.json.decode(self._raw_json)
            self._has_raw = True
        return self._event


def _cut(event: Mapping[str, Any], reads: Reads) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, below in reads.items():
        if key in event:
            value = event[key]
            found[key] = value if below is None or not isinstance(value, dict) else _cut(value, below)
    return found
