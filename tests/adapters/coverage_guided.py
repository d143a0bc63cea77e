"""A small fuzzer that is led by coverage: an input that reaches lines of ``adapters/`` or ``schemas/`` in a new way is
kept, and changed further.

Hypothesis thinks of inputs of a given form; this one finds the form by itself, from recorded requests. ``sys.settrace``
sees which line follows which: the same on every Python, and nothing to install.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).parents[2]
WATCHED = (str(ROOT / "adapters"), str(ROOT / "schemas"))

Edges = frozenset[tuple[str, int, int]]
"""Lines that followed each other: file, from, to."""


class Watch:
    """Notes which line follows which, in what is watched, while it is entered."""

    def __init__(self, watched: tuple[str, ...] = WATCHED) -> None:
        """``watched``: files and folders, in full."""
        self._watched = watched
        self._edges: set[tuple[str, int, int]] = set()
        self._before: Any = None
        self._known: dict[CodeType, bool] = {}

    def __enter__(self) -> "Watch":
        self._edges.clear()
        self._before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    @property
    def edges(self) -> Edges:
        """What was seen."""
        return frozenset(self._edges)

    def _call(self, frame: FrameType, _event: str, _arg: object) -> Any:
        code = frame.f_code
        if code not in self._known:
            self._known[code] = code.co_filename.startswith(self._watched)
        if not self._known[code]:
            return None
        name, last = code.co_filename, 0

        def line(frame: FrameType, event: str, _arg: object) -> Any:
            nonlocal last
            if event == "line":
                self._edges.add((name, last, frame.f_lineno))
                last = frame.f_lineno
            return line

        return line


_TOKENS = (
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b",",
        b":",
        b"null",
        b"true",
        b"0",
        b"-1",
        b"1e400",
        b'""',
        b"{}",
        b"[]",
        b"\\u0000",
    ),
    *(
        b"\\ud800",
        b"\x00",
        b"\xff",
        b"\xef\xbb\xbf",
        b"=",
        b"sha256=",
        b"t=",
        b",v1=",
        b"+",
        b"9" * 30,
        b"2026-02-03T12:00:00Z",
    ),
)


def mutate(data: bytes, corpus: Sequence[bytes], chance: Random) -> bytes:
    """One to four changes: bits, pieces, tokens, a piece of another input."""
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(changed) + 1)
        way = chance.randrange(6)
        if way == 0 and at < len(changed):
            changed[at] ^= 1 << chance.randrange(8)
        elif way == 1:
            del changed[at : at + chance.randrange(1, 16)]
        elif way == 2:
            changed[at:at] = chance.choice(_TOKENS)
        elif way == 3:
            changed[at : at + chance.randrange(1, 16)] = chance.choice(_TOKENS)
        elif way == 4:
            other = chance.choice(corpus)
            start = chance.randrange(len(other) + 1)
            changed[at:at] = other[start : start + chance.randrange(1, 40)]
        else:
            changed[at:at] = changed[at : at + chance.randrange(1, 40)]
    return bytes(changed[:20_000])


class Found(Exception):
    """An input that the check fails on, and how."""


def fuzz(
    check: Callable[[bytes], object],
    seeds: Sequence[bytes],
    *,
    runs: int,
    chance: Random,
    watched: tuple[str, ...] = WATCHED,
) -> tuple[int, list[bytes]]:
    """Run ``check`` on ``runs`` changed inputs; how many edges were seen, and the inputs that showed new ones.

    Raises ``Found`` for an input that ``check`` raises for.
    """
    corpus, seen = list(dict.fromkeys(seeds)), set[tuple[str, int, int]]()
    first, watch = list(corpus), Watch(watched)
    for number in range(len(first) + runs):
        data = first[number] if number < len(first) else mutate(chance.choice(corpus), corpus, chance)
        with watch:
            try:
                check(data)
            except Exception as error:
                raise Found(f"{type(error).__name__}: {error} for {data[:2_000]!r}") from error
        if not watch.edges <= seen:
            seen |= watch.edges
            if number >= len(first):
                corpus.append(data)
    return len(seen), corpus
