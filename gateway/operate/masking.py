"""What must not be seen, masked: login credentials, and secrets that somebody sent us by mistake or as their proof."""

from collections.abc import Iterable, Sequence
from typing import Any

from gateway.config import Config
from schemas.event import CREDENTIAL_TYPE

CREDENTIAL = "[credential]"
SHOWN_BYTES = 4 * 1024
"""How much of a body kept for operators is shown."""

SHORTEST_SECRET = 6
"""Shorter ones would mask half of any text, and are no secrets."""

_TELLING = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "date",
        "host",
        "transfer-encoding",
        "user-agent",
        "x-forwarded-proto",
    }
)
"""Headers whose values help to find a mistake and prove nothing. All others are masked: any may be a static token."""


def mask_event(event: dict[str, Any]) -> dict[str, Any]:
    """A decoded event as it may be shown: a login credential is not."""
    if event.get("type") != CREDENTIAL_TYPE:
        return event
    shown = dict(event)
    data = dict(event.get("data") or {})
    if "qr_code" in data:
        data["qr_code"] = CREDENTIAL
    shown["data"] = data
    if "raw" in shown:
        shown["raw"] = CREDENTIAL
    return shown


def mask_raw(event_type: str, raw: Any) -> Any:
    """What the provider sent for an event of this type, as it may be shown."""
    return CREDENTIAL if event_type == CREDENTIAL_TYPE else raw


def secrets_of(config: Config) -> tuple[str, ...]:
    """Every secret of the configuration that could turn up in a body, the longest first."""
    found: set[str] = set()
    for source in config.sources.values():
        found.update(secret.decode("utf-8", "replace") for secret in source.source.secrets)
    signing = [each.secrets for each in config.subscribers.values()] + [config.alerts.secrets]
    for secret in (secret for secrets in signing for secret in secrets):
        found.update((secret, secret.partition("_")[2]))
    if config.alerts.url is not None:  # that of a chat's incoming webhook is a secret
        found.add(config.alerts.url)
    return tuple(sorted((secret for secret in found if len(secret) >= SHORTEST_SECRET), key=len, reverse=True))


def mask_text(body: bytes, secrets: Iterable[str]) -> str:
    """Bytes as text for people: the first 4 KiB, unreadable ones replaced, known secrets masked."""
    # Masked before it is cut: half a secret at the end would be found by nobody.
    text = body[: SHOWN_BYTES * 4].decode("utf-8", "replace")
    for secret in secrets:
        text = text.replace(secret, CREDENTIAL)
    shown = text[:SHOWN_BYTES]
    return shown if len(body) <= SHOWN_BYTES else f"{shown}… ({len(body)} bytes in all)"


def mask_headers(headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Headers as operators may see them: of a value that may prove something, only the length."""
    return [
        (name, value if name.lower() in _TELLING else f"[masked, {len(value)} characters]") for name, value in headers
    ]
