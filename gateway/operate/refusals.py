"""How everything outside ``/in`` says no: one exception, and the handlers that turn exceptions into problems."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from gateway import problems
from gateway.config_file.values import did_you_mean
from gateway.errors import StoreError, StoreUnavailable
from gateway.problems import Mistake, Problem

log = structlog.get_logger("gateway.operate")

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}
"""On every answer of the API; pages have a policy of their own."""


class Refused(Exception):
    """What was asked for cannot be given. Becomes a problem; never leaves this package."""

    def __init__(self, problem: Problem, detail: str, mistakes: tuple[Mistake, ...] = ()) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.mistakes = mistakes

    def body(self) -> bytes:
        """The JSON that tells it."""
        return problems.body(self.problem, self.detail, self.mistakes)


def none_called(kind: str, given: str, known: Iterable[str]) -> Refused:
    """A 404 for a name that is none, with the one that was perhaps meant, and those there are."""
    names = sorted(known)
    there_are = f"there are: {', '.join(names)}" if names else "there is none"
    return Refused(problems.NOT_FOUND, f"there is no {kind} {given}{did_you_mean(given, names)}; {there_are}")


_BY_STATUS = {
    400: problems.BAD_REQUEST,
    401: problems.NO_TOKEN,
    403: problems.FORBIDDEN,
    404: problems.NOT_FOUND,
    405: problems.METHOD_NOT_ALLOWED,
    413: problems.TOO_LARGE,
}


def count_refused(counts: dict[str, int]) -> Callable[[Exception, Any], Awaitable[None]]:
    """A hook for the app: counts what was asked to be changed and was refused, by the refusal's code."""

    async def hook(error: Exception, scope: Any) -> None:
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            code = _kind(error).code
            counts[code] = counts.get(code, 0) + 1

    return hook


def _kind(error: Exception) -> Problem:
    if isinstance(error, Refused):
        return error.problem
    if isinstance(error, HTTPException):
        return _BY_STATUS.get(error.status_code, problems.UNAVAILABLE)
    return problems.BAD_REQUEST if isinstance(error, RecursionError) else problems.UNAVAILABLE


def why_away(error: StoreError) -> str:
    """What the store said, if it said anything; else why it is not heard, without the sockets and hosts of the log."""
    if type(error) is not StoreUnavailable:
        return str(error)
    seen: BaseException | None = error
    while seen is not None:
        for kind, why in _UNHEARD.items():
            if isinstance(seen, kind):
                return f"it does not answer: {why}"
        seen = seen.__cause__ or seen.__context__
    return "it does not answer"


_UNHEARD: dict[type[OSError], str] = {
    ConnectionRefusedError: "nobody listens there",
    FileNotFoundError: "its server is not there",
    ConnectionError: "the connection broke",
    TimeoutError: "not in time",
}
"""What the system said → in words. The first that fits."""


def explain(error: Exception) -> tuple[Problem, str]:
    """What to answer to an exception: the kind of refusal, and a sentence. Logs what is a defect of ours."""
    if isinstance(error, Refused):
        return error.problem, error.detail
    if isinstance(error, StoreUnavailable):
        return problems.UNAVAILABLE, f"the store cannot be asked at the moment: {why_away(error)}; see gateway status"
    if isinstance(error, HTTPException) and error.status_code in _BY_STATUS:
        return _BY_STATUS[error.status_code], _words(error)
    if isinstance(error, RecursionError):  # msgspec's own, which the framework lets through
        return problems.BAD_REQUEST, "the body nests too deep"
    if isinstance(error, StoreError):
        log.error("operate.store", why=str(error))
    else:
        log.error("operate.defect", exc_info=error)
    return problems.UNAVAILABLE, "this could not be answered, and it is the gateway's fault; its log says why"


def _words(error: HTTPException) -> str:
    """A validation error names each parameter and what is wrong with it; others say it in their detail.

    A parameter whose name the framework uses itself has a trailing underscore in the code only.
    """
    if isinstance(error, ValidationException) and isinstance(error.extra, list):
        told = [
            f"{item.get('key', 'the request').rstrip('_')}: {item.get('message', 'is not valid')}"
            for item in error.extra
            if isinstance(item, dict)
        ]
        if told:
            return "; ".join(told)
    if error.status_code == 404:
        return "there is nothing at this path; the API's paths are listed at /schema/openapi.json"
    if error.status_code == 405:
        return "this path answers to other methods"
    return error.detail


def problem_response(problem: Problem, body: bytes) -> Response[bytes]:
    """A refusal as ``application/problem+json``."""
    headers = dict(SECURITY_HEADERS)
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(problem.retry_after_s)
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="gateway"'
    return Response(
        body,
        status_code=problem.status,
        media_type="application/problem+json",
        headers=headers,
    )


def _handle(_request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    if isinstance(error, Refused):
        return problem_response(error.problem, error.body())
    problem, detail = explain(error)
    return problem_response(problem, problems.body(problem, detail))


def exception_handlers() -> dict[Any, Any]:
    """Handlers for the whole app: whatever is raised becomes a problem, and nothing a bare 500."""
    return {HTTPException: _handle, Exception: _handle}
