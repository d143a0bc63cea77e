"""What a request's head may look like: pure, checked by ``wire`` on top of what the parser checks.

The parser refuses what breaks the grammar: two lengths, a length beside chunks, bare CR or LF, folded lines, NUL or
blanks in names. Here is refused what it lets pass and what two servers could read differently, or what is too much.
"""

import re

from gateway import problems
from gateway.intake.refusal import Refusal
from gateway.problems import Problem

MAX_HEADERS = 100
MAX_HEAD_BYTES = 32 * 1024
MAX_TARGET_BYTES = 8 * 1024

_METHOD = re.compile(rb"[A-Z][A-Z-]{0,31} ")
_VERSION_ERRORS = ("Invalid HTTP version", "Pause on PRI/Upgrade")
"""How the parser names a version that does not exist, and the beginning of HTTP/2."""

TARGET = "the target is a path that begins with /, without host and without #"


def check_target(target: bytes) -> None:
    """Only the plain form: a proxy rewrites the absolute one, and its host could contradict ``Host``."""
    if len(target) > MAX_TARGET_BYTES:
        raise Refusal(problems.HEAD_TOO_LARGE, f"a target of at most {MAX_TARGET_BYTES} bytes")
    if target[:1] != b"/" or b"#" in target:
        raise Refusal(problems.MALFORMED, TARGET)


def check_version(version: str, *, has_coding: bool) -> None:
    """HTTP/1.1 or 1.0, and 1.0 knows no transfer codings."""
    if version == "1.0":
        if has_coding:
            raise Refusal(problems.MALFORMED, "HTTP/1.0 has no Transfer-Encoding")
    elif version != "1.1":
        raise Refusal(problems.HTTP_VERSION, "HTTP/1.1 is spoken here")


def check_coding(value: bytes) -> None:
    """``chunked`` and nothing before it: another coding would have to be undone, or is read differently."""
    if value.strip().lower() != b"chunked":
        raise Refusal(problems.MALFORMED, "of the transfer codings only chunked is understood")


def size_bytes(target: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    """The bytes of a head, nearly as they came."""
    return len(target) + sum([len(name) + len(value) + 4 for name, value in headers])


def too_large() -> Refusal:
    """For a head with too many bytes, before or after its end."""
    return Refusal(problems.HEAD_TOO_LARGE, f"at most {MAX_HEADERS} headers, and {MAX_HEAD_BYTES} bytes in all")


def explain(error: Exception, data: bytes) -> tuple[Problem, str]:
    """What to answer to the parser's error; ``data`` is what it was given."""
    cause = error.__context__
    if isinstance(cause, Refusal):
        return cause.problem, cause.detail
    words = str(error)
    if words in _VERSION_ERRORS:
        return problems.HTTP_VERSION, "HTTP/1.1 is spoken here"
    if words.startswith("Invalid method") and _METHOD.match(data):
        return problems.UNKNOWN_METHOD, "this method is not known"
    return problems.MALFORMED, "this is not HTTP/1.1, or it is written so that two servers could read it differently"
