"""CEL, as much of it as a condition needs: compile an expression, and say in plain words what is wrong with one.

The library is Google's (C++ inside). It limits by itself how deep an expression nests (32) and how often a loop turns
(10 000 times an evaluation), and its regular expressions take time in proportion to the text.
"""

import re
from functools import cache
from typing import Any

import msgspec

from gateway.config_file.values import did_you_mean
from schemas.event import Event

_PLACED = re.compile(r"ERROR: <input>:(-?[0-9]+):(-?[0-9]+): (.*)")
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")
_OVERLOAD = re.compile(r"found no matching overload for '([^']*)' applied to '\((.*)\)'")
_SLIPS = {
    "and": "&& for and",
    "or": "|| for or",
    "not": "! for not",
    "=": '== to compare, like event.channel == "whatsapp"',
    "&": "&& for and",
    "|": "|| for or",
}
"""What people write who think in another language, and what it is here."""
_EXAMPLE = 'an expression like event.channel == "whatsapp" && has(event.data.error)'


class Mistake(msgspec.Struct, frozen=True):
    """One thing wrong with an expression."""

    column: int
    """From 1; 0 if it is wrong as a whole."""
    why: str
    """Continues "the expression …"."""
    write: str
    """What to write instead."""


class BadCondition(ValueError):
    """The expression cannot be a condition. Holds every mistake that was found."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        self.mistakes = mistakes
        super().__init__("; ".join(in_words(mistake) for mistake in mistakes))


def in_words(mistake: Mistake) -> str:
    """A mistake as a sentence without a subject: place, why, and what to write."""
    place = f"column {mistake.column}: " if mistake.column else ""
    return f"{place}{mistake.why}; write {mistake.write}"


@cache
def _environment() -> Any:
    # Imported here since it takes 7 ms, which only who filters should pay.
    from cel_expr_python import cel  # type: ignore[import-untyped]  # its stubs come without the marker

    return cel.NewEnv(variables={"event": cel.Type.Map(cel.Type.STRING, cel.Type.DYN)})


def compile_expression(text: str) -> Any:
    """Compile ``text``, in which ``event`` is a map, to a ``cel.Expression``. Raises ``BadCondition``."""
    try:
        return _environment().compile(text)
    except RuntimeError as error:  # all that the library raises
        raise BadCondition(_mistakes(text, str(error))) from None


def evaluate(expression: Any, event: dict[str, Any]) -> bool | str:
    """The value of an expression; a sentence if it has none, or one that is neither true nor false."""
    try:
        result = expression.eval(data={"event": event})
        value = result.value()
    except Exception as error:  # the library's own have no common class, and none may end a lane
        return str(error)
    if value is True or value is False:
        return value
    kind = result.type().name()
    return str(value) if kind == "ERROR" else f"the result is {kind.lower()} and not true or false"


def literal_mistake(function: str, literal: str) -> str:
    """Why a function of texts (``matches``, ``timestamp``, ``duration``) cannot work with this one; empty if it can."""
    quoted = msgspec.json.encode(literal).decode()  # what JSON can write, CEL can read
    trial = f'"".matches({quoted})' if function == "matches" else f"{function}({quoted}) == {function}({quoted})"
    result = evaluate(compile_expression(trial), {})
    return result.partition(": ")[2] or result if isinstance(result, str) else ""


def _mistakes(text: str, message: str) -> list[Mistake]:
    found = [
        _mistake(text, int(line), int(column), what)
        for line, column, what in _PLACED.findall(message.replace(" [INVALID_ARGUMENT]", ""))
        if "*error*" not in what  # follows from another
    ]
    if not found:
        deep = "recursion" in message
        found = [Mistake(0, "nests too deep" if deep else "cannot be read", "a shorter expression")]
    is_syntax = any("is not CEL" in mistake.why for mistake in found)
    return found[:1] if is_syntax else list(dict.fromkeys(found))  # after a slip in the syntax nothing else is sure


def _mistake(text: str, line: int, column: int, what: str) -> Mistake:
    if line < 1:
        return Mistake(0, "nests too deep", "a shorter expression")
    at = sum(len(each) + 1 for each in text.split("\n")[: line - 1]) + column - 1
    if (undeclared := _UNDECLARED.match(what)) is not None:
        return _undeclared(text, at, undeclared[1])
    if (overload := _OVERLOAD.match(what)) is not None:
        operator, operands = overload[1].replace("_", "").removeprefix("@"), overload[2]
        return Mistake(at + 1, f"'{operator}' cannot be applied to {operands}", "values that it can be applied to")
    if "cannot be the range of a comprehension" in what and "'dyn'" in what:
        # The library's checker wants it said that what an index gives may be a list.
        return Mistake(at + 1, "loops over what an index in brackets gives", "dyn(…) around it, like dyn(event.raw[0])")
    if not what.startswith("Syntax error"):
        return Mistake(at + 1, what, _EXAMPLE)
    if at >= len(text.rstrip()):
        return Mistake(at + 1, "is not CEL: it ends too early", _EXAMPLE)
    word = re.match(r"\w+|\W", text[at:])
    before = re.search(r"\b(not)\s+$", text[:at])
    hint = _SLIPS.get(before[1] if before else word[0] if word else "", _EXAMPLE)
    start = before.start(1) if before else at
    return Mistake(start + 1, f"is not CEL from {text[start : start + 12]!r} on", hint)


def _undeclared(text: str, at: int, name: str) -> Mistake:
    first = name.split(".")[0]
    start = max(text.rfind(first, 0, at + 1), 0)
    if text[at : at + 1] == "(" and not name.count("."):
        return Mistake(start + 1, f"{name} is not a function that there is", "one of CEL's own functions")
    is_field = first in Event.__struct_fields__
    hint = f" (did you mean event.{first}?)" if is_field else did_you_mean(first, ["event"])
    return Mistake(start + 1, f"{first} is not known: all there is is event{hint}", "event and its fields")
