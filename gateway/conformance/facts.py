"""Clauses about what an adapter says of itself."""

import re
import tomllib

from adapters.contract import Adapter, Setting
from gateway.conformance.subject import Findings, Subject, clause
from schemas.event import EVENT_TYPES

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_CASE = re.compile(r"[^/\\\s]+__[^/\\\s]+")


@clause(
    "What the adapter says of itself is complete and well-formed.",
    mend="correct the field of ADAPTER that is named; adapters/contract.py says what each must hold",
)
def facts_are_well_formed(subject: Subject) -> Findings:
    """Names, texts, numbers, tables, settings."""
    adapter = subject.adapter
    if not _NAME.fullmatch(adapter.name):
        yield f"name is {adapter.name!r}; small letters, digits and _ are allowed"
    if adapter.version < 1:
        yield f"version is {adapter.version}; the first is 1"
    for field in ("title", "proven_by", "setup"):
        if not getattr(adapter, field):
            yield f"{field} is empty"
    if not adapter.documentation or not all(url.startswith("https://") for url in adapter.documentation):
        yield "documentation names no page, or one that is not https"
    if adapter.ack_deadline_s is not None and adapter.ack_deadline_s <= 0:
        yield f"ack_deadline_s is {adapter.ack_deadline_s}; it is a time, or None if it is not documented"
    if adapter.retry_horizon_s < 0:
        yield f"retry_horizon_s is {adapter.retry_horizon_s}; it is a time, or 0 if no retries are documented"
    if "{url}" not in adapter.setup:
        yield "setup does not say where the URL goes: {url}"
    yield from _tables(adapter)
    if not any(setting.proof for setting in adapter.settings):
        yield "no setting is marked proof, so no source could be configured"
    for setting in adapter.settings:
        yield from _setting(setting)


def _tables(adapter: Adapter) -> Findings:
    for name, canonical_type in adapter.event_map.items():
        if canonical_type not in EVENT_TYPES or canonical_type == "other":
            yield f"event_map maps {name} to {canonical_type}, which is no canonical type to map to"
        if name in adapter.ignored:
            yield f"{name} is both mapped and ignored"
    for name, reason in adapter.ignored.items():
        if not reason:
            yield f"ignored gives no reason for {name}"
    for case in adapter.cases:
        if not _CASE.fullmatch(case):
            yield f"the case {case!r} is not of the form <event>__<variant>"


def _setting(setting: Setting) -> Findings:
    try:
        written = tomllib.loads(setting.example)
    except tomllib.TOMLDecodeError as error:
        yield f"the example of the setting {setting.name} is not TOML: {error}"
        return
    if list(written) != [setting.name]:
        yield f"the example of the setting {setting.name} sets something else"
        return
    value = written[setting.name]
    if setting.kind in {"secrets", "secret", "file"}:
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) and one.startswith(("env:", "file:", "credential:")) for one in values):
            yield f"the example of the setting {setting.name} holds a value where a reference belongs"
    if isinstance(value, list) is not (setting.kind in {"secrets", "texts", "networks"}):
        yield f"the example of the setting {setting.name} does not fit its kind, {setting.kind}"
    if not setting.doc:
        yield f"the setting {setting.name} has no doc"


@clause(
    "The fixture folders and ADAPTER.cases name the same cases.",
    mend="add the folder, or what sample makes of it, or take the name away",
)
def cases_have_fixtures(subject: Subject) -> Findings:
    """Both ways round."""
    folders, declared = {case.name for case in subject.cases}, set(subject.adapter.cases)
    yield from (f"{name} is in ADAPTER.cases, but has no folder" for name in sorted(declared - folders))
    yield from (f"{name} has a folder, but is not in ADAPTER.cases" for name in sorted(folders - declared))


@clause(
    "Every name in event_map and in ignored has a recorded case, and so has an unknown name.",
    mend="add a folder <name>__<variant>, with the name as event_map writes it; its expected.json says what it becomes",
)
def names_have_cases(subject: Subject) -> Findings:
    """By the names of the folders."""
    recorded = {case.event for case in subject.cases}
    for name in (*subject.adapter.event_map, *subject.adapter.ignored):
        if name not in recorded:
            yield f"no case of {name}"
    if not any(isinstance(case.expected, list) and _has_other(case.expected) for case in subject.cases):
        known = {*subject.adapter.event_map, *subject.adapter.ignored}
        unknown = [case for case in subject.cases if case.event not in known]
        for case in unknown:
            written = "[]" if case.expected == [] else "without an event of the type other"
            yield f"case {case.name} has a name that nobody knows, but its expected.json is {written}"
        if not unknown:
            yield "no case of a name that nobody knows, which becomes other"


def _has_other(expected: list[dict[str, object]]) -> bool:
    return any(event.get("type") == "other" for event in expected)


@clause(
    "Every case says where it comes from and how its proof was made.",
    mend="complete about.toml; gateway/conformance/cases.py shows one",
)
def cases_have_provenance(subject: Subject) -> Findings:
    """The parts of ``about.toml`` that only people need."""
    for case in subject.cases:
        if case.about.get("provenance") not in {"docs", "inferred", "captured"}:
            yield f"case {case.name}: provenance is neither docs nor inferred nor captured"
        for field in ("url", "day"):
            if not case.about.get(field):
                yield f"case {case.name}: {field} is missing"
        proof = case.proof
        if not (proof.get("command") or proof.get("not_over_body") or case.source.unauthenticated):
            yield f"case {case.name}: [proof] has no command that makes the signature with another tool"
