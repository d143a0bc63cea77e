"""Times as the canonical event writes them: ``YYYY-MM-DDTHH:MM:SS.mmmZ``, always UTC, always milliseconds.

One form only, so that times sort as strings and consumers need one parser. Inside the process a time is an integer of
milliseconds since the Unix epoch (``…_ms``); these functions are the only way from one to the other.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated

import msgspec

PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$"

Timestamp = Annotated[str, msgspec.Meta(pattern=PATTERN, examples=["2026-02-03T12:00:05.412Z"])]
"""A time in the one canonical form."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_FIRST_MS = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND
_LAST_MS = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND
_CANONICAL = re.compile(PATTERN)


def format_ms(epoch_ms: int) -> str:
    """Write milliseconds since the epoch in the canonical form.

    Raises ``OverflowError`` outside the years 1 to 9999, which no clock and no accepted provider time reaches.
    """
    seconds, milliseconds = divmod(epoch_ms, 1000)
    return f"{_seconds(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=1024)
def _seconds(epoch_s: int) -> str:
    moment = _EPOCH + timedelta(seconds=epoch_s)
    return f"{moment.year:04d}-{moment:%m-%dT%H:%M:%S}"  # %Y does not fill years before 1000 with zeros everywhere


def parse_iso_ms(text: object, *, assume_utc: bool = False) -> int | None:
    """Read an ISO 8601 time into milliseconds since the epoch; ``None`` for anything else.

    A time without a zone is ``None`` too, unless ``assume_utc`` says that the provider documents UTC: a guessed zone
    would be an invented time.
    """
    if not isinstance(text, str) or len(text) < 19 or len(text) > 40:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        if not assume_utc:
            return None
        moment = moment.replace(tzinfo=UTC)
    epoch_ms = (moment - _EPOCH) // _MILLISECOND
    return epoch_ms if _FIRST_MS <= epoch_ms <= _LAST_MS else None  # 0001-01-01T00:00+01:00 lies before year 1


def canonical(text: object, *, assume_utc: bool = False) -> str | None:
    """Rewrite a provider's ISO 8601 time in the canonical form, or ``None`` if it is not one."""
    if isinstance(text, str) and len(text) == 24 and _is_canonical(text):
        return text
    epoch_ms = parse_iso_ms(text, assume_utc=assume_utc)
    return None if epoch_ms is None else format_ms(epoch_ms)


def _is_canonical(text: str) -> bool:
    """Whether a text is a canonical time already, as most providers write it: asking is faster than writing."""
    if _CANONICAL.fullmatch(text) is None or text[11:13] == "24":  # later Pythons read 24:00 as the next day
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def canonical_epoch_seconds(value: object) -> str | None:
    """Rewrite epoch seconds, given as a number or as a string of digits, or ``None`` if it is neither."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 11:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2.5e11:
        return None
    return format_ms(int(value * 1000))
