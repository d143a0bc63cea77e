"""One small mistake in one file."""

from pathlib import Path

import msgspec

MAX_SHOWN = 160


class Edit(msgspec.Struct, frozen=True):
    """Replace the characters from ``start`` to ``end`` of a text."""

    start: int
    end: int
    text: str


class Mutant(msgspec.Struct, frozen=True):
    """A file with one edit."""

    file: str
    """Below the root of the tree, with slashes."""
    line: int
    before: str
    """The lines that change, in one line."""
    after: str
    edit: Edit

    def __str__(self) -> str:
        return f"{self.file}:{self.line}  {_short(self.before)}  →  {_short(self.after)}"

    def apply(self, text: str) -> str:
        """The file's text with the mistake in it."""
        return text[: self.edit.start] + self.edit.text + text[self.edit.end :]


def make(file: str, text: str, edit: Edit) -> Mutant:
    """The mutant of a file that an edit makes."""
    first = text.rfind("\n", 0, edit.start) + 1
    last = text.find("\n", edit.end)
    last = len(text) if last < 0 else last
    changed = text[first : edit.start] + edit.text + text[edit.end : last]
    line = text.count("\n", 0, edit.start) + 1
    return Mutant(file, line, _one_line(text[first:last]), _one_line(changed), edit)


def distinct(file: str, text: str, edits: list[Edit]) -> list[Mutant]:
    """The mutants of a file, in order of place; an edit that is there twice, or changes nothing, is left out."""
    useful = {(edit.start, edit.end, edit.text): edit for edit in edits if text[edit.start : edit.end] != edit.text}
    return [make(file, text, edit) for _, edit in sorted(useful.items())]


def read(root: Path, file: str) -> str:
    """The text of a file of the tree."""
    return (root / file).read_text("utf-8")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
