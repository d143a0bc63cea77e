"""The configuration: what ``gateway.toml`` may say, with every default, and how it is read.

The classes below are the settings, resolved: durations in seconds, sizes in bytes, secrets as bytes. ``load`` reads
the file strictly and reports all mistakes at once.
"""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal

import msgspec

from adapters.contract import Source

Network = IPv4Network | IPv6Network


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
    oldest_pending_s: float = 300.0
    dead_letters: int = 1
    silence: bool = True


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything ``gateway.toml`` says, resolved and checked."""

    path: Path
    gateway: GatewaySettings
    store: StoreSettings
    sources: dict[str, SourceSettings]
    subscribers: dict[str, SubscriberSettings]
    alerts: AlertSettings
