"""``[gateway]`` and ``[store]``."""

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from gateway.config import GatewaySettings, StoreSettings, Token, hash_token
from gateway.config_file.folders import check_spool
from gateway.config_file.references import References, is_reference
from gateway.config_file.section import Key, Reading, Section
from gateway.config_file.values import (
    DAY_MS,
    GIB,
    KIB,
    MIB,
    MINUTE_MS,
    NAME,
    Wrong,
    choice,
    duration,
    flag,
    http_url,
    integer,
    list_of,
    listen,
    network,
    size,
    split_url,
    text,
)

MIN_TOKEN_CHARS = 22
"""128 random bits in base64: a shorter token can be guessed."""

LISTEN = Key("listen", listen, "127.0.0.1:8080")
TRUSTED_PROXIES = Key("trusted_proxies", list_of(network), [])
MAX_BODY = Key("max_body", size(KIB, 64 * MIB), "1MiB")
BODY_TIMEOUT = Key("body_timeout", duration(100, 5 * MINUTE_MS), "10s")
HEADER_TIMEOUT = Key("header_timeout", duration(100, 5 * MINUTE_MS), "10s")
IDLE_TIMEOUT = Key("idle_timeout", duration(100, 60 * MINUTE_MS), "75s")
MAX_CONNECTIONS = Key("max_connections", integer(16, 1_000_000), 4_096)
LOG_LEVEL = Key("log_level", choice("debug", "info", "warning", "error"), "info")
LOG_FORMAT = Key("log_format", choice("auto", "text", "json"), "auto")

DURABILITY = Key("durability", choice("fsync", "memory"), "fsync")
ASSUME_DURABLE = Key("assume_durable", flag, False)
PARTITIONS = Key("partitions", integer(1, 256), 1)
RETENTION = Key("retention", duration(MINUTE_MS, 3650 * DAY_MS), "7d")
SPOOL_BYTES = Key("spool_bytes", size(MIB, 1024 * GIB), "512MiB")
RETENTION_BYTES = Key("retention_bytes", size(MIB, 1024 * GIB), "512MiB")


def read_gateway(reading: Reading, table: object) -> GatewaySettings:
    """``[gateway]`` and ``[[gateway.tokens]]``."""
    section = Section(reading, ("gateway",), table)
    host, port = section.read(LISTEN)
    settings = GatewaySettings(
        host=host,
        port=port,
        public_url=section.read_optional(Key("public_url", http_url, shown=masked)),
        trusted_proxies=section.read(TRUSTED_PROXIES),
        max_body_bytes=section.read(MAX_BODY),
        body_timeout_s=section.read(BODY_TIMEOUT),
        header_timeout_s=section.read(HEADER_TIMEOUT),
        idle_timeout_s=section.read(IDLE_TIMEOUT),
        max_connections=section.read(MAX_CONNECTIONS),
        tokens=_tokens(section),
        log_level=section.read(LOG_LEVEL),
        log_format=section.read(LOG_FORMAT),
    )
    section.finish()
    return settings


def _tokens(section: Section) -> tuple[Token, ...]:
    references = section.reading.references
    tokens: list[Token] = []
    admin = section.read_optional(Key("admin_token", lambda value: _token_secret(references, value), shown=masked))
    if admin is not None:
        tokens.append(Token(name="admin", role="operate", secret_sha256=hash_token(admin)))
    listed = section.read_optional(Key("tokens", _tables, shown=lambda _tables: None))
    for index, table in enumerate(listed or ()):
        entry = Section(section.reading, (*section.path, "tokens", index), table)
        name = entry.read_required(Key("name", _name), 'name = "grafana", to tell the tokens apart')
        role: Any = entry.read_required(Key("role", choice("read", "operate")), 'role = "read" or role = "operate"')
        secret = entry.read_required(
            Key("secret", lambda value: _token_secret(references, value), shown=masked), 'secret = "env:NAME"'
        )
        entry.finish()
        if name is None or role is None or secret is None:
            continue
        if any(token.name == name for token in tokens):
            entry.problem(("name",), f'= "{name}" is the name of another token', "a name of its own")
        tokens.append(Token(name=name, role=role, secret_sha256=hash_token(secret)))
    return tuple(tokens)


def read_store(reading: Reading, table: object) -> StoreSettings:
    """``[store]``, with its paths made absolute."""
    section = Section(reading, ("store",), table)
    url = section.read(Key("url", lambda value: _store_url(reading, value), "embedded:./data", shown=masked))
    spool = section.read(Key("spool", _path_or_nothing, "./spool"))
    settings = StoreSettings(
        url=url,
        durability=section.read(DURABILITY),
        assume_durable=section.read(ASSUME_DURABLE),
        partitions=section.read(PARTITIONS),
        retention_s=section.read(RETENTION),
        retention_bytes=section.read(RETENTION_BYTES),
        spool_bytes=section.read(SPOOL_BYTES),
        spool=Path(os.path.realpath(reading.base / spool)) if spool else None,
    )
    if settings.spool is not None:
        try:
            check_spool(settings.spool, settings.data_dir)
        except Wrong as wrong:
            for fault in wrong.faults:
                section.problem(("spool",), f'= "{spool}" {fault.why}', fault.write)
    section.finish()
    return settings


def masked(value: Any) -> Any:
    """What may be shown of a value that could hold a secret: references whole, of URLs no user and no query."""
    if isinstance(value, list):
        return [masked(inner) for inner in value]
    if not isinstance(value, str) or is_reference(value):
        return value
    bare = re.sub(r"(?<=//)[^/@]*@", "…@", value)
    return re.sub(r"\?.*", "?…", bare)


def text_or_reference(references: References, value: object) -> str:
    """A text that stands in the file, or that a reference leads to."""
    if not is_reference(value):
        return text(value)
    try:
        return text(references.resolve(value).decode())
    except UnicodeDecodeError:
        raise Wrong("leads to bytes that are not UTF-8", "a reference to a text") from None


def _token_secret(references: References, value: object) -> str:
    secret = references.resolve(value).decode("utf-8", "surrogateescape")
    if len(secret) < MIN_TOKEN_CHARS:
        raise Wrong(
            f"leads to a token shorter than {MIN_TOKEN_CHARS} characters, which can be guessed",
            "what this prints, to where the reference points: gateway secret new --kind token",
        )
    return secret


def _store_url(reading: Reading, value: object) -> str:
    url = text_or_reference(reading.references, value)
    if url.startswith("embedded:"):
        directory = url.removeprefix("embedded:")
        if not directory:
            raise Wrong("names no directory", '"embedded:./data"')
        return f"embedded:{(reading.base / directory).resolve()}"
    parts = split_url(url)
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise Wrong("is not a store", '"embedded:./data", "redis://host:6379/0", "rediss://…" or "unix:///path"')
    if parts.scheme == "unix" and not parts.path:
        raise Wrong("names no socket", '"unix:///run/valkey.sock"')
    if parts.scheme != "unix" and not parts.hostname:
        raise Wrong("names no host", '"redis://host:6379/0"')
    holds_password = parts.password is not None or "password" in dict(parse_qsl(parts.query))
    if holds_password and not is_reference(value):
        raise Wrong("holds a password; secrets do not stand in this file", '"env:STORE_URL", and the URL into .env')
    return url


def _path_or_nothing(value: object) -> str:
    return "" if value == "" else text(value)


def _name(value: object) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise Wrong("is not a name", "small letters, digits and -, up to 63, not beginning with -")
    return value


def _tables(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise Wrong("is not a list of tables", "[[gateway.tokens]] on a line of its own, with name, role and secret")
    return value
