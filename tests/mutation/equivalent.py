"""Mutants that nobody could tell from the code as it is: listed by hand, each with its reason."""

import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec

from tests.mutation.mutant import Mutant

LIST = Path(__file__).with_name("equivalent.toml")


class Equivalent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of the list. It is found by its lines, not by their numbers: these move."""

    file: str
    before: str
    after: str
    reason: str
    times: int = 1
    """How many such mutants there are, where the same line stands more than once."""


def load(path: Path = LIST) -> list[Equivalent]:
    """The list."""
    with path.open("rb") as file:
        return msgspec.convert(tomllib.load(file)["mutant"], type=list[Equivalent])


def wrong_entries(entries: Iterable[Equivalent], mutants: Iterable[Mutant]) -> list[Equivalent]:
    """Entries that do not fit as many mutants as they say: the code has changed, and the reason may no longer hold."""
    there = Counter(_name(mutant) for mutant in mutants)
    return [entry for entry in entries if there[_name(entry)] != entry.times]


def is_equivalent(mutant: Mutant, entries: Iterable[Equivalent]) -> bool:
    """Whether the list says so."""
    return any(_name(entry) == _name(mutant) for entry in entries)


def _name(of: Mutant | Equivalent) -> tuple[str, str, str]:
    return (of.file, of.before, of.after)
