"""The configuration: what ``gateway.toml`` may say, with every default, and how it is read.

The classes below are the settings, resolved: durations in seconds, sizes in bytes, secrets as bytes. ``load`` reads
the file strictly and reports all mistakes at once; how it does that is told in ``gateway.config_file``.
"""

import hashlib
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Literal

import msgspec

from adapters.contract import Source

Network = IPv4Network | IPv6Network

NOT_YET: dict[str, str] = {
    "sources.retention": "a retention per source",
}
"""Settings that are understood but whose feature is not built: asking for one is an error, never silently ignored.

Whoever builds a feature deletes its line. A value equal to the default, or ``""`` (off), is no request for it.
"""


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """Who may use the API and the pages."""

    name: str
    role: Literal["read", "operate"]
    secret_sha256: bytes

    def __repr__(self) -> str:
        return f"Token(name={self.name!r}, role={self.role!r})"


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """``[gateway]``"""

    host: str = "127.0.0.1"
    port: int = 8080
    public_url: str | None = None
    trusted_proxies: tuple[Network, ...] = ()
    max_body_bytes: int = 1024 * 1024
    body_timeout_s: float = 10.0
    header_timeout_s: float = 10.0
    idle_timeout_s: float = 75.0
    max_connections: int = 4_096
    tokens: tuple[Token, ...] = ()
    log_level: str = "info"
    log_format: Literal["auto", "text", "json"] = "auto"


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``[store]``"""

    url: str = "embedded:./data"
    """``embedded:<absolute directory>`` once loaded, or ``redis://… rediss://… unix://…``."""
    durability: Literal["fsync", "memory"] = "fsync"
    assume_durable: bool = False
    """Typed by who runs a managed store that forbids CONFIG and has seen its settings himself."""
    partitions: int = 1
    retention_s: float = 7 * 86_400.0
    retention_bytes: int = 512 * 1024 * 1024
    spool: Path | None = None
    """Where webhooks wait while the store is away; ``None``: they are answered 503 then."""
    spool_bytes: int = 512 * 1024 * 1024
    """How much may wait there, as payload; the files take some more."""

    def __repr__(self) -> str:
        return f"StoreSettings(durability={self.durability!r}, …)"  # the URL can hold a password

    @property
    def most_lag_bytes(self) -> int:
        """How much of one partition's log one subscriber may hold back: half of it."""
        return self.retention_bytes // (2 * self.partitions)

    @property
    def data_dir(self) -> Path | None:
        """The embedded store's directory; ``None`` for a store elsewhere."""
        return Path(self.url.removeprefix("embedded:")) if self.url.startswith("embedded:") else None


class SourceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``[sources.<name>]``: what the adapter sees, and what only the gateway uses."""

    adapter: str
    source: Source
    dedupe_window_s: float = 7 * 86_400.0
    rate_per_s: float | None = None
    retention_s: float | None = None
    expect_every_s: float | None = None
    code_sha256: bytes | None = None
    """Of the file the adapter was loaded from."""
    broken: str | None = None
    """Why the adapter cannot work, if it cannot: this source answers 503, the others go on."""
    path_token_reference: str | None = None
    """Where the path token is to be found, for who must write the URL in full; see ``path_token``."""


class SubscriberSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``[subscribers.<name>]``"""

    name: str
    url: str
    secrets: tuple[str, ...]
    """``whsec_…`` or ``whsk_…``; all of them sign."""
    types: tuple[str, ...] = ("*",)
    where: str | None = None
    order: Literal["none", "key"] = "none"
    format: Literal["canonical", "cloudevents-structured", "cloudevents-binary"] = "canonical"
    raw: bool = True
    start: str = "now"
    """``now``, ``beginning``, or a time in the canonical form."""
    timeout_s: float = 15.0
    concurrency: int = 32
    rate_per_s: float | None = None
    retry_s: tuple[float, ...] = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
    max_lag_s: float = 5 * 86_400.0
    allow_networks: tuple[Network, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"SubscriberSettings(name={self.name!r}, …)"


class AlertSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``[alerts]``"""

    url: str | None = None
    """Where they are posted; ``None``: nowhere, ``status`` and the metrics have them all the same."""
    secrets: tuple[str, ...] = ()
    """``whsec_…`` or ``whsk_…``; all of them sign. Without one, alerts are not signed."""
    allow_networks: tuple[Network, ...] = ()
    oldest_pending_s: float = 300.0
    dead_letters: int = 1
    silence: bool = True

    def __repr__(self) -> str:
        return "AlertSettings(…)"  # the URL of a chat's incoming webhook is a secret


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """One setting in force, and where its value comes from. Secrets stand here as references only."""

    table: str
    key: str
    value: str
    """As one would write it in TOML."""
    origin: str
    """``default``, or ``file:line`` and, for references, ``NAME from environment``."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything ``gateway.toml`` says, resolved and checked."""

    path: Path
    gateway: GatewaySettings
    store: StoreSettings
    sources: dict[str, SourceSettings]
    subscribers: dict[str, SubscriberSettings]
    alerts: AlertSettings
    origins: tuple[Origin, ...] = ()

    @property
    def data_dir(self) -> Path:
        """Where the gateway keeps its own small files: the embedded store's directory, else ``data`` by the file."""
        return self.store.data_dir or self.path.parent / "data"

    def remembered_s(self, source: str) -> int:
        """How long the mark of an event's id is kept, by which it is told from a repetition and found."""
        settings = self.sources[source]  # its window is never shorter than the provider's retry horizon
        return int(max(settings.dedupe_window_s, settings.retention_s or self.store.retention_s))


def hash_token(secret: str) -> bytes:
    """SHA-256 of a token: the only form in which the gateway keeps one."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def load(path: Path, env: Mapping[str, str]) -> Config:
    """Read ``gateway.toml`` and the ``.env`` beside it; ``env`` is the environment, which wins over ``.env``.

    Raises ``ConfigError`` with every mistake: ``file:line: what is wrong and why; write …``. No mistake shows a secret.
    """
    from gateway.config_file.document import read_config  # the reader needs the classes above

    return read_config(path, env)


def make_source(name: str, table: Mapping[str, Any], base: Path, env: Mapping[str, str]) -> SourceSettings:
    """Read one ``[sources.<name>]`` table that is not in a file (the simulator's, a test's).

    ``base`` is where relative paths start. Raises ``ConfigError`` with every mistake.
    """
    from gateway.config_file.document import read_single_source  # the reader needs the classes above

    return read_single_source(name, table, base, env)


def path_token(config: Config, source_name: str, env: Mapping[str, str]) -> str | None:
    """The path token of a source in the clear, read again from where the file points; ``None`` without one.

    For commands that must write or call the whole URL; the gateway itself keeps only the hash. Raises ``ConfigError``.
    """
    from gateway.config_file.document import read_reference  # the reader needs the classes above

    reference = config.sources[source_name].path_token_reference
    return None if reference is None else read_reference(reference, config.path.parent, env)
