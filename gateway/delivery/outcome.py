"""What an attempt came to, and how to tell: pure."""

import re
from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import msgspec

MAX_RETRY_AFTER_S = 86_400.0
"""A subscriber may ask for a day; who asks for more means "never", and that is what 410 is for."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What one attempt came to."""

    delivered: bool
    """The subscriber answered 2xx."""
    cause: str
    """Empty if delivered. ``http_<status>``, ``redirect``, ``gone``, ``timeout``, ``dns``, ``connect``, ``tls``,
    ``reset`` (the connection ended before the answer did), ``protocol`` (the answer is not HTTP), ``refused_target``
    (the guard said no), ``closed`` (the gateway stopped), ``internal`` (a defect of ours)."""
    status: int | None
    """The HTTP status, if there was one."""
    retry_after_s: float | None
    """What the subscriber asked for with 429 or 503, at most 24 h."""
    answer: bytes
    """The first bytes of the answer's body as they came, at most 64 KiB; empty if delivered."""
    duration_s: float
    detail: str
    """A sentence for people. Holds no secret, and nothing of the URL but host and port."""
    disables: bool = False
    """The subscriber answered 410: it is gone and wants no more."""


class Failure(msgspec.Struct, frozen=True, gc=False):
    """Why no answer came."""

    cause: str
    detail: str
    unsent: bool
    """The connection never stood, so nothing of the request has left: another address may be tried at once."""


def answered(status: int, retry_after: str | None, answer: bytes, duration_s: float, now_ms: int) -> Outcome:
    """The outcome of an answer other than 2xx. ``now_ms``: milliseconds since the epoch, for dates."""
    if 300 <= status < 400:
        cause, detail = "redirect", f"the subscriber answered {_status(status)}; redirects are not followed"
    elif status == HTTPStatus.GONE:
        cause, detail = "gone", "the subscriber answered 410 Gone: it wants no more deliveries"
    elif 100 <= status < 600:
        cause, detail = f"http_{status}", f"the subscriber answered {_status(status)}"
    else:
        cause, detail = "protocol", f"the subscriber answered with the status {status}, which HTTP does not know"
    retry_after_s = None
    if retry_after is not None and status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        retry_after_s = parse_retry_after(retry_after, now_ms)
    return Outcome(False, cause, status, retry_after_s, answer, duration_s, detail, disables=status == HTTPStatus.GONE)


def failed(failure: Failure, duration_s: float, status: int | None = None) -> Outcome:
    """The outcome of an attempt that got no answer, or no whole one."""
    return Outcome(False, failure.cause, status, None, b"", duration_s, failure.detail)


def parse_retry_after(value: str, now_ms: int) -> float | None:
    """Read a ``Retry-After`` (RFC 9110, 10.2.3): seconds, or a date. ``None`` if it is neither; never over 24 h."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        # Beyond six digits it is over the cap anyway, and a number of thousands of digits is not worth parsing.
        return min(float(value), MAX_RETRY_AFTER_S) if len(value) <= 6 else MAX_RETRY_AFTER_S
    try:
        date = parsedate_to_datetime(value)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        wait_s = date.timestamp() - now_ms / 1000
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait_s, 0.0), MAX_RETRY_AFTER_S)


def explain(messages: Sequence[str], *, timed_out: bool, where: str, timeout_s: float) -> Failure:
    """Say what the client's chain of error messages means. ``where``: address and port, for people.

    The classes of pyreqwest's errors do not tell: a reset after sending is a ``ConnectError`` there, and any timeout
    before the answer a ``ConnectTimeoutError``. Its messages do; they are pinned by tests against real sockets.
    """
    chain = " | ".join(messages)
    connecting = "client error (Connect)" in chain
    last = _printable(messages[-1]) if messages and "url (" not in messages[-1] else ""
    if timed_out:
        if connecting:
            return Failure("timeout", f"no connection to {where} in time", unsent=True)
        return Failure("timeout", f"no whole answer from {where} within {timeout_s:g} s", unsent=False)
    if "dns error" in chain:
        return Failure("dns", f"the name for {where} has no address", unsent=True)
    if connecting and "tcp connect error" in chain:
        return Failure("connect", f"no connection to {where}: {last}", unsent=True)
    if connecting:
        return Failure("tls", f"no secure connection to {where}: {last}", unsent=True)
    if _BROKEN_OFF.search(chain):
        return Failure("reset", f"{where} closed the connection before it had answered", unsent=False)
    return Failure("protocol", f"the answer from {where} is not HTTP: {last}", unsent=False)


_BROKEN_OFF = re.compile(
    r"os error (?:104|54|32|103)\b|connection closed|end of file before message length|unexpected EOF during chunk",
    re.IGNORECASE,
)
"""Reset by peer (104 on Linux, 54 on macOS), broken pipe, aborted; then hyper's words for an end too early."""


def _status(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _printable(text: str) -> str:
    """A message as one short line: parts of it, such as names in a certificate, are the other side's to choose."""
    return "".join(c if c.isprintable() else "?" for c in text[:200])
