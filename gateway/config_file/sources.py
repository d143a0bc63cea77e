"""``[sources.*]``: each checked against what its adapter says it understands."""

import re
from typing import Any

from adapters.contract import Adapter, Setting, Source
from adapters.registry import BrokenAdapter, code_sha256, find
from gateway.config import SourceSettings, hash_token
from gateway.config_file.section import Key, Reading, Section
from gateway.config_file.tables import MIN_TOKEN_CHARS
from gateway.config_file.values import (
    DAY_MS,
    HEADER_NAME,
    MINUTE_MS,
    NAME,
    SECOND_MS,
    Wrong,
    choice,
    did_you_mean,
    duration,
    flag,
    list_of,
    network,
    one_of,
    rate,
    show_ms,
    text,
)

_DEFAULT_WINDOW_MS = 7 * DAY_MS
RATE = Key("rate", rate)
RETENTION = Key("retention", duration(MINUTE_MS, 3650 * DAY_MS))
EXPECT_EVERY = Key("expect_every", duration(MINUTE_MS, 365 * DAY_MS))
UNAUTHENTICATED = Key("unauthenticated", flag, False)
_UNPROVEN = "unauthenticated = true, if that is really meant"

_PATH_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")
"""RFC 3986, ``unreserved``: what needs no escaping in a path."""
_FIELDS = {"secrets", "header", "accounts", "environment", "public_key", "allow_ips"}
"""The settings that fill the field of ``Source`` of the same name. ``path_token`` becomes ``path_token_sha256``."""


def read_sources(reading: Reading, tables: object) -> dict[str, SourceSettings]:
    """Every source that could be read; what is wrong with the others stands in the problems."""
    if not isinstance(tables, dict):
        reading.problem(
            ("sources",), "sources is not a table", "[sources.NAME] on a line of its own, and its keys below"
        )
        return {}
    sources: dict[str, SourceSettings] = {}
    for name, table in tables.items():
        section = Section(reading, ("sources", name), table)
        check_name(section, name)
        settings = read_source(section, name)
        if settings is not None:
            sources[name] = settings
    return sources


def check_name(section: Section, name: str) -> None:
    """Note a problem if ``name`` cannot be part of a URL, a key or a metric's label."""
    if not NAME.fullmatch(name):
        section.problem((), "has a name that cannot stand in a URL", "small letters, digits and -, up to 63 of them")


def read_source(section: Section, name: str) -> SourceSettings | None:
    """One source; ``None`` if no adapter can be told to it. Problems are noted in the section's reading."""
    known = section.reading.adapter_names
    reference = section.read_required(
        Key("adapter", lambda value: _reference(value, known)), f"adapter = and one of {one_of(known)}"
    )
    found = None if reference is None else _found(section, reference)
    retry_horizon_ms = found.retry_horizon_s * SECOND_MS if isinstance(found, Adapter) else 0
    window = Key("dedupe_window", duration(SECOND_MS, 365 * DAY_MS), show_ms(max(_DEFAULT_WINDOW_MS, retry_horizon_ms)))
    window_s = section.read(window)
    if window_s * SECOND_MS < retry_horizon_ms:
        section.problem(
            ("dedupe_window",),
            f"ends before the last retry of {reference}, which would then be a second event",
            f'at least dedupe_window = "{show_ms(retry_horizon_ms)}"',
        )
    rate_per_s = section.read_optional(RATE)
    retention_s = section.read_optional(RETENTION)
    expect_every_s = section.read_optional(EXPECT_EVERY)
    unauthenticated = section.read(UNAUTHENTICATED)
    if not isinstance(found, Adapter):
        section.finish(unjudged={*_FIELDS, "path_token"})
    if reference is None or found is None:
        return None
    if isinstance(found, BrokenAdapter):
        source = Source(name=name, unauthenticated=unauthenticated)
    else:
        source = _source(section, name, found, unauthenticated=unauthenticated)
    token_reference = section.table.get("path_token")
    return SourceSettings(
        adapter=reference,
        source=source,
        dedupe_window_s=window_s,
        rate_per_s=rate_per_s,
        retention_s=retention_s,
        expect_every_s=expect_every_s,
        code_sha256=code_sha256(reference, section.reading.base),
        broken=found.reason if isinstance(found, BrokenAdapter) else None,
        path_token_reference=token_reference if isinstance(token_reference, str) else None,
    )


