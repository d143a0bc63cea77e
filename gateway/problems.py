"""Every refusal the gateway answers, as ``application/problem+json`` (RFC 9457): one table, used everywhere.

4xx says the request is at fault and sending it again will not help; 503 says we are, and it should come again.
Providers act on that: after a 4xx many never send again. So our own faults are never a 4xx, and nothing is a bare 500.
"""

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """One kind of refusal."""

    status: int
    code: str
    title: str
    retry_after_s: int | None = None


class Mistake(msgspec.Struct, frozen=True):
    """One of the things that are wrong with what was written."""

    at: str
    """The field, as one would write its path (``types[1]``), or file and line; empty for the whole."""
    why: str
    """What is wrong and what to write instead. Holds no secret."""


class Body(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a refusal's body holds."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    mistakes: tuple[Mistake, ...] = ()
    """Of `invalid` alone: every mistake, each with its place."""


MALFORMED = Problem(400, "malformed", "This is not HTTP as it is understood here")
UNREADABLE = Problem(400, "unreadable", "The body cannot be read")
BAD_REQUEST = Problem(400, "bad_request", "The request asks for something that cannot be given")
INVALID = Problem(400, "invalid", "What was written has mistakes")
NOT_PROVEN = Problem(401, "not_proven", "The request does not prove who sent it")
NO_TOKEN = Problem(401, "no_token", "A token is needed")
WRONG_TOKEN = Problem(401, "wrong_token", "This is no token of this gateway")
NOT_FROM_A_PAGE = Problem(403, "not_from_a_page", "The change was not asked for by a page of this login")
FORBIDDEN = Problem(403, "forbidden", "The token's role does not allow this")
UNKNOWN_SOURCE = Problem(404, "unknown_source", "No source of this name is configured")
NOT_FOUND = Problem(404, "not_found", "There is nothing here")
METHOD_NOT_ALLOWED = Problem(405, "method_not_allowed", "This path answers to another method")
HEADER_TIMEOUT = Problem(408, "header_timeout", "The request's head took too long to arrive")
BODY_TIMEOUT = Problem(408, "body_timeout", "The body took too long to arrive")
CONFLICT = Problem(409, "conflict", "The present state does not allow this")
TOO_LARGE = Problem(413, "too_large", "The body is larger than this gateway accepts")
UNSUPPORTED_ENCODING = Problem(415, "unsupported_encoding", "Bodies must be sent without Content-Encoding")
RATE_LIMITED = Problem(429, "rate_limited", "This source sends faster than its configured rate", retry_after_s=1)
TOO_MANY_TRIES = Problem(429, "too_many_tries", "Too many wrong tokens from this address", retry_after_s=30)
HEAD_TOO_LARGE = Problem(431, "head_too_large", "The request's head is larger than this gateway accepts")
UNKNOWN_METHOD = Problem(501, "unknown_method", "This method is not known")
UNAVAILABLE = Problem(503, "unavailable", "The gateway cannot take this now; send it again", retry_after_s=5)
HTTP_VERSION = Problem(505, "http_version", "This version of HTTP is not spoken here")


def as_body(problem: Problem, detail: str, mistakes: tuple[Mistake, ...] = ()) -> Body:
    """The fields of a refusal."""
    return Body("about:blank", problem.title, problem.status, detail, problem.code, mistakes)


def body(problem: Problem, detail: str, mistakes: tuple[Mistake, ...] = ()) -> bytes:
    """The JSON body of a refusal."""
    return msgspec.json.encode(as_body(problem, detail, mistakes))


def headers(problem: Problem, length: int, request: str, retry_after_s: int | None = None) -> list[tuple[bytes, bytes]]:
    """The response headers of a refusal, for a raw ASGI handler. ``request`` is the request's id."""
    found = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(length).encode()),
        (b"x-request-id", request.encode()),
    ]
    retry_after_s = retry_after_s or problem.retry_after_s
    if retry_after_s is not None:
        found.append((b"retry-after", str(retry_after_s).encode()))
    if problem.status == 405:
        found.append((b"allow", b"POST"))
    return found
