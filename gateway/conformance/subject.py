"""The adapter under test with its cases, the ways to put requests to it, and what a clause is."""

import copy
import json
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from adapters.contract import (
    Adapter,
    Draft,
    Ignored,
    Keys,
    Proof,
    Request,
    Source,
    VerifiedRequest,
    prove,
)
from gateway.conformance.cases import Case
from gateway.intake.pipeline import Events, Outcome, receive, understand
from schemas.event import Event

Findings = Iterator[str]
"""What a clause finds wrong, one sentence each; none: the clause holds."""


class Clause(msgspec.Struct, frozen=True):
    """One rule of the contract, which holds or does not."""

    name: str
    rule: str
    """The rule as a sentence."""
    mend: str
    """What to do when it does not hold."""
    check: Callable[["Subject"], Findings]


def clause(rule: str, *, mend: str) -> Callable[[Callable[["Subject"], Findings]], Clause]:
    """Make a clause of a function that yields findings; its name is the function's."""

    def make(check: Callable[[Subject], Findings]) -> Clause:
        return Clause(check.__name__, rule, mend, check)

    return make


def _trust(request: Request, source: Source, keys: Keys, now_ms: int) -> Proof:
    return Proof("conformance")


class Subject:
    """An adapter and its recorded requests."""

    def __init__(self, adapter: Adapter, cases: tuple[Case, ...], examples: int) -> None:
        self.adapter, self.cases, self.examples = adapter, cases, examples
        self._trusting = msgspec.structs.replace(adapter, verify=_trust)

    def is_proven(
        self, case: Case, request: Request | None = None, source: Source | None = None, keys: Keys | None = None
    ) -> bool:
        """Whether a request is proven; any exception but ``NotProven`` counts as not, and is another clause's."""
        try:
            self.adapter.verify(
                request or case.request, source or case.source, case.keys if keys is None else keys, case.now_ms
            )
        except Exception:
            return False
        return True

    def told(self, error: Exception) -> str:
        """An exception with its text, and where in the adapter's file it came from."""
        adapter, words = self.adapter, f"{type(error).__name__}: {error}".removesuffix(": ")
        functions = (adapter.normalise, adapter.verify, adapter.sample, adapter.sign)
        files = {code.co_filename for function in functions if (code := getattr(function, "__code__", None))}
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename in files] or frames
        return f"{words} ({Path(own[-1].filename).name}, line {own[-1].lineno}: {own[-1].line})" if own else words

    def receive(self, case: Case) -> Outcome:
        """What the pipeline makes of a recorded request."""
        return receive(case.request, case.source, self.adapter, case.keys, case.now_ms)

    def verified(self, case: Case, body: bytes) -> VerifiedRequest:
        """A request with another body, taken as proven: for the clauses about what a body means."""
        request = msgspec.structs.replace(case.request, body=body)
        return prove(self._trusting, request, case.source, case.keys, case.now_ms)

    def drafts(self, case: Case, body: bytes) -> list[Draft]:
        """What ``normalise`` makes of a body; an empty list for anything but events."""
        try:
            drafts = self.adapter.normalise(self.verified(case, body))
        except Exception:  # Unmappable is fine, and anything else is found by the clause about it
            return []
        return [] if isinstance(drafts, Ignored) else drafts

    def events(self, case: Case, body: bytes) -> list[dict[str, Any]]:
        """The events of a body as JSON objects with ``raw``; an empty list for anything else."""
        outcome = understand(self.verified(case, body), self.adapter, case.now_ms)
        return events_of(outcome) if isinstance(outcome, Events) else []

    def summary(self, case: Case, body: bytes) -> str:
        """What becomes of a body, in short: the types of its events, or the outcome."""
        outcome = understand(self.verified(case, body), self.adapter, case.now_ms)
        if isinstance(outcome, Events):
            return ", ".join(item.event.type for item in outcome.events)
        return type(outcome).__name__.lower()

    def variations(self, case: Case) -> Iterator[tuple[str, bytes]]:
        """The case's body with one value at a time replaced by an odd one, and told where."""
        try:
            document = json.loads(case.request.body)
        except ValueError:
            return
        for path in paths(document):
            for odd in ODD:
                changed = copy.deepcopy(document)
                put(changed, path, odd)
                yield f"{'.'.join(map(str, path))} = {json.dumps(odd)}", msgspec.json.encode(changed)


ODD: tuple[Any, ...] = (None, "", "x", "2026-02-03T12:00:00", "+12", 7, 10**30, 0.5, True, [], {}, [[]], {"id": 7})
"""Values that no field expects, or not there."""


def events_of(outcome: Events) -> list[dict[str, Any]]:
    """Events as a subscriber who wants raw receives them."""
    return [{**json.loads(item.event_json), "raw": json.loads(item.raw_json)} for item in outcome.events]


def paths(document: Any, here: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every value inside a JSON document."""
    inside = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in inside:
        yield (*here, key)
        yield from paths(value, (*here, key))


def put(document: Any, path: tuple[str | int, ...], value: Any) -> None:
    """Replace the value at a path."""
    for key in path[:-1]:
        document = document[key]
    document[path[-1]] = value


def is_strictly_an_event(event: dict[str, Any]) -> str | None:
    """Why a JSON object is no canonical event, in msgspec's words; ``None`` if it is one."""
    try:
        msgspec.json.decode(msgspec.json.encode(event), type=Event)
    except msgspec.ValidationError as error:
        return str(error)
    return None
