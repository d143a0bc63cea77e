"""How often an address may be wrong about a token: a bucket for each, bounded in number, without a clock of its own.

It bounds the work and the log lines that somebody who is wrong costs. Only wrong tries use a bucket up, and a token in
a header is never made to wait if it is right; the login page is, while its address is wrong all the time.
"""

from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

BURST = 20
"""Wrong tries in a row."""
EVERY_S = 3.0
"""Then one in so many seconds."""
ADDRESSES = 4_096
"""That are remembered; beyond it the one that was wrong longest ago is forgotten."""


class Tries:
    """The wrong tries of every address."""

    def __init__(self, *, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._free_at_s: OrderedDict[str, float] = OrderedDict()
        """Address → when its bucket would be empty again; each wrong try moves it on by ``EVERY_S``."""

    def wait_s(self, address: str | None) -> float:
        """How long this address must wait before it may try again; 0 if it may now."""
        free_at_s = self._free_at_s.get(_bucket(address), 0.0)
        return max(0.0, free_at_s - self._monotonic() - (BURST - 1) * EVERY_S)

    def wrong(self, address: str | None) -> None:
        """It was wrong."""
        bucket = _bucket(address)
        self._free_at_s[bucket] = max(self._free_at_s.get(bucket, 0.0), self._monotonic()) + EVERY_S
        self._free_at_s.move_to_end(bucket)
        while len(self._free_at_s) > ADDRESSES:
            self._free_at_s.popitem(last=False)


def _bucket(address: str | None) -> str:
    """Of IPv6 the network that one customer gets whole: a /64."""
    try:
        parsed = ip_address((address or "").partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Address(int(parsed) >> 64 << 64))
    return str(parsed)
