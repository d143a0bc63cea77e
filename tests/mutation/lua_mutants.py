"""Small mistakes in Lua, by its words alone: enough for scripts as short and plain as ours."""

import re
from collections.abc import Iterator

import msgspec

from tests.mutation.mutant import Edit, Mutant, distinct

_WORD = re.compile(
    r"""(?P<blank>\s+|--[^\n]*|\#![^\n]*)
      | (?P<text>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")
      | (?P<number>\d+)
      | (?P<name>[A-Za-z_]\w*)
      | (?P<sign>\.\.\.|\.\.|==|~=|<=|>=|[-+*/%^\#<>=(){}\[\];:,.])""",
    re.VERBOSE,
)
_EXCHANGED = {
    "<": ("<=", ">="),
    "<=": ("<", ">"),
    ">": (">=", "<="),
    ">=": (">", "<"),
    "==": ("~=",),
    "~=": ("==",),
    "and": ("or",),
    "or": ("and",),
    "+": ("-",),
    "-": ("+",),
    "*": ("/",),
    "/": ("*",),
    "true": ("false",),
    "false": ("true",),
    "'LPUSH'": ("'RPUSH'",),
    "'RPUSH'": ("'LPUSH'",),
}
_COMPARING = {"<", "<=", ">", ">=", "==", "~="}
_KEYWORDS = {
    *("and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in", "local", "nil", "not"),
    *("or", "repeat", "return", "then", "true", "until", "while"),
}
_CONNECTING = {"and", "or", "not"}
_CLOSING = {")", "]", "}"}


class Word(msgspec.Struct, frozen=True):
    """One word of a script and where it stands."""

    kind: str
    text: str
    start: int
    end: int


def lua_mutants(file: str, text: str) -> list[Mutant]:
    """Every mistake in a script.

    Comparisons (off by one, and turned round), ``and``/``or``, ``not`` dropped or added to a condition, numbers ± 1
    (so also another of ``KEYS`` and ``ARGV``), arithmetic, the two ends of a list, and statements taken away: calls,
    assignments, ``return``, ``break``.
    """
    words = list(split(text))
    return distinct(file, text, [*_exchanges(words), *_conditions(words, text), *_removals(words)])


def split(text: str) -> Iterator[Word]:
    """The words of a script, without blanks and comments. Raises ``ValueError`` for what it does not know."""
    at = 0
    while at < len(text):
        found = _WORD.match(text, at)
        if found is None:
            raise ValueError(f"no word of Lua that we know: {text[at : at + 20]!r}")
        if found.lastgroup != "blank":
            yield Word(str(found.lastgroup), found.group(), at, found.end())
        at = found.end()


def _exchanges(words: list[Word]) -> Iterator[Edit]:
    depth = 0
    for number, word in enumerate(words):
        depth += (word.text == "[") - (word.text == "]")
        for other in _EXCHANGED.get(word.text, ()):
            is_sign = word.text == "-" and not _ends_value(words[number - 1])
            if not is_sign and not (depth and word.text == "+"):  # the number behind it in an index changes anyway
                yield Edit(word.start, word.end, other)
        if word.text == "-" and not _ends_value(words[number - 1]):
            yield Edit(word.start, word.end, "")
        if word.text == "not":
            yield Edit(word.start, word.end, "")
        if word.kind == "number" and not _is_chosen(words, number):
            yield Edit(word.start, word.end, str(int(word.text) + 1))
            yield Edit(word.start, word.end, f"({int(word.text) - 1})")
        if word.kind == "text" and word.text[1:-1].isdigit():
            yield Edit(word.start, word.end, f"'{int(word.text[1:-1]) + 1}'")


def _is_chosen(words: list[Word], number: int) -> bool:
    """``local HISTORY = 10000``: a figure that somebody chose, and the next one would have done."""
    return number > 2 and words[number - 1].text == "=" and words[number - 2].text.isupper()


def _conditions(words: list[Word], text: str) -> Iterator[Edit]:
    """A condition turned round; one with a single comparison has that turned round already."""
    for number, word in enumerate(words):
        if word.text in ("if", "elseif", "while"):
            closing = next(at for at in range(number, len(words)) if words[at].text in ("then", "do"))
            inside = words[number + 1 : closing]
            if not _COMPARING & {each.text for each in inside} or _CONNECTING & {each.text for each in inside}:
                start, end = inside[0].start, inside[-1].end
                yield Edit(start, end, f"not ({text[start:end]})")


def _removals(words: list[Word]) -> Iterator[Edit]:
    for number, word in enumerate(words):
        if word.text == "break":
            yield Edit(word.start, word.end, "")
        elif word.text == "return" or (word.kind == "name" and word.text not in _KEYWORDS and _begins(words, number)):
            yield Edit(word.start, words[_last(words, number)].end, "")


def _begins(words: list[Word], number: int) -> bool:
    """Whether a statement begins with this name."""
    if number == 0:
        return True
    before = words[number - 1]
    if before.text in ("then", "do", "else", "end", "repeat"):
        return True
    return before.text not in ("local", "for", "function") and _ends_value(before)


def _last(words: list[Word], number: int) -> int:
    """The last word of the statement that begins here."""
    depth = 0
    for at in range(number + 1, len(words)):
        word = words[at]
        stops = word.kind == "name" and (word.text in _KEYWORDS - _CONNECTING - {"true", "false", "nil", "function"})
        follows = word.kind == "name" and word.text not in _KEYWORDS and _ends_value(words[at - 1])
        if depth == 0 and (stops or follows):
            return at - 1
        depth += (word.text in ("(", "[", "{")) - (word.text in _CLOSING)
    return len(words) - 1


def _ends_value(word: Word) -> bool:
    """Whether an expression can end with this word."""
    if word.kind == "name":
        return word.text not in _KEYWORDS or word.text in ("true", "false", "nil", "end")
    return word.kind in ("number", "text") or word.text in _CLOSING
