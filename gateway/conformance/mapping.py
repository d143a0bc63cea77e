"""Clauses about ``normalise``: what a proven body becomes."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import msgspec
from hypothesis import strategies as st

from adapters.contract import REDACTED, Draft, Ignored, Unmappable
from gateway.conformance.cases import Case
from gateway.conformance.fuzz import JSON, fuzz
from gateway.conformance.subject import Findings, Subject, clause, events_of, is_strictly_an_event, paths, put
from gateway.intake.pipeline import Events, Rejected
from schemas.event import FAMILY_OF

_UNREADABLE = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[1,2]",
    "a string": b'"text"',
    "a number": b"7",
    "half an object": b'{"event":',
    "an object and more": b"{}{}",
    "not UTF-8": b'{"event":"\xff"}',
    "a lone surrogate": b'{"event":"\\ud800"}',
    "5 000 lists deep": b"[" * 5_000 + b"]" * 5_000,
    "an object 5 000 deep": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "a number of 5 000 digits": b'{"a":' + b"9" * 5_000 + b"}",
    "NaN": b'{"a":NaN}',
}


@clause(
    "Every recorded request becomes exactly the recorded events.",
    mend="read the first difference: either the mapping is wrong, or expected.json is",
)
def expected_events(subject: Subject) -> Findings:
    """Through the pipeline, with everything in them."""
    for case in subject.cases:
        outcome = subject.receive(case)
        if isinstance(outcome, Rejected):
            continue  # the clause genuine_is_proven says so
        if case.expected == [] and isinstance(outcome, Events):
            made = msgspec.json.encode(events_of(outcome)).decode()
            yield f"case {case.name}: expected.json is []; read these events, and if they are right, copy them: {made}"
            continue
        if not isinstance(outcome, Events):
            wanted = case.expected.get("outcome") if isinstance(case.expected, dict) else "events"
            got = type(outcome).__name__.lower()
            if wanted != got:
                why = _fault(subject, case, case.request.body) or outcome.reason
                yield f"case {case.name}: {got} ({why}) instead of {wanted}"
        elif isinstance(case.expected, dict):
            yield f"case {case.name}: events instead of {case.expected.get('outcome')}"
        elif (difference := _difference(events_of(outcome), case.expected)) is not None:
            yield f"case {case.name}: {difference}"


def _difference(got: Any, wanted: Any, here: str = "events") -> str | None:
    """Where two JSON values differ first."""
    if isinstance(got, dict) and isinstance(wanted, dict):
        for key in [*wanted, *got]:
            if key not in got or key not in wanted:
                return f"{here}.{key} is {'missing' if key not in got else f'{got[key]!r}, and not expected'}"
            if (inside := _difference(got[key], wanted[key], f"{here}.{key}")) is not None:
                return inside
        return None
    if isinstance(got, list) and isinstance(wanted, list) and len(got) == len(wanted):
        inside_all = (
            _difference(*pair, f"{here}[{index}]") for index, pair in enumerate(zip(got, wanted, strict=True))
        )
        return next((inside for inside in inside_all if inside is not None), None)
    same = got == wanted and isinstance(got, bool) is isinstance(wanted, bool)
    return None if same else f"{here} is {got!r}, expected {wanted!r}"


@clause(
    "What becomes an event is a valid one, also with odd values in the body.",
    mend="put only checked values into fields that have a form: times by schemas.timestamps, phones by reading.e164",
)
def events_are_valid(subject: Subject) -> Findings:
    """Decoded again, strictly, as a subscriber would."""
    for case in subject.cases:
        for words, body in (("as recorded", case.request.body), *subject.variations(case)):
            faults = [why for event in subject.events(case, body) if (why := is_strictly_an_event(event)) is not None]
            if faults:
                yield f"case {case.name}, {words}: {faults[0]}"
                break


@clause(
    "The data of an event is of the family its type names.",
    mend="choose the class of data by the type: schemas.event.FAMILY_OF",
)
def data_fits_type(subject: Subject) -> Findings:
    """Also with odd values in the body."""
    for case in subject.cases:
        for words, body in (("as recorded", case.request.body), *subject.variations(case)):
            drafts = subject.drafts(case, body)
            wrong = next((draft for draft in drafts if FAMILY_OF.get(draft.type) is not type(draft.data)), None)
            if wrong is not None:
                yield f"case {case.name}, {words}: {wrong.type} with data of the class {type(wrong.data).__name__}"
                break


@clause(
    "A JSON object without a known type becomes other, with the provider's name for it, and is kept whole.",
    mend="return reading.other for every name that is neither mapped nor ignored, also for no name",
)
def unknown_becomes_other(subject: Subject) -> Findings:
    """An empty object has no type at all."""
    case = subject.cases[0]
    drafts = subject.drafts(case, b"{}")
    if [draft.type for draft in drafts] != ["other"]:
        yield f"an empty object becomes {subject.summary(case, b'{}') or 'nothing'} instead of other"
    elif any(getattr(draft.data, "name", None) != "" for draft in drafts):
        yield "an empty object becomes other, but with a name"


@clause(
    "A body that is no JSON object is Unmappable.",
    mend="decode with reading.read_object, or adapters.decoding.decode_object, and nothing else",
)
def not_an_object_is_unmappable(subject: Subject) -> Findings:
    """So that it goes to quarantine."""
    for words, body in _UNREADABLE.items():
        try:
            result = subject.adapter.normalise(subject.verified(subject.cases[0], body))
        except Unmappable:
            continue
        except Exception as error:
            yield f"for {words} it raises {subject.told(error)}"
            continue
        yield f"for {words} it returns {type(result).__name__}"


@clause(
    "normalise raises Unmappable and nothing else, for any object whatever.",
    mend="take values with the functions of adapters.reading: a value of the wrong type counts as absent",
)
def normalise_raises_only_unmappable(subject: Subject) -> Findings:
    """First one odd value at a time, then what hypothesis thinks of."""
    for case in subject.cases:
        for words, body in (("as recorded", case.request.body), *subject.variations(case)):
            if (fault := _fault(subject, case, body)) is not None:
                yield f"case {case.name}, {words}: {fault}"
                break
    places = [(case, json.loads(case.request.body), path) for case, path in _places(subject)]
    if not places:
        return

    def check(drawn: tuple[tuple[Case, Any, tuple[str | int, ...]], Any]) -> str | None:
        (case, document, path), value = drawn
        changed = copy.deepcopy(document)
        put(changed, path, value)
        fault = _fault(subject, case, msgspec.json.encode(changed))
        return fault and f"case {case.name}, {'.'.join(map(str, path))} = {value!r:.200}: {fault}"

    def check_whole(document: dict[str, Any]) -> str | None:
        fault = _fault(subject, subject.cases[0], msgspec.json.encode(document))
        return fault and f"the body {document!r:.200}: {fault}"

    yield from fuzz(st.tuples(st.sampled_from(places), JSON), check, subject.examples)
    yield from fuzz(st.dictionaries(st.text(max_size=12), JSON, max_size=4), check_whole, subject.examples)


def _places(subject: Subject) -> Iterator[tuple[Case, tuple[str | int, ...]]]:
    for case in subject.cases:
        try:
            document = json.loads(case.request.body)
        except ValueError:
            continue
        yield from ((case, path) for path in paths(document))


def _fault(subject: Subject, case: Case, body: bytes) -> str | None:
    try:
        result = subject.adapter.normalise(subject.verified(case, body))
    except Unmappable:
        return None
    except Exception as error:
        return f"normalise raises {subject.told(error)}"
    if isinstance(result, Ignored) or (isinstance(result, list) and all(isinstance(one, Draft) for one in result)):
        return None
    return f"normalise returns {type(result).__name__}, which is neither a list of drafts nor Ignored"


@clause(
    "What the adapter redacts never shows in raw, whatever it holds.",
    mend="mask the value in place (reading.mask) before anything takes the body as raw or as payload",
)
def redacted_is_masked(subject: Subject) -> Findings:
    """A text, an object and a list are put at each path of ``redacts``, in every case."""
    for case in subject.cases:
        for path in subject.adapter.redacts:
            for planted in (_CANARY, {"inner": _CANARY}, [_CANARY]):
                document = _planted(case, path, planted)
                if document is None:
                    continue
                for draft in subject.drafts(case, msgspec.json.encode(document)):
                    if _CANARY.encode() in msgspec.json.encode(draft.raw):
                        yield f"case {case.name}: {path} shows in raw when it holds {type(planted).__name__}"
                    if draft.type == "other" and _CANARY.encode() in msgspec.json.encode(draft.data):
                        yield f"case {case.name}: {path} shows in payload when it holds {type(planted).__name__}"


_CANARY = "canary-93b1"


def _planted(case: Case, path: str, value: Any) -> Any:
    """The case's document with a value at a dotted path (``*``: every item of a list); ``None`` if it does not fit."""
    try:
        document = json.loads(case.request.body)
    except ValueError:
        return None
    fitted = False

    def plant(at: Any, keys: list[str]) -> None:
        nonlocal fitted
        if keys[0] == "*" and isinstance(at, list):
            for item in at:
                plant(item, keys[1:])
        elif isinstance(at, dict) and len(keys) == 1:
            at[keys[0]] = value
            fitted = True
        elif isinstance(at, dict) and keys[0] in at:
            plant(at[keys[0]], keys[1:])

    plant(document, path.split("."))
    return document if fitted else None


