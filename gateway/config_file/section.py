"""One table of the file, read key by key: what is wrong goes to the problems, what holds to the origins.

A mistake never stops the reading: the key counts as its default and the next one is looked at, so that one run of
``gateway check`` shows all of them.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from adapters.registry import names
from gateway.config import NOT_YET, Origin
from gateway.config_file.lines import KeyPath, Lines
from gateway.config_file.references import References, is_reference
from gateway.config_file.values import Wrong, nearest
from gateway.delivery.itself import Itself

T = TypeVar("T")

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN_CHARS = 60
SUGGESTED_FOR = 100
"""Of so many keys of a table that nobody knows, it is looked what was meant; the others are only named."""


class Key(msgspec.Struct, Generic[T], frozen=True):
    """A key a table may have."""

    name: str
    parse: Callable[[Any], T]
    default: Any = None
    """As one would write it in the file; ``None``: there is none."""
    shown: Callable[[Any], Any] | None = None
    """What may be shown of a value (``None``: nothing); without it, all. Keys that could hold a secret mask it here."""


class Mistake(msgspec.Struct, frozen=True):
    """One thing that is wrong: where, and what to write instead."""

    path: KeyPath
    words: str


class Lack(msgspec.Struct, frozen=True):
    """What a table does not have, and any one of some keys would give it."""

    keys: Mapping[str, str]
    """Each with what to write if it stands there misspelt."""
    what: str
    write: str


class Reading:
    """The whole reading of one file: what every section shares."""

    def __init__(
        self, file: str, base: Path, lines: Lines, references: References, itself: Itself | None = None
    ) -> None:
        """``itself``: where the gateway is, so that nothing is sent there; set once that is read."""
        self.file, self.base, self.lines, self.references, self.itself = file, base, lines, references, itself
        self.origins: list[Origin] = []
        self.mistakes: list[Mistake] = []
        """As they were met; ``problems`` has them with their lines."""
        self._problems: list[tuple[int, str]] = []

    @cached_property
    def adapter_names(self) -> list[str]:
        """The adapters that have a name; looked up once, since that reads a folder and every installed package."""
        return names()

    def problem(self, path: KeyPath, what: str, write: str) -> None:
        """Note a mistake at ``path``: what is wrong and why, and what to write."""
        line = self.lines.line(path)
        self.mistakes.append(Mistake(path, f"{what}; write {write}"))
        self._problems.append((line, f"{self.file}:{line}: {what}; write {write}"))

    @property
    def problems(self) -> list[str]:
        """Every mistake, in the order of the file."""
        return [message for _, message in sorted(self._problems, key=lambda problem: problem[0])]


class Section:
    """One table. ``read`` its keys, then ``finish``."""

    def __init__(self, reading: Reading, path: KeyPath, table: object) -> None:
        self.reading, self.path = reading, path
        self._known: list[str] = []
        self._lacks: list[Lack] = []
        self._is_table = True
        if not isinstance(table, dict):
            header = f"[[{dotted(path[:-1])}]]" if isinstance(path[-1], int) else f"[{dotted(path)}]"
            self.problem((), "is not a table", f"{header} on a line of its own, and its keys below")
            table = {}
            self._is_table = False
        self.table: dict[str, Any] = table

    def problem(self, inside: KeyPath, what: str, write: str) -> None:
        """Note a mistake at a place inside this table."""
        path = (*self.path, *inside)
        self.reading.problem(path, f"{dotted(path)} {what}", write)

    def read(self, key: Key[T]) -> T:
        """The value of a key that has a default."""
        value = self.read_optional(key)
        return key.parse(key.default) if value is None else value

    def read_required(self, key: Key[T], write: str) -> T | None:
        """The value of a key without which the table means nothing; ``None``, with a problem noted, if it fails."""
        if key.name not in self.table:
            self.lack({key.name: write}, f"lacks {key.name}", write)
        return self.read_optional(key)

    def lack(self, keys: Mapping[str, str], what: str, write: str) -> None:
        """None of ``keys`` is written, and one must be: ``finish`` says so, unless one stands there misspelt.

        With each key stands what to write in place of its misspelling.
        """
        if self._is_table:
            self._lacks.append(Lack(keys, what, write))

    def read_optional(self, key: Key[T]) -> T | None:
        """The value of a key, the default or ``None`` where it is not written; ``None`` where it is wrong."""
        self._known.append(key.name)
        written = key.name in self.table
        value = self.table.get(key.name, key.default)
        if value is None:
            return None
        try:
            parsed = key.parse(value)
        except Wrong as wrong:
            for fault in wrong.faults:
                shown = value if key.shown is None and not fault.at else None
                self.problem((key.name, *fault.at), _shown_after(shown) + fault.why, fault.write)
            return None
        if written and (wanted := NOT_YET.get(f"{self.path[0]}.{key.name}")) and value not in (key.default, ""):
            self.problem((key.name,), f"asks for {wanted}, which this version cannot do yet", "no such line")
        self._note_origin(key, value, written=written)
        return parsed

    def finish(self, also_known: str = "", *, unjudged: Collection[str] | None = None) -> None:
        """Every key that nobody read is a mistake, and so is what is still lacking; one mistake where they are one.

        ``also_known`` says who knows which keys, for the message. ``unjudged``: it cannot be told who that is, so that
        a key nobody read is only a mistake where it is nearer to one that is lacking than to these. No key is suggested
        that stands there, nor one twice.
        """
        known = {*self._known, *(unjudged or ())}
        absent = known - self.table.keys()
        misspelt: set[str] = set()
        for number, name in enumerate([name for name in self.table if name not in known]):
            meant = nearest(name, known) if number < SUGGESTED_FOR else None
            hint = f" (did you mean {meant}?)" if meant in absent else ""
            found = [lack for lack in self._lacks if meant in lack.keys]
            if meant and hint and found:
                self._lacks = [lack for lack in self._lacks if lack not in found]
                misspelt.add(meant)
                write = found[0].keys[meant]
            elif unjudged is None:
                write = f"one of {', '.join(sorted(absent))}" if absent else "no such line"
            elif meant in misspelt:
                write = "no such line"
            else:
                continue
            self.problem((name,), f"is not a key that is known{also_known or ' here'}{hint}", write)
            absent.discard(meant or "")
        for lack in self._lacks:
            self.problem((), lack.what, lack.write)

    def _note_origin(self, key: Key[Any], value: Any, *, written: bool) -> None:
        path = (*self.path, key.name)
        origin = f"{Path(self.reading.file).name}:{self.reading.lines.line(path)}" if written else "default"
        for reference in _references_in(value):
            found = self.reading.references.origin(reference)
            origin += f", {reference.partition(':')[2]} from {found}"
        if f"{self.path[0]}.{key.name}" in NOT_YET:
            origin += ", without effect in this version"
        shown = value if key.shown is None else key.shown(value)
        if shown is None:
            return
        self.reading.origins.append(Origin(table=dotted(self.path), key=key.name, value=as_toml(shown), origin=origin))


def dotted(path: KeyPath) -> str:
    """A path as one would write it in TOML: ``subscribers.crm.types[1]``."""
    written = ""
    for part in path:
        if isinstance(part, int):
            written += f"[{part}]"
        else:
            written += ("." if written else "") + (part if _BARE_KEY.fullmatch(part) else json.dumps(part))
    return written


def as_toml(value: Any) -> str:
    """A value as one would write it in TOML."""
    if isinstance(value, dict):
        pairs = (f"{dotted((name,))} = {as_toml(inner)}" for name, inner in value.items())
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(as_toml(inner) for inner in value) + "]"
    if isinstance(value, bool | int | float | str):
        return json.dumps(value, ensure_ascii=False)
    return str(value)  # TOML's own dates and times


def _shown_after(value: Any) -> str:
    if value is None or isinstance(value, dict | list):
        return ""
    shown = as_toml(value)
    return f"= {shown if len(shown) <= _SHOWN_CHARS else shown[:_SHOWN_CHARS] + '…'} "


def _references_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [found for inner in value for found in _references_in(inner)]
    return [value] if is_reference(value) else []