def _found(section: Section, reference: str) -> Adapter | BrokenAdapter | None:
    """The adapter; ``None``, with a problem noted, if the file that is named is not there."""
    if reference.endswith(".py") and not (section.reading.base / reference).is_file():
        section.problem(("adapter",), f'= "{reference}" is not there', "a path relative to this file, or a name")
        return None
    return find(reference, section.reading.base)


def _source(section: Section, name: str, adapter: Adapter, *, unauthenticated: bool) -> Source:
    fields: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for setting in adapter.settings:
        value = section.read_optional(Key(setting.name, _parser(setting, section.reading), shown=_as_written))
        if value is None:
            continue
        if setting.name == "path_token":
            fields["path_token_sha256"] = hash_token(_strong(section, value.decode("utf-8", "surrogateescape")))
        elif setting.name == "header":
            fields["header"] = _header_name(section, value)
        elif setting.name == "public_key":
            fields["public_key"] = _public_key(section, value)
        elif setting.name in _FIELDS:
            fields[setting.name] = value
        else:
            options[setting.name] = value
    _check_proof(section, adapter, unauthenticated=unauthenticated)
    section.finish(f" to the adapter {adapter.name}")
    return Source(name=name, unauthenticated=unauthenticated, options=options, **fields)


def _check_proof(section: Section, adapter: Adapter, *, unauthenticated: bool) -> None:
    proofs = [setting for setting in adapter.settings if setting.proof]
    written = [setting.name for setting in proofs if setting.name in section.table]
    if unauthenticated and written:
        section.problem(
            ("unauthenticated",),
            f"= true contradicts {' and '.join(written)}, which prove the sender",
            "only one of the two",
        )
    if unauthenticated:
        return
    instead = {UNAUTHENTICATED.name: _UNPROVEN}
    missing = [setting for setting in adapter.settings if setting.required and setting.name not in section.table]
    for setting in missing:
        what = f"lacks {setting.name}, which {adapter.name} needs: {setting.doc}"
        section.lack({setting.name: setting.example, **instead}, what, setting.example)
    if not written and not any(setting in missing for setting in proofs):
        examples = ", or ".join(setting.example for setting in proofs)
        section.lack(
            {setting.name: setting.example for setting in proofs} | instead,
            f"has no proof, so whoever learns its URL could send events in the name of {adapter.name}",
            f"{examples}; or {_UNPROVEN}",
        )


def _parser(setting: Setting, reading: Reading) -> Any:
    """How the values of a setting are read, by its kind."""
    resolve = reading.references.resolve
    match setting.kind:
        case "secrets":
            return list_of(resolve, least=1, most=16)
        case "secret" | "file":
            return resolve
        case "text":
            return choice(*setting.choices) if setting.choices else text
        case "texts":
            return list_of(choice(*setting.choices) if setting.choices else text, least=1)
        case "networks":
            return list_of(network, least=1)
        case "flag":
            return flag


def _header_name(section: Section, value: str) -> bytes | None:
    if not HEADER_NAME.fullmatch(value):
        section.problem(("header",), "is not the name of a header", 'its name alone, like header = "x-auth-token"')
        return None
    return value.lower().encode("ascii")


def _strong(section: Section, token: str) -> str:
    if len(token) < MIN_TOKEN_CHARS or not _PATH_SEGMENT.fullmatch(token):
        section.problem(
            ("path_token",),
            f"leads to a token that is shorter than {MIN_TOKEN_CHARS} characters or does not fit in a path",
            "what this prints, to where the reference points: gateway secret new --kind path-token",
        )
    return token


def _public_key(section: Section, pem: bytes) -> bytes | None:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        load_pem_public_key(pem)
    except Exception:  # whatever the library finds wrong with the bytes, it is no public key
        section.problem(
            ("public_key",),
            "leads to a file that holds no public key in PEM",
            "the file that begins with -----BEGIN PUBLIC KEY-----",
        )
        return None
    return pem


def _reference(value: object, known: list[str]) -> str:
    """An adapter: a name that exists, a dotted module, or a path to a ``.py`` file."""
    reference = text(value)
    is_elsewhere = "." in reference or "/" in reference
    if not is_elsewhere and reference not in known:
        raise Wrong(
            f"is no adapter{did_you_mean(reference, known)}", f"one of {one_of(known)}, or the path of a .py file"
        )
    return reference


def _as_written(value: Any) -> Any:
    """Adapter settings are references or public facts; shown in full, but not in messages about mistakes."""
    return value
