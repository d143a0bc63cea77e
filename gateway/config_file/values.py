"""One function for each form a value may have: from what TOML holds to what the gateway works with.

Each takes the value as ``tomllib`` gives it and raises ``Wrong`` with why, and what to write instead. A ``Wrong`` does
not repeat the value: whether it may be shown is known only where it is caught.
"""

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from schemas.timestamps import canonical

T = TypeVar("T")
Parse = Callable[[Any], T]
Network = IPv4Network | IPv6Network

SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000
_UNITS_MS = {"ms": 1, "s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}
_SIZES = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_PER_S = {"s": 1, "m": 60, "h": 3600}
KIB, MIB, GIB = _SIZES.values()

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
"""Names of sources, subscribers and tokens."""
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, ``token``."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Fault(NamedTuple):
    """One thing wrong with a value."""

    at: tuple[int | str, ...]
    """Where inside the value: ``()`` for the whole, ``(1,)`` for the second element of a list."""
    why: str
    write: str


class Wrong(Exception):
    """The value cannot be used. Holds at least one fault."""

    def __init__(self, why: str = "", write: str = "", *, faults: Iterable[Fault] = ()) -> None:
        self.faults = list(faults) or [Fault((), why, write)]
        super().__init__("; ".join(fault.why for fault in self.faults))


def text(value: object) -> str:
    """A string that is not empty and fits on one line."""
    if not isinstance(value, str):
        raise Wrong(f"is {_kind(value)}, not a text", 'a text in quotes, like "abc"')
    if not value or _CONTROL.search(value):
        raise Wrong("is empty or holds control characters", "a text of one line")
    return value


def flag(value: object) -> bool:
    """``true`` or ``false``."""
    if not isinstance(value, bool):
        raise Wrong(f"is {_kind(value)}, not a yes or no", "true or false")
    return value


def integer(low: int, high: int) -> Parse[int]:
    """A whole number from ``low`` to ``high``."""

    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Wrong("is not a whole number that is possible here", f"a whole number from {low} to {high}")
        return value

    return parse


def choice(*choices: str) -> Parse[Any]:
    """One of ``choices`` (``Any``, so that the caller may call it the ``Literal`` it is)."""

    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            raise Wrong("is not one of the possible values", one_of(choices) + did_you_mean(value, choices))
        return value

    return parse


def duration(low_ms: int, high_ms: int) -> Parse[float]:
    """``<int>(ms|s|m|h|d)`` → seconds, from ``low_ms`` to ``high_ms``."""

    def parse(value: object) -> float:
        match = re.fullmatch(r"([0-9]{1,12})(ms|s|m|h|d)", value) if isinstance(value, str) else None
        if match is None:
            raise Wrong("is not a duration", 'a whole number and ms, s, m, h or d, like "90s"')
        span_ms = int(match[1]) * _UNITS_MS[match[2]]
        if not low_ms <= span_ms <= high_ms:
            raise Wrong("is out of range", f'a duration from "{show_ms(low_ms)}" to "{show_ms(high_ms)}"')
        return span_ms / 1000

    return parse


def size(low_bytes: int, high_bytes: int) -> Parse[int]:
    """``<int>(KiB|MiB|GiB)`` → bytes, from ``low_bytes`` to ``high_bytes``."""

    def parse(value: object) -> int:
        match = re.fullmatch(r"([0-9]{1,12})(KiB|MiB|GiB)", value) if isinstance(value, str) else None
        if match is None:
            raise Wrong("is not a size", 'a whole number and KiB, MiB or GiB, like "1MiB"')
        total_bytes = int(match[1]) * _SIZES[match[2]]
        if not low_bytes <= total_bytes <= high_bytes:
            raise Wrong("is out of range", f'a size from "{show_bytes(low_bytes)}" to "{show_bytes(high_bytes)}"')
        return total_bytes

    return parse


def rate(value: object) -> float:
    """``<int>/(s|m|h)`` → how many a second."""
    match = re.fullmatch(r"([1-9][0-9]{0,8})/(s|m|h)", value) if isinstance(value, str) else None
    if match is None:
        raise Wrong("is not a rate", 'a whole number from 1 and /s, /m or /h, like "50/s"')
    return int(match[1]) / _PER_S[match[2]]


def network(value: object) -> Network:
    """An address or a network in CIDR form."""
    if not isinstance(value, str):
        raise Wrong(f"is {_kind(value)}, not a network", 'a network like "10.0.0.0/8"')
    try:
        return ip_network(value)
    except ValueError:
        pass
    try:
        meant = ip_network(value, strict=False)
    except ValueError:
        raise Wrong("is not a network", 'an address or a network, like "10.0.0.0/8"') from None
    raise Wrong("has bits of a host after the network", f'"{meant}" for the network or "{value.split("/")[0]}" for one')


def listen(value: object) -> tuple[str, int]:
    """``host:port``, an IPv6 address in brackets; port 0 means any free one."""
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not colon or not host or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
        raise Wrong("is not a host and a port", '"127.0.0.1:8080", or "0.0.0.0:8080" for every address')
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise Wrong("has an IPv6 address without brackets", '"[::1]:8080"')
    try:
        ip_address(host)
    except ValueError:
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", host) or re.fullmatch(r"[0-9.]+", host):
            raise Wrong("does not begin with an address or a host name", '"127.0.0.1:8080"') from None
    return host, int(port)


def http_url(value: object) -> str:
    """An absolute http or https URL without user or fragment; a final slash is dropped."""
    parts = split_url(text(value))
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Wrong("is not an http or https URL", '"https://" and a host')
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise Wrong("has a user, a query or a fragment", "a URL of scheme, host and perhaps a path")
    return str(value).rstrip("/")


def split_url(value: str) -> Any:
    """``urlsplit`` that raises ``Wrong``, also for what it would only find later."""
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise Wrong("is not a URL", '"https://" and a host') from None
    return parts


def start(value: object) -> str:
    """``now``, ``beginning`` or a time with its zone → the canonical form."""
    if isinstance(value, str) and value in {"now", "beginning"}:
        return value
    moment = canonical(value.isoformat() if isinstance(value, datetime) else value)
    if moment is None:
        raise Wrong("is not a place to start", '"now", "beginning" or a time like "2026-02-03T12:00:00Z"')
    return moment


def list_of(item: Parse[T], *, least: int = 0, most: int = 1_000) -> Parse[tuple[T, ...]]:
    """A list of ``least`` to ``most`` items, all of which are looked at before ``Wrong`` is raised."""

    def parse(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise Wrong(f"is {_kind(value)}, not a list", "a list in brackets, also for one")
        if not least <= len(value) <= most:
            raise Wrong(f"has {len(value)} elements", f"{least} to {most} elements")
        items: list[T] = []
        faults: list[Fault] = []
        for index, element in enumerate(value):
            try:
                items.append(item(element))
            except Wrong as wrong:
                faults.extend(Fault((index, *fault.at), fault.why, fault.write) for fault in wrong.faults)
        if faults:
            raise Wrong(faults=faults)
        return tuple(items)

    return parse


def nearest(given: object, known: Iterable[str]) -> str | None:
    """The one of ``known`` that was most likely meant, in whatever case it is written, if any is near."""
    import difflib  # only needed once something is wrong

    by_lower = {each.lower(): each for each in sorted(known)}
    near = difflib.get_close_matches(given.lower(), by_lower, n=1) if isinstance(given, str) else []
    return by_lower[near[0]] if near else None


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """`` (did you mean …?)``, or nothing if nothing is near."""
    near = nearest(given, known)
    return f" (did you mean {near}?)" if near else ""


def one_of(choices: Iterable[str]) -> str:
    """``"a", "b" or "c"``."""
    *most, last = [f'"{choice}"' for choice in choices]
    return f"{', '.join(most)} or {last}" if most else last


def show_ms(span_ms: int) -> str:
    """The shortest way to write a duration."""
    unit = next(unit for unit in ("d", "h", "m", "s", "ms") if span_ms % _UNITS_MS[unit] == 0)
    return f"{span_ms // _UNITS_MS[unit]}{unit}" if span_ms else "0s"


def show_bytes(total_bytes: int) -> str:
    """The shortest way to write a size that is a multiple of 1 KiB."""
    unit = next(unit for unit in ("GiB", "MiB", "KiB") if total_bytes % _SIZES[unit] == 0 or unit == "KiB")
    return f"{total_bytes // _SIZES[unit]}{unit}"


def _kind(value: object) -> str:
    names = {bool: "a yes or no", int: "a number", float: "a number", str: "a text", list: "a list", dict: "a table"}
    return names.get(type(value), "a date or time")
