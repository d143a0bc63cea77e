"""What the players write: one JSON object a line, on standard output. ``gateway demo --json`` passes the lines on."""

import sys
import threading
from typing import Literal

import msgspec

Purpose = Literal["sample", "retry", "wrong_signature", "not_json"]
"""Why a request was sent: an ordinary one, the same again, or one of two that must not become an event."""


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready", tag_field="event"):
    """The player listens on ``port`` of the loopback address."""

    port: int
    ca_pem: str = ""
    """Key host only: the CA that signed its certificate."""


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """One event, as the gateway's answer to a request names it."""

    id: str
    type: str
    status: str


class Sent(msgspec.Struct, frozen=True, kw_only=True, tag="request", tag_field="event"):
    """A provider made a request and has its answer, or has none."""

    at_ms: int
    """When it was sent, in milliseconds since the epoch."""
    source: str
    provider: str
    case: str
    purpose: Purpose
    attempt: int
    """From 1; a provider repeats a request that was answered 5xx or 429, or not at all."""
    status: int | None
    """The HTTP status; ``None`` if no answer came."""
    outcome: str
    """``accepted``, ``duplicate``, ``ignored``, ``quarantined``, ``rejected`` (any 4xx), or ``unanswered``."""
    events: tuple[Answered, ...] = ()
    duration_ms: float = 0.0
    detail: str = ""
    """What went wrong, in the gateway's or the client's words."""
    final: bool = True
    """Whether the provider leaves it at this answer; ``False``: it will try again."""


class Taken(msgspec.Struct, frozen=True, kw_only=True, tag="delivery", tag_field="event"):
    """A delivery reached the subscriber, and was answered ``status``."""

    at_ms: int
    id: str
    type: str
    source: str
    provider: str
    provider_type: str | None
    attempt: int
    status: int
    verified: bool
    repeat: bool
    """It had answered 2xx to this id before."""


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag="finished", tag_field="event"):
    """The provider has sent what it was asked to send."""

    requests: int


Line = Ready | Sent | Taken | Finished

_decoder = msgspec.json.Decoder(Line)
_lock = threading.Lock()


def parse(text: bytes) -> Line:
    """Read one line. Raises ``msgspec.DecodeError`` for anything else."""
    line: Line = _decoder.decode(text)
    return line


def write(line: Line) -> None:
    """Write one line on standard output, at once. Raises ``BrokenPipeError`` if nobody reads any more."""
    with _lock:
        sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
        sys.stdout.buffer.flush()
