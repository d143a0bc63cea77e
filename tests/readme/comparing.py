"""Does what came look like what the README shows? Times, ids, ports and secrets differ in every run; the rest must not.

``…`` alone on a line stands for any lines, ``…`` inside a line for any text. White space counts as one blank, since
columns are as wide as what is in them. An id that was shown before means the same event again.
"""

import re
from collections.abc import Sequence

_MASKS = (
    r"127\.0\.0\.1:\d+",
    r"/login/[\w-]+",
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3}Z?)?",
    r"\b\d\d:\d\d:\d\d(?:\.\d{3})?\b",
    r"\b\d+(?:\.\d+)? (?:ms|s)\b",
    r"\b\d+\.\d MiB\b",
    r"\bvalkey \d+\.\d+\.\d+\b",
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
    r"\bchat_\d\d\b",
    r"(?<![\w-])[\w-]{43}(?![\w-])",
)
_ID = r"\bevt_[a-z2-7]+\b"
_TOKENS = re.compile("|".join(f"(?P<m{number}>{mask})" for number, mask in enumerate(_MASKS)) + f"|(?P<id>{_ID})|…")
_DURATION = r"\d+(?:\.\d+)? (?:ms|s)"

Names = dict[str, str]
"""Ids as the README has them → as they are in this run."""


def difference(shown: Sequence[str], came: Sequence[str], names: Names, *, any_order: bool = False) -> str | None:
    """Why ``came`` is not what is ``shown``, or ``None``. Learns ids into ``names`` if it is."""
    learned = dict(names)
    lines = [line.rstrip() for line in came]
    free = False
    for line in [line.rstrip() for line in shown]:
        if line == "…":
            free = True
            continue
        within = lines if free or any_order else lines[:1]
        for index, candidate in enumerate(within):
            if found := _match(line, candidate, learned):
                learned |= found[0]
                del lines[index if any_order else 0 : index + 1]
                break
        else:
            return f"not there: {line}\nwhat came:\n" + "\n".join(within)
        free = free and any_order
    if not free and any(lines):
        return "not shown:\n" + "\n".join(lines)
    names |= learned
    return None


def real(command: str, names: Names) -> str:
    """A command of the README with the ids of this run."""
    return re.sub(_ID, lambda found: _real_id(found[0], names) or found[0], command)


def _match(shown: str, came: str, names: Names) -> tuple[Names] | None:
    ids: list[str] = []
    found = re.fullmatch(_pattern(shown, names, ids), came)
    return None if found is None else (dict(zip(ids, found.groups(), strict=True)),)


def _pattern(shown: str, names: Names, ids: list[str]) -> str:
    pattern, at = "", 0
    for token in _TOKENS.finditer(shown):
        pattern += _literal(shown[at : token.start()])
        at = token.end()
        if token[0] == "…":
            pattern += ".*"
        elif token["id"]:
            known = _real_id(token[0], names)
            pattern += re.escape(known) if known else f"({_ID})"
            if not known:
                ids.append(token[0])
        else:
            mask = _MASKS[int(str(token.lastgroup)[1:])]
            pattern += _DURATION if "ms|s" in mask else mask
    return pattern + _literal(shown[at:])


def _literal(text: str) -> str:
    return r"\s+".join(re.escape(part) for part in re.split(r"\s+", text))


def _real_id(shown: str, names: Names) -> str | None:
    for name, meant in names.items():
        if name.startswith(shown):
            return meant[: len(shown)]
    return None
