"""The forms values may have: durations, sizes, rates, networks, places to listen."""

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config_file import values
from gateway.config_file.values import Parse, Wrong, show_bytes, show_ms

LIMIT_MS = 10**15


@pytest.mark.parametrize(
    ("written", "seconds"), [("250ms", 0.25), ("90s", 90.0), ("5m", 300.0), ("2h", 7_200.0), ("7d", 604_800.0)]
)
def test_durations_become_seconds(written: str, seconds: float) -> None:
    """Each unit counts."""
    assert values.duration(0, LIMIT_MS)(written) == seconds


@pytest.mark.parametrize(("written", "total"), [("1KiB", 1024), ("3MiB", 3 * 1024**2), ("2GiB", 2 * 1024**3)])
def test_sizes_become_bytes(written: str, total: int) -> None:
    """Units are powers of 1024, as their names say."""
    assert values.size(0, 10**15)(written) == total


@pytest.mark.parametrize(("written", "per_s"), [("50/s", 50.0), ("60/m", 1.0), ("1800/h", 0.5)])
def test_rates_become_events_a_second(written: str, per_s: float) -> None:
    """Each span counts."""
    assert values.rate(written) == per_s


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:65535", ("localhost", 65535)),
        ("gateway.internal:80", ("gateway.internal", 80)),
    ],
)
def test_places_to_listen(written: str, expected: tuple[str, int]) -> None:
    """An address or a name, and a port; 0 means any free one."""
    assert values.listen(written) == expected


def test_networks() -> None:
    """A single address is a network of one."""
    assert values.network("10.0.0.0/8") == ip_network("10.0.0.0/8")
    assert values.network("::1") == ip_network("::1/128")


def test_public_urls_lose_their_last_slash() -> None:
    """So that paths can be put behind it."""
    assert values.http_url("https://hooks.example.com/") == "https://hooks.example.com"
    assert values.http_url("https://example.com/hooks/") == "https://example.com/hooks"


@given(st.integers(0, 10**12))
def test_what_a_message_tells_to_write_can_be_written(span_ms: int) -> None:
    """The limits in messages are in the notation that is read, and mean the same."""
    assert values.duration(0, LIMIT_MS)(show_ms(span_ms)) == span_ms / 1000
    kibibytes = span_ms % 10**9
    assert values.size(0, 10**15)(show_bytes(kibibytes * 1024)) == kibibytes * 1024


PARSERS: list[Parse[Any]] = [
    values.text,
    values.flag,
    values.integer(0, 9),
    values.choice("a", "b"),
    values.duration(0, LIMIT_MS),
    values.size(0, LIMIT_MS),
    values.rate,
    values.network,
    values.listen,
    values.http_url,
    values.start,
    values.list_of(values.network),
]


@given(st.sampled_from(PARSERS), st.one_of(st.text(), st.integers(), st.floats(), st.lists(st.text()), st.booleans()))
def test_any_value_is_read_or_wrong(parse: Parse[Any], value: Any) -> None:
    """No form of value makes a parser raise anything but Wrong."""
    faults = []
    try:
        parse(value)
    except Wrong as wrong:
        faults = wrong.faults
    assert all(fault.why and fault.write for fault in faults)
