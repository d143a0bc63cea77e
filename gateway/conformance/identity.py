"""Clauses about what makes an event this event, what orders it, and what must stay inside."""

import re

import msgspec

from adapters.contract import Draft, NotProven, Unmappable
from gateway.conformance.proof import bad_proofs
from gateway.conformance.subject import Findings, Subject, clause

_SEEDS = range(1, 6)
_SIGNATURE_BYTES = 16
"""Shorter parts of a header are words like sha256, not signatures."""


@clause(
    "A retry gives the same event ids.",
    mend="derive dedupe from fields that the provider repeats; about.toml's [retry] says what it changes",
)
def retry_has_the_same_ids(subject: Subject) -> Findings:
    """The body of the retry is the same bytes, or what ``[retry]`` makes of it."""
    for case in subject.cases:
        first, again = (
            [event["id"] for event in subject.events(case, body)] for body in (case.request.body, case.retry_body)
        )
        if first != again:
            yield f"case {case.name}: {first} becomes {again}"


@clause(
    "Two different events have different ids.",
    mend="add to dedupe what tells them apart; where an id is only inferred to be unique, add body_sha256",
)
def different_events_differ(subject: Subject) -> Findings:
    """Fresh samples of every case."""
    for name in subject.adapter.cases:
        case = next((case for case in subject.cases if case.name == name), None)
        if case is None:
            continue
        seen: dict[str, int] = {}
        for seed in _SEEDS:
            for event in subject.events(case, subject.adapter.sample(name, seed)):
                if seen.setdefault(event["id"], seed) != seed:
                    yield f"case {name}: the samples {seen[event['id']]} and {seed} have the same id"


@clause(
    "Dedupe parts begin with the provider's name of the event, say more than that, and none is empty.",
    mend="give the name first and None for what is missing: it is replaced by the body's hash",
)
def dedupe_parts_are_filled(subject: Subject) -> Findings:
    """Also with odd values in the body."""
    for case in subject.cases:
        for words, body in (("as recorded", case.request.body), *subject.variations(case)):
            fault = next((why for draft in subject.drafts(case, body) if (why := _dedupe_fault(draft))), None)
            if fault is not None:
                yield f"case {case.name}, {words}: {fault}"
                break


def _dedupe_fault(draft: Draft) -> str | None:
    parts, name = draft.dedupe, draft.provider_type
    if "" in parts:
        return f"dedupe is {parts!r}: a part is empty"
    if not parts or parts[0] != name:
        return f"dedupe is {parts!r}: it does not begin with {name!r}, the provider's name"
    return "dedupe is only the name" if len(parts) < 2 else None


@clause(
    "A retry has the same ordering keys.",
    mend="take the ordering key from fields that the provider repeats",
)
def retry_has_the_same_ordering_keys(subject: Subject) -> Findings:
    """Else it could overtake what it repeats."""
    for case in subject.cases:
        first, again = (
            [draft.ordering_key for draft in subject.drafts(case, body)]
            for body in (case.request.body, case.retry_body)
        )
        if first != again:
            yield f"case {case.name}: {first} becomes {again}"


@clause(
    "No secret shows in an event, a proof, a reason or a repr.",
    mend="name the setting to check, never its value, and never what was computed from it",
)
def secrets_stay_inside(subject: Subject) -> Findings:
    """The secrets of the source, and the signatures of requests."""
    for case in subject.cases:
        header = case.request.header(case.proof_header) if case.proof_header else None
        signatures = [part for part in re.split(rb"[=,]", header or b"") if len(part) >= _SIGNATURE_BYTES]
        hidden = [*case.secrets, *signatures]
        said = [repr(case.source).encode()]
        try:
            said.append(subject.adapter.verify(case.request, case.source, case.keys, case.now_ms).method.encode())
        except Exception as error:
            said.append(str(error).encode())
        # Before it says no, an adapter has computed what would have been right: that must not be in the reason either.
        for _, request in bad_proofs(case):
            try:
                subject.adapter.verify(request, case.source, case.keys, case.now_ms)
            except NotProven as error:
                said += [str(error).encode(), repr(error).encode(), error.reason.encode()]
            except Exception as error:
                said.append(str(error).encode())
        try:
            subject.adapter.normalise(subject.verified(case, b"{"))
        except Unmappable as error:
            said.append(error.reason.encode())
        except Exception as error:
            said.append(str(error).encode())
        said += [msgspec.json.encode(event) for event in subject.events(case, case.request.body)]
        for secret in hidden:
            if any(secret in words for words in said):
                yield f"case {case.name}: a secret or a signature shows in a reason, an event or a repr"
                break
