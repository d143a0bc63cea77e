"""``[alerts]``: where to say that something needs a person, and from when on."""

import re
from typing import Any

from gateway.config import AlertSettings
from gateway.config_file.references import is_reference
from gateway.config_file.section import Key, Reading, Section
from gateway.config_file.subscribers import ALLOW_NETWORKS, check_url, signing_secret
from gateway.config_file.tables import masked, text_or_reference
from gateway.config_file.values import DAY_MS, SECOND_MS, duration, flag, integer, list_of

OLDEST_PENDING = Key("oldest_pending", duration(10 * SECOND_MS, 30 * DAY_MS), "5m")
"""From ten seconds: a retry that mends it sooner is no trouble (``operate/troubles.py``)."""
DEAD_LETTERS = Key("dead_letters", integer(1, 1_000_000_000), 1)
SILENCE = Key("silence", flag, True)


def read_alerts(reading: Reading, table: object) -> AlertSettings:
    """The table; alerts go through the same guard as deliveries, so the same holds for their URL."""
    section = Section(reading, ("alerts",), table)
    references = reading.references
    url = section.read_optional(Key("url", lambda value: text_or_reference(references, value), shown=_host_only))
    allow_networks = section.read(ALLOW_NETWORKS)
    if url is not None:
        check_url(section, url, allow_networks)
    secrets = Key("secrets", list_of(lambda value: signing_secret(references, value), most=16), [], shown=masked)
    settings = AlertSettings(
        url=url,
        secrets=section.read(secrets),
        allow_networks=allow_networks,
        oldest_pending_s=section.read(OLDEST_PENDING),
        dead_letters=section.read(DEAD_LETTERS),
        silence=section.read(SILENCE),
    )
    section.finish()
    return settings


def _host_only(value: Any) -> Any:
    """References whole; of a URL no path either, since that of a chat's incoming webhook is its secret."""
    if not isinstance(value, str) or is_reference(value):
        return value
    return re.sub(r"(?<=[^/]/)[^/].*", "…", masked(value).partition("?")[0])