@clause(
    "raw is what the provider sent for the event, unknown fields included, with only the redacted values changed.",
    mend="give the decoded body, or the part of it that is the event, as raw; build no new object",
)
def raw_is_what_was_sent(subject: Subject) -> Findings:
    """An unknown field is put into every object of the body; raw must be a part of that."""
    for case in subject.cases:
        try:
            document = json.loads(case.request.body)
        except ValueError:
            continue
        for at in [document, *(_at(document, path) for path in list(paths(document)))]:
            if isinstance(at, dict):
                at["x-unknown"] = _CANARY
        sent = copy.deepcopy(document)
        parts = [sent, *(_at(sent, path) for path in paths(sent))]
        for draft in subject.drafts(case, msgspec.json.encode(document)):
            raw = json.loads(msgspec.json.encode(draft.raw))
            if not any(_same_but_redacted(raw, part) for part in parts):
                yield f"case {case.name}: the raw of {draft.type} is no part of the body"


def _same_but_redacted(raw: Any, sent: Any) -> bool:
    if raw == REDACTED and sent is not None:
        return True
    if isinstance(raw, dict) and isinstance(sent, dict):
        return raw.keys() == sent.keys() and all(_same_but_redacted(raw[key], sent[key]) for key in raw)
    if isinstance(raw, list) and isinstance(sent, list):
        return len(raw) == len(sent) and all(map(_same_but_redacted, raw, sent))
    return bool(raw == sent)


def _at(document: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        document = document[key]
    return document
