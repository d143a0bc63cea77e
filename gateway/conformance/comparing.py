"""Clauses about how ``verify`` compares what it was given with what it must be: in a time that tells nothing.

A comparison that stops at the first difference answers a sender who tries byte after byte. Two looks at a run of
``verify``, neither of which needs a list of how it could be written:

- a profile hook sees whether a constant-time comparison was called at all;
- a trace hook stops before each ``==``, ``!=``, ``in`` and ``not in``, and evaluates both sides (an adapter is pure, so
  that changes nothing). The same request with another secret, and another proof with the same secret, tell a side that
  comes of the secret from a side that the sender wrote.

What neither sees: a second comparison by other means (``startswith``, a look-up in a dict) beside a constant-time one.
"""

import ast
import dis
import linecache
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import msgspec

from adapters.contract import Request, Source
from gateway.conformance.cases import Case
from gateway.conformance.proof import OTHER, with_header
from gateway.conformance.subject import Findings, Subject, clause

_COMPARING = {dis.opmap["COMPARE_OP"], dis.opmap["CONTAINS_OP"]}
_CONSTANT_TIME = {"compare_digest", "_compare_digest"}
_Where = tuple[str, int, int]
"""File, line and column."""
_Seen = dict[_Where, list[tuple[Any, ...]]]
"""The sides of each comparison, as often as it was made."""


@clause(
    "Each secret and each path token is compared in constant time.",
    mend="compare bytes with secrets_equal (adapters.contract), or check_hmac (adapters.proving), which does",
)
def secrets_are_compared_in_constant_time(subject: Subject) -> Findings:
    """``hmac.compare_digest`` by whatever name it was imported; a ``verify`` of the package cryptography is one too."""
    for case in filter(subject.is_proven, subject.cases):
        for setting, only in _proofs(case.source):
            source = only if subject.is_proven(case, source=only) else case.source  # some want both
            if not _compares_in_constant_time(subject, case, source):
                yield f"case {case.name}: the setting {setting} is compared without secrets_equal"


def _proofs(source: Source) -> Iterator[tuple[str, Source]]:
    """Each setting that is compared with what was sent, with the source as it would be without the other."""
    if source.secrets:
        yield "secrets", msgspec.structs.replace(source, path_token_sha256=None)
    if source.path_token_sha256:
        yield "path_token", msgspec.structs.replace(source, secrets=())


def _compares_in_constant_time(subject: Subject, case: Case, source: Source) -> bool:
    called = False

    def hook(frame: FrameType, event: str, function: Any) -> None:
        nonlocal called
        if event == "c_call":
            name, owner = getattr(function, "__name__", ""), getattr(function, "__self__", None)
            is_librarys = name == "verify" and type(owner).__module__.partition(".")[0] == "cryptography"
            called = called or name in _CONSTANT_TIME or is_librarys

    before = sys.getprofile()
    sys.setprofile(hook)
    try:
        subject.is_proven(case, source=source)
    finally:
        sys.setprofile(before)
    return called


@clause(
    "No ==, != or in has a secret, or what was computed with it, on one side and what the sender wrote on the other.",
    mend="compare bytes with secrets_equal (adapters.contract); it takes as long for a wrong value as for a right one",
)
def no_plain_comparison_with_a_secret(subject: Subject) -> Findings:
    """Whatever the function it stands in; only source text that can be read is looked at."""
    for case in subject.cases:
        asked = _sides(subject, case, case.request, case.source)
        by_secret = [_sides(subject, case, case.request, source) for source in _other_secrets(case.source)]
        by_sender = [_sides(subject, case, request, case.source) for request in _other_proofs(case)]
        for where in sorted(asked):
            secret, sent = _varying(where, asked, by_secret), _varying(where, asked, by_sender)
            if any(one != other for one in secret for other in sent):
                file, line, _ = where
                yield f"case {case.name}: {Path(file).name}, line {line}: {linecache.getline(file, line).strip()}"


def _other_secrets(source: Source) -> Iterator[Source]:
    if source.secrets:
        yield msgspec.structs.replace(source, secrets=(OTHER,) * len(source.secrets))
    if source.path_token_sha256:
        yield msgspec.structs.replace(source, path_token_sha256=b"\x00" * 32)


def _other_proofs(case: Case) -> Iterator[Request]:
    """The proof with one character changed into another of its kind: first, last, in the middle, after a mark."""
    if (name := case.proof_header) is not None and (value := case.request.header(name)):
        for at in {0, len(value) // 2, len(value) - 1, min(value.rfind(b"=", 0, -2) + 1, len(value) - 1)}:
            yield with_header(
                case.request, name, value[:at] + (b"1" if value[at : at + 1] != b"1" else b"2") + value[at + 1 :]
            )
    if case.request.path_token:
        yield msgspec.structs.replace(case.request, path_token=OTHER)


def _varying(where: _Where, asked: _Seen, others: list[_Seen]) -> set[int]:
    """Which sides of a comparison differ between the runs."""
    return {
        side
        for other in others
        for one, two in zip(asked[where], other.get(where, ()), strict=False)  # a run may end before the last
        for side, (value, changed) in enumerate(zip(one, two, strict=True))
        if value != changed
    }


def _sides(subject: Subject, case: Case, request: Request, source: Source) -> _Seen:
    """Every comparison of texts or bytes that one run of ``verify`` makes, with the values on its sides."""
    seen: _Seen = defaultdict(list)

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if str(frame.f_globals.get("__name__")).partition(".")[0] in sys.stdlib_module_names:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode" and (compared := _comparison(frame.f_code, frame.f_lasti)) is not None:
            try:
                values = tuple(eval(side, frame.f_globals, frame.f_locals) for side in compared[1:])  # noqa: S307  # the adapter's own words, which are about to be evaluated anyway
            except Exception:  # what cannot be evaluated a second time is left to the other clause
                return trace
            if all(
                isinstance(value, str | bytes | tuple | list | set | frozenset | dict) and value for value in values
            ):
                seen[compared[0]].append(values)
        return trace

    linecache.checkcache()
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        subject.is_proven(case, request, source)
    finally:
        sys.settrace(before)
    return seen


def _comparison(code: CodeType, at_byte: int) -> tuple[Any, ...] | None:
    """Where the comparison stands that an instruction makes, and the code of each side; ``None`` if it makes none."""
    if code.co_code[at_byte] not in _COMPARING:
        return None
    line, end_line, column, end_column = list(code.co_positions())[at_byte // 2]
    node = _comparisons("".join(linecache.getlines(code.co_filename))).get((line, end_line, column, end_column))
    if node is None or not all(isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for op in node.ops):
        return None
    sides = (compile(ast.Expression(side), code.co_filename, "eval") for side in (node.left, *node.comparators))
    return (code.co_filename, node.lineno, node.col_offset), *sides


@cache
def _comparisons(source: str) -> dict[tuple[int | None, ...], ast.Compare]:
    """The comparisons in a source text by their place."""
    return {
        (node.lineno, node.end_lineno, node.col_offset, node.end_col_offset): node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Compare)
    }
