"""Requests as a provider makes them: a body from the adapter's samples, changed where asked, then signed. Pure.

And what a provider makes of the answer.
"""

import difflib
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from adapters.contract import Adapter, Source
from gateway.simulator.lines import Answered, Purpose


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider knows of the webhook a customer registered: where to, and with which secret."""

    source: str
    adapter: str
    """A reference as in the config: a name, a dotted module, or a path."""
    url: str
    """Whole, with the path token if there is one."""
    secrets: tuple[str, ...] = ()
    header: str | None = None
    environment: str = "production"
    options: dict[str, Any] = {}
    """What only this adapter's ``sign`` understands, e.g. flexengage's ``signing_key`` and ``key_url``."""

    def as_source(self) -> Source:
        """What ``sign`` asks for."""
        return Source(
            name=self.source,
            secrets=tuple(secret.encode() for secret in self.secrets),
            header=self.header.lower().encode() if self.header else None,
            environment=self.environment,
            options=self.options,
        )


class Prepared(msgspec.Struct, frozen=True):
    """A request ready to be sent."""

    body: bytes
    headers: dict[str, str]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back for a request."""

    status: int | None
    outcome: str
    """As in ``lines.Sent``."""
    events: tuple[Answered, ...] = ()
    retry_after_s: float | None = None
    detail: str = ""

    @property
    def worth_retrying(self) -> bool:
        """Whether a provider sends the same again: no answer, our fault (5xx), or too fast (429)."""
        return self.status is None or self.status >= 500 or self.status == 429


class _Accepted(msgspec.Struct):
    status: str
    events: tuple[Answered, ...] = ()


class _Problem(msgspec.Struct):
    code: str = ""
    detail: str = ""


def prepare(
    adapter: Adapter,
    source: Source,
    case: str,
    *,
    seed: int,
    now_ms: int,
    purpose: Purpose = "sample",
    changes: Iterable[tuple[str, Any]] = (),
) -> Prepared:
    """Make and sign one request.

    ``wrong_signature`` signs with another secret than the source's; ``not_json`` signs a body that breaks off in the
    middle. Both are for sources that are proven by secrets. ``changes`` are (dotted path, value), made before signing.
    Raises ``ValueError`` if a change does not fit the body.
    """
    body = adapter.sample(case, seed)
    for path, value in changes:
        body = set_value(body, path, value)
    signer = source
    if purpose == "wrong_signature":
        others = tuple(hashlib.sha256(secret).hexdigest().encode() for secret in source.secrets)
        signer = msgspec.structs.replace(source, secrets=others)
    elif purpose == "not_json":
        body = body[: len(body) // 2]
    return Prepared(body, adapter.sign(body, signer, now_ms))


def set_value(body: bytes, path: str, value: Any) -> bytes:
    """Set one value inside a JSON body: ``data.messages.0.text``. Objects on the way are made where they are missing.

    Raises ``ValueError`` if the path leads through something that is neither object nor list, or past a list's end.
    """
    document = msgspec.json.decode(body)
    at = document
    *way, last = path.split(".")
    for part in way:
        at = _step(at, part, path)
    if isinstance(at, list):
        at[_index(at, last, path)] = value
    elif isinstance(at, dict):
        at[last] = value
    else:
        raise ValueError(f"cannot set {path}: {last} would be inside a {_name(at)}")
    return msgspec.json.encode(document)


def parse_change(text: str) -> tuple[str, Any]:
    """Read ``a.b=1`` into a path and a value: JSON where it is JSON, else the text itself. Raises ``ValueError``."""
    path, equals, written = text.partition("=")
    if not equals or not all(path.split(".")):
        raise ValueError(f"{text!r} is not of the form path=value, such as data.content=Hello")
    try:
        return path, msgspec.json.decode(written)
    except msgspec.DecodeError:
        return path, written


def choose_case(cases: Sequence[str], given: str) -> str:
    """The case that ``given`` means: its name or its unique beginning.

    The name of an event, or the unique beginning of that, means the first of its variants, which is the plain one.
    Raises ``ValueError`` with what to write instead.
    """
    if given in cases:
        return given
    whole = [case for case in cases if case.split("__")[0] == given]
    matching = whole or [case for case in cases if case.startswith(given)]
    events = {case.split("__")[0] for case in matching}
    if len(matching) == 1 or (len(events) == 1 and "__" not in given):
        return matching[0]
    if matching:
        raise ValueError(f"{given!r} begins {len(matching)} cases: {', '.join(matching)}; write more of one")
    near = difflib.get_close_matches(given, [*cases, *(case.split("__")[0] for case in cases)], n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(cases)}"
    raise ValueError(f"no case is called {given!r}; {hint}")


def read_answer(status: int, retry_after: str | None, body: bytes) -> Answer:
    """Understand the gateway's answer; also something else's, since a URL may lead anywhere."""
    wait_s = float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None
    if status == 200:
        try:
            accepted = msgspec.json.decode(body, type=_Accepted)
        except msgspec.DecodeError:
            return Answer(status=status, outcome="unanswered", detail="200, but not with the gateway's answer")
        return Answer(status=status, outcome=accepted.status, events=accepted.events)
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem()
    detail = ": ".join(filter(None, (problem.code, problem.detail)))
    outcome = "rejected" if 400 <= status < 500 and status != 429 else "unanswered"
    return Answer(status=status, outcome=outcome, retry_after_s=wait_s, detail=detail)


def _step(at: Any, part: str, path: str) -> Any:
    if isinstance(at, list):
        return at[_index(at, part, path)]
    if not isinstance(at, dict):
        raise ValueError(f"cannot set {path}: {part} would be inside a {_name(at)}")
    if at.get(part) is None:
        at[part] = {}
    return at[part]


def _index(at: list[Any], part: str, path: str) -> int:
    if not (part.isascii() and part.isdigit()) or int(part) >= len(at):
        raise ValueError(f"cannot set {path}: the list there has {len(at)} items, and {part} is none of them")
    return int(part)


def _name(value: Any) -> str:
    return {str: "text", bool: "true or false", int: "number", float: "number"}.get(type(value), type(value).__name__)
