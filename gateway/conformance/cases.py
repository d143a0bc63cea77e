"""Recorded requests: one folder a case, ``<event>__<variant>/{body.raw, headers.json, expected.json, about.toml}``.

``body.raw`` and ``headers.json`` (name → value) are exactly as sent. ``expected.json`` is the list of canonical events,
whole, or ``{"outcome": "ignored"}`` or ``{"outcome": "quarantined"}``; with ``[]`` the suite shows what to read and
copy. ``about.toml``::

    provenance = "docs"                        # docs | inferred | captured
    url = "https://…"                          # the page it comes from
    day = "2026-11-21"                         # when it was written down, or captured
    note = "…"                                 # what is remarkable about it
    received_at = "2026-02-03T12:00:05.412Z"   # the clock of the test
    dedupe = [["message.received", "sha256(body)"]]   # for each event, what its id must come from (without the source)

    [source]                                   # settings as in gateway.toml, but with the test secrets in the clear
    name = "acme"
    secrets = ["test"]

    [proof]
    header = "x-acme-signature"                # the header that carries the proof, or path_token = true
    command = "openssl dgst …"                 # prints that header's value; the suite runs it with sh in the folder
    prints = "Verified OK"                     # if the command checks the header instead: what it prints then
    not_over_body = "why"                      # only if the proof does not cover the body
    unsignable = "why"                         # only if sign cannot make this proof

    [request]                                  # path_token, client_ip: what is no header
    [keys]                                     # URL → "file:key.pem": what key_wanted would fetch
    [retry]                                    # dotted path → value: what the provider changes in a retry

A value ``file:…`` is read from a file, relative to the folder. Folders whose name begins with ``_`` are no cases.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec

from adapters.contract import Request, Source
from schemas.timestamps import parse_iso_ms

FILES = ("body.raw", "headers.json", "expected.json", "about.toml")


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded request and what must become of it."""

    name: str
    folder: Path
    request: Request
    source: Source
    keys: Mapping[str, bytes]
    expected: Any
    about: Mapping[str, Any]
    now_ms: int
    secrets: tuple[bytes, ...]
    """What must never show: the source's secrets, its path token."""

    @property
    def event(self) -> str:
        """The name of the event: what stands before the two underscores."""
        return self.name.partition("__")[0]

    @property
    def proof(self) -> Mapping[str, Any]:
        """The table ``[proof]``."""
        proof: Mapping[str, Any] = self.about.get("proof", {})
        return proof

    @property
    def proof_header(self) -> bytes | None:
        """The header that carries the proof, in lower case."""
        name = self.proof.get("header")
        return name.lower().encode() if name else None

    @property
    def retry_body(self) -> bytes:
        """The body of a retry: the same bytes, unless ``[retry]`` says what the provider changes."""
        changes = self.about.get("retry", {})
        if not changes:
            return self.request.body
        document = json.loads(self.request.body)
        for path, value in changes.items():
            *way, last = path.split(".")
            at = document
            for part in way:
                at = at[part]
            at[last] = value
        return msgspec.json.encode(document)


def load_cases(folder: Path) -> tuple[Case, ...]:
    """Every case in ``folder``, sorted by name. Raises ``ValueError`` naming what is missing or wrong."""
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder.name}/ with fixtures; make one, with one folder a case")
    found = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[:1] not in "_.")
    if not found:
        raise ValueError(f"the folder {folder.name}/ holds no cases; make one folder a case: <event>__<variant>")
    return tuple(load_case(path) for path in found)


def load_case(folder: Path) -> Case:
    """One case. Raises ``ValueError`` naming what is missing or wrong."""
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise ValueError(f"the case {folder.name} lacks {', '.join(missing)}")
    try:
        about = tomllib.loads((folder / "about.toml").read_text(encoding="utf-8"))
        headers = json.loads((folder / "headers.json").read_bytes())
        expected = json.loads((folder / "expected.json").read_bytes())
        now_ms = parse_iso_ms(about.get("received_at"))
        source, secrets = _source(dict(about["source"]), folder)
        request = Request(
            headers=tuple((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()),
            body=(folder / "body.raw").read_bytes(),
            path_token=_bytes(about.get("request", {}).get("path_token")),
            client_ip=about.get("request", {}).get("client_ip"),
        )
        keys = {url: _bytes_of(value, folder) for url, value in about.get("keys", {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ValueError(f"the case {folder.name} cannot be read: {type(error).__name__}: {error}") from error
    if now_ms is None:
        raise ValueError(f"the case {folder.name}: about.toml lacks received_at, a time like 2026-02-03T12:00:05.412Z")
    return Case(
        name=folder.name,
        folder=folder,
        request=request,
        source=source,
        keys=keys,
        expected=expected,
        about=about,
        now_ms=now_ms,
        secrets=secrets,
    )


def _source(settings: dict[str, Any], folder: Path) -> tuple[Source, tuple[bytes, ...]]:
    """The source a case was sent to, and the secrets in it. What no field of ``Source`` has is an option."""
    fields: dict[str, Any] = {"name": settings.pop("name"), "unauthenticated": settings.pop("unauthenticated", False)}
    secrets = tuple(_bytes_of(secret, folder) for secret in settings.pop("secrets", ()))
    fields["secrets"] = secrets
    if (header := settings.pop("header", None)) is not None:
        fields["header"] = header.lower().encode()
    fields["accounts"] = tuple(settings.pop("accounts", ()))
    fields["environment"] = settings.pop("environment", "production")
    if (pem := settings.pop("public_key", None)) is not None:
        fields["public_key"] = _bytes_of(pem, folder)
    if (token := settings.pop("path_token", None)) is not None:
        fields["path_token_sha256"] = hashlib.sha256(token.encode()).digest()
        secrets = (*secrets, token.encode())
    fields["allow_ips"] = tuple(ip_network(network) for network in settings.pop("allow_ips", ()))
    fields["options"] = {
        name: _bytes_of(value, folder) if isinstance(value, str) and value.startswith("file:") else value
        for name, value in settings.items()
    }
    return Source(**fields), secrets


def _bytes_of(value: str, folder: Path) -> bytes:
    return (folder / value.removeprefix("file:")).read_bytes() if value.startswith("file:") else value.encode()


def _bytes(value: str | None) -> bytes | None:
    return None if value is None else value.encode()
