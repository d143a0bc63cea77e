"""Who sent a request: the peer's address, or behind a trusted proxy the one the proxy names."""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from gateway.config import Network


def client_ip(scope: Mapping[str, Any], trusted_proxies: Sequence[Network]) -> str | None:
    """The sender's address. ``X-Forwarded-For`` counts only from the right, as far as its writers are trusted.

    Anyone can write that header; each trusted proxy appends the address it saw. So the last address that is not itself
    a trusted proxy is the sender, and what stands to its left is the sender's own invention. ``Forwarded`` and every
    other header counts for nothing: a proxy that appends to one passes the others on as the sender wrote them. Over a
    Unix socket there is no address to trust.
    """
    client = scope["client"]
    peer: str | None = _plain(client[0]) if client else None
    if not trusted_proxies or peer is None or not _trusted(peer, trusted_proxies):
        return peer
    forwarded = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for").decode("latin-1")
    for hop in reversed([part.strip() for part in forwarded.split(",") if part.strip()]):
        peer = hop = _plain(hop)
        if not _trusted(hop, trusted_proxies):
            break
    return peer


def _plain(address: str) -> str:
    """Without the port that some proxies append, and IPv4 as IPv4 where a socket for both writes it as IPv6."""
    if address.startswith("["):
        address = address[1:].partition("]")[0]
    elif address.count(":") == 1:
        address = address.partition(":")[0]
    return address[7:] if address.startswith("::ffff:") and "." in address else address


def _trusted(address: str, networks: Sequence[Network]) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks if network.version == parsed.version)
