"""Times as people write them: ``15m`` ago, ``yesterday``, ``today``, ``now``, or ISO 8601."""

import re

from schemas.timestamps import parse_iso_ms

_AGO = re.compile(r"(\d{1,9})(s|m|h|d)")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")

HOW = "write 15m (ago), 2h, 3d, today, yesterday, 2026-02-03 or 2026-02-03T12:00:00Z"


def read_time_ms(text: str, now_ms: int) -> int | None:
    """Milliseconds since the epoch; ``None`` if it is no time. Days and times without a zone are UTC."""
    text = text.strip()
    if found := _AGO.fullmatch(text):
        return now_ms - int(found[1]) * _UNIT_MS[found[2]]
    midnight_ms = now_ms - now_ms % _UNIT_MS["d"]
    match text:
        case "now":
            return now_ms
        case "today":
            return midnight_ms
        case "yesterday":
            return midnight_ms - _UNIT_MS["d"]
    if _DAY.fullmatch(text):
        text += "T00:00:00"
    # In a URL a + that nobody escaped arrives as a space.
    return parse_iso_ms(text.replace(" ", "+"), assume_utc=True)
