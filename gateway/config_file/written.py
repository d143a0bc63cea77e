"""A subscriber that is not written in the file but in the API's JSON: read by the same rules, and by three more.

Whoever has a token of role operate may make subscribers, but is not thereby entitled to what the gateway's environment
and disk hold. So:

- ``file:`` leads to ``<data>/secrets/`` and nowhere else;
- a URL or a header, which the subscriber gets to see, may only refer to what was named for it: ``env:SUBSCRIBER_…`` or
  ``credential:subscriber-…``;
- a URL has no query of its own, since what stands there is often a secret, and the store keeps none.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway.config import Origin, SubscriberSettings
from gateway.config_file.lines import Lines
from gateway.config_file.references import References, is_reference
from gateway.config_file.section import Reading, Section, dotted
from gateway.config_file.sources import check_name
from gateway.config_file.subscribers import read_subscriber
from gateway.config_file.values import Wrong
from gateway.delivery.itself import Itself
from gateway.problems import Mistake

SECRETS = "secrets"
"""The folder in the data directory."""

_SECRET_FILE = re.compile(rf"file:{SECRETS}/[A-Za-z0-9][A-Za-z0-9._-]*")
_FOR_SUBSCRIBERS = re.compile(r"env:SUBSCRIBER_[A-Za-z0-9_]+|credential:subscriber-[A-Za-z0-9._-]+")


class Read(msgspec.Struct, frozen=True):
    """What became of it."""

    settings: SubscriberSettings | None
    """``None`` if there is a mistake."""
    mistakes: tuple[Mistake, ...]
    origins: tuple[Origin, ...]
    """Each setting as it may be shown."""


class _References(References):
    def resolve(self, reference: object) -> bytes:
        if isinstance(reference, str) and reference.startswith("file:") and not _SECRET_FILE.fullmatch(reference):
            raise Wrong("refers to a file elsewhere than the API may", f'"file:{SECRETS}/NAME", in the data directory')
        return super().resolve(reference)


def read_written(
    name: str,
    written: Mapping[str, Any],
    data_dir: Path,
    env: Mapping[str, str],
    dotenv: Mapping[str, str],
    itself: Itself | None = None,
) -> Read:
    """Read one subscriber. ``null`` counts as not written. Raises nothing: all mistakes are in the answer."""
    reading = Reading("api", data_dir, Lines(""), _References(data_dir, env, dotenv), itself)
    table = {key: value for key, value in written.items() if value is not None}
    section = Section(reading, ("subscribers", name), table)
    check_name(section, name)
    _check_exposed(section, table)
    settings = read_subscriber(section, name)
    mistakes = tuple(
        Mistake(_field(each.path[2:]), each.words.removeprefix(dotted(each.path)).strip()) for each in reading.mistakes
    )
    return Read(None if mistakes else settings, mistakes, tuple(reading.origins))


def _check_exposed(section: Section, table: Mapping[str, Any]) -> None:
    url, headers = table.get("url"), table.get("headers")
    if isinstance(url, str) and not is_reference(url) and "?" in url:
        section.problem(
            ("url",), "has a query, which often holds a secret", 'the whole URL into a variable: "env:SUBSCRIBER_NAME"'
        )
    exposed: dict[tuple[str, ...], Any] = {("url",): url}
    if isinstance(headers, dict):
        exposed |= {("headers", header): value for header, value in headers.items()}
    for path, value in exposed.items():
        if is_reference(value) and not _FOR_SUBSCRIBERS.fullmatch(value):
            section.problem(
                path,
                "would send the subscriber something that was not set aside for it",
                '"env:SUBSCRIBER_NAME" or "credential:subscriber-NAME"',
            )


def _field(path: tuple[str | int, ...]) -> str:
    written = ""
    for part in path:
        written += f"[{part}]" if isinstance(part, int) else f"{'.' if written else ''}{part}"
    return written
