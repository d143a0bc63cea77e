"""The text that ``gateway init`` writes: pure, from what was chosen to the content of two files."""

import json
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from adapters.contract import Adapter, Setting
from adapters.registry import BrokenAdapter, find
from gateway.cli.common import Exit, Refusal
from gateway.cli.secret import make

_HEAD = """\
# The gateway's configuration. Secrets stand in .env beside this file, or wherever env:, file: and credential: lead.
# gateway check looks for mistakes; gateway check --effective shows every setting there is.

[gateway]
listen = "127.0.0.1:8080"
# public_url = "https://hooks.example.com"   # where providers reach this gateway
admin_token = "env:GATEWAY_ADMIN_TOKEN"

[store]
url = "embedded:./data"   # comes along; or redis://…, rediss://…, unix://…
retention = "7d"
retention_bytes = "512MiB"
spool = "./spool"         # on disk, takes webhooks while the store cannot; "": none, they are answered 503
"""
_DOTENV_HEAD = """\
# Secrets of gateway.toml, all of them random and fresh. Where a provider gives you the secret, put its value here
# instead. The real environment wins over this file. Never commit it.
"""

Secrets = dict[str, tuple[str, str]]
"""Variable → its value, and what it is for."""


class Chosen(NamedTuple):
    """What to write."""

    sources: dict[str, str]
    """Name → adapter."""
    subscribers: dict[str, str]
    """Name → URL."""


class Written(NamedTuple):
    """What to put into the files, and what is left to do."""

    toml: str
    secrets: Secrets
    to_edit: list[str]
    """Settings that stand there with an example's value, which only the operator can replace."""


def write(chosen: Chosen) -> Written:
    """The content of ``gateway.toml``, and the secrets it refers to."""
    to_edit: list[str] = []
    secrets: Secrets = {"GATEWAY_ADMIN_TOKEN": (make("token"), "the API and the dashboard, role operate")}
    parts = [_HEAD]
    for name, reference in chosen.sources.items():
        adapter = find(reference, Path())
        if isinstance(adapter, BrokenAdapter):
            raise Refusal(f"{reference} cannot be used: {adapter.reason}", Exit.USAGE)
        parts.append(_source(name, adapter, secrets))
        to_edit += [f"{setting.name} in [sources.{name}]" for setting in _written(adapter) if setting.kind == "texts"]
    for name, url in chosen.subscribers.items():
        parts.append(_subscriber(name, url, secrets))
    if not chosen.subscribers:
        parts.append('# [subscribers.app]\n# url = "https://app.example.com/hooks"\n# secrets = ["env:APP_SECRET"]\n')
    return Written("\n".join(parts), secrets, to_edit)


def write_dotenv(secrets: Secrets, *, is_new: bool) -> str:
    """Lines for ``.env``."""
    lines = [f"# {use}\n{name}={value}\n" for name, (value, use) in secrets.items()]
    return (_DOTENV_HEAD if is_new else "") + "".join(lines)


def _source(name: str, adapter: Adapter, secrets: Secrets) -> str:
    lines = [f"[sources.{name}]   # {adapter.title}", f"adapter = {json.dumps(adapter.name)}"]
    written = _written(adapter)
    for setting in adapter.settings:
        line = _line(name, setting)
        if setting in written and setting.kind in {"secret", "secrets"}:
            variable = _variable(name, setting)
            secrets[variable] = (make("path-token"), f"[sources.{name}] {setting.name}: {setting.doc}")
        lines.append(f"{'' if setting in written else '# '}{line}   # {setting.doc}")
    return "\n".join(lines) + "\n"


def _written(adapter: Adapter) -> list[Setting]:
    """The settings to write: what is required, and one proof, rather one whose secret we may choose ourselves."""
    required = [setting for setting in adapter.settings if setting.required]
    if any(setting.proof for setting in required):
        return required
    proofs = [setting for setting in adapter.settings if setting.proof]
    proofs.sort(
        key=lambda setting: ("secret", "secrets").index(setting.kind) if setting.kind.startswith("secret") else 2
    )
    return [*required, *proofs[:1]]


def _line(source: str, setting: Setting) -> str:
    """The adapter's example, with a variable of the source's own name, so that two sources never share one."""
    if setting.kind == "secrets":
        return f'{setting.name} = ["env:{_variable(source, setting)}"]'
    if setting.kind == "secret":
        return f'{setting.name} = "env:{_variable(source, setting)}"'
    return setting.example


def _variable(source: str, setting: Setting) -> str:
    """``ENVIAAI_BR_SECRET``: the source, and the setting in the singular."""
    return f"{source}_{setting.name.removesuffix('s')}".upper().replace("-", "_")


def _subscriber(name: str, url: str, secrets: Secrets) -> str:
    variable = f"{name}_SECRET".upper().replace("-", "_")
    secrets[variable] = (make("whsec"), f"[subscribers.{name}]: signs what is delivered; the app verifies with it")
    lines = [f"[subscribers.{name}]", f"url = {json.dumps(url)}", f'secrets = ["env:{variable}"]', 'types = ["*"]']
    if _is_loopback(url):
        lines.append('allow_networks = ["127.0.0.0/8", "::1"]   # private targets are named, never implied')
    return "\n".join(lines) + "\n"


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
