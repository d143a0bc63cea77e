"""Times and lengths of time, as people read and write them."""

import pytest

from gateway.operate.amounts import duration, size
from gateway.operate.dashboard.rendering import ago, number
from gateway.operate.times import read_time_ms
from tests.operate.office import NOW_MS

DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("text", "wanted_ms"),
    [
        ("now", NOW_MS),
        ("15m", NOW_MS - 900_000),
        (" 2h ", NOW_MS - 7_200_000),
        ("3d", NOW_MS - 3 * DAY_MS),
        ("today", NOW_MS - NOW_MS % DAY_MS),
        ("yesterday", NOW_MS - NOW_MS % DAY_MS - DAY_MS),
        ("2026-02-03", NOW_MS - NOW_MS % DAY_MS),
        ("2026-02-03T12:00:00Z", NOW_MS),
        ("2026-02-03T12:00:00.000", NOW_MS),
        ("2026-02-03T13:00:00+01:00", NOW_MS),
        ("2026-02-03T13:00:00 01:00", NOW_MS),
        ("", None),
        ("soon", None),
        ("-5m", None),
        ("15", None),
        ("15w", None),
        ("2026-02-30", None),
        ("9999999999d", None),
    ],
)
def test_times_are_read_as_people_write_them(text: str, wanted_ms: int | None) -> None:
    """Lengths of time are ago; days and times without a zone are UTC; what is no time is none."""
    assert read_time_ms(text, NOW_MS) == wanted_ms


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1 s"),
        (5.4, "5 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7_199, "119 min"),
        (7_800, "2 h 10 min"),
        (7_200, "2 h"),
        (40_000, "11 h"),
        (200_000, "2 d"),
    ],
)
def test_lengths_of_time_are_told_in_about_two_digits(seconds: float, text: str) -> None:
    """The unit grows with the length."""
    assert duration(seconds) == text


def test_numbers_and_sizes_are_readable() -> None:
    """Thousands apart, sizes in powers of 1 024, times as how long ago."""
    assert number(1_234_567) == "1\u2009234\u2009567"
    assert [size(0), size(1_023), size(1_536), size(5 * 1024**3)] == ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]
    assert ago("2026-02-03T12:00:00.000Z", NOW_MS + 500) == "now"
    assert ago("2026-02-03T11:59:00.000Z", NOW_MS) == "60 s ago"
    assert ago("nonsense", NOW_MS) == ""
