"""Which addresses deliveries may go to: pure.

Only public unicast is. ``ipaddress.is_global`` is not enough: it calls multicast, ``fec0::/10``, IPv4-compatible, NAT64
and 6to4 addresses global, and the last three are IPv4 addresses in disguise. So the lists below are spelled out, after
IANA's special-purpose address registries (RFC 6890 and its updates): for IPv4 everything but what is listed, for IPv6
nothing but ``2000::/3`` less what is listed.

A subscriber may name private networks (``allow_networks``). Some addresses stay refused even then: those where clouds
answer with credentials, and those that no subscriber can have. An IPv4 address inside an IPv6 one is judged as well.
"""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from gateway.errors import TargetRefused

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NEVER: tuple[tuple[Network, str], ...] = (
    # Where clouds answer whoever asks with credentials and start-up secrets.
    (IPv4Network("169.254.0.0/16"), "link-local, where clouds serve instance metadata"),
    (IPv4Network("100.100.100.200/32"), "Alibaba Cloud's instance metadata"),
    (IPv4Network("168.63.129.16/32"), "Azure's host agent"),
    (IPv4Network("192.0.0.192/32"), "Oracle Cloud's instance metadata"),
    (IPv6Network("fd00:ec2::/32"), "AWS's instance metadata"),
    (IPv6Network("fd20:ce::254/128"), "Google Cloud's instance metadata"),
    (IPv6Network("fd00:42::42/128"), "Scaleway's instance metadata"),
    (IPv6Network("fd00:a9fe:a9fe::/48"), "Linode's instance metadata"),
    (IPv6Network("fe80::/10"), "link-local"),
    # What no subscriber can have.
    (IPv4Network("0.0.0.0/8"), "unspecified"),
    (IPv6Network("::/128"), "unspecified"),
    (IPv4Network("224.0.0.0/4"), "multicast"),
    (IPv6Network("ff00::/8"), "multicast"),
    (IPv4Network("255.255.255.255/32"), "broadcast"),
    (IPv4Network("240.0.0.0/4"), "reserved"),
)
"""Refused whatever ``allow_networks`` says."""

_NOT_PUBLIC: tuple[tuple[Network, str], ...] = (
    (IPv4Network("10.0.0.0/8"), "private"),
    (IPv4Network("100.64.0.0/10"), "shared by carriers (CGNAT)"),
    (IPv4Network("127.0.0.0/8"), "loopback"),
    (IPv4Network("172.16.0.0/12"), "private"),
    (IPv4Network("192.0.0.0/24"), "reserved for protocols"),
    (IPv4Network("192.0.2.0/24"), "documentation"),
    (IPv4Network("192.31.196.0/24"), "AS112"),
    (IPv4Network("192.52.193.0/24"), "AMT"),
    (IPv4Network("192.88.99.0/24"), "6to4 relay"),
    (IPv4Network("192.168.0.0/16"), "private"),
    (IPv4Network("192.175.48.0/24"), "AS112"),
    (IPv4Network("198.18.0.0/15"), "benchmarking"),
    (IPv4Network("198.51.100.0/24"), "documentation"),
    (IPv4Network("203.0.113.0/24"), "documentation"),
    (IPv6Network("::1/128"), "loopback"),
    (IPv6Network("::ffff:0:0/96"), "IPv4-mapped"),
    (IPv6Network("::ffff:0:0:0/96"), "IPv4-translated"),
    (IPv6Network("::/96"), "IPv4-compatible"),
    (IPv6Network("64:ff9b::/96"), "NAT64"),
    (IPv6Network("64:ff9b:1::/48"), "local NAT64"),
    (IPv6Network("100::/64"), "discard"),
    (IPv6Network("100:0:0:1::/64"), "dummy prefix"),
    (IPv6Network("2001::/32"), "Teredo"),
    (IPv6Network("2001:2::/48"), "benchmarking"),
    (IPv6Network("2001::/23"), "reserved for protocols"),
    (IPv6Network("2001:db8::/32"), "documentation"),
    (IPv6Network("2002::/16"), "6to4"),
    (IPv6Network("2620:4f:8000::/48"), "AS112"),
    (IPv6Network("3fff::/20"), "documentation"),
    (IPv6Network("5f00::/16"), "segment routing"),
    (IPv6Network("fc00::/7"), "private"),
    (IPv6Network("fec0::/10"), "site-local"),
)
"""Refused unless ``allow_networks`` covers them. The first that fits gives the name."""

_LOOPBACK = IPv4Network("127.0.0.0/8")
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_MAPPED = IPv6Network("::ffff:0:0/96")
_TRANSLATED = IPv6Network("::ffff:0:0:0/96")
_COMPATIBLE = IPv6Network("::/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")


def check_address(address: Address, allow_networks: Sequence[Network] = ()) -> None:
    """Raise ``TargetRefused`` unless a delivery may connect to ``address``. The message names address and rule."""
    rule = refusal(address, allow_networks)
    if rule is not None:
        network = network_to_allow(address)
        remedy = f'; if it is your own: allow_networks = ["{network}"]' if network else ""
        raise TargetRefused(f"{address} is not a public address ({rule}){remedy}")


def refusal(address: Address, allow_networks: Sequence[Network] = ()) -> str | None:
    """The rule that forbids ``address``, in words; ``None`` if it is allowed."""
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return "it is bound to an interface"
    forbidden = _find(_NEVER, address)
    if forbidden is not None:
        return forbidden
    named = is_allowed(address, allow_networks)
    special = None if named else _find(_NOT_PUBLIC, address)
    if special is None and not named and isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        special = "not global unicast"
    if isinstance(address, IPv6Address):
        for inner in embedded(address):
            # A network that is named covers its own addresses, not the IPv4 addresses that hide in them.
            inner_rule = refusal(inner, allow_networks)
            if inner_rule is not None:
                return f"{special or 'transition'}, and {inner} inside it is {inner_rule}"
    return special


def network_to_allow(address: Address) -> Network | None:
    """What to write into ``allow_networks`` for one address: no more than it needs. ``None``: nothing would help."""
    network: Network = _LOOPBACK if address in _LOOPBACK else ip_network(address)
    return network if refusal(address, (network,)) is None else None


def is_allowed(address: Address, allow_networks: Sequence[Network]) -> bool:
    """Whether one of the subscriber's own networks covers ``address``."""
    return any(address in network for network in allow_networks if network.version == address.version)


def _find(table: tuple[tuple[Network, str], ...], address: Address) -> str | None:
    for network, name in table:
        if network.version == address.version and address in network:
            return f"{name}, {network}"
    return None


def embedded(address: IPv6Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses a transition form carries: a translator on the way would connect there."""
    bits = int(address)
    last = bits & 0xFFFF_FFFF
    if address in _MAPPED or address in _TRANSLATED or address in _NAT64:
        yield IPv4Address(last)
    elif address in _COMPATIBLE:
        if last > 1:  # "::" and "::1" are themselves
            yield IPv4Address(last)
    elif address in _LOCAL_NAT64:
        # RFC 6052: behind a /48 the four bytes stand around the byte 64..71, behind a longer prefix further right.
        # Which place is in use only the network knows, so each is judged; one that starts with zero is padding.
        packed = address.packed
        for four in (packed[6:8] + packed[9:11], packed[7:8] + packed[9:12], packed[9:13], packed[12:16]):
            if four[0]:
                yield IPv4Address(four)
    elif address in _SIX_TO_FOUR:
        yield IPv4Address(bits >> 80 & 0xFFFF_FFFF)
    elif address in _TEREDO:
        yield IPv4Address(bits >> 64 & 0xFFFF_FFFF)  # the server
        yield IPv4Address(last ^ 0xFFFF_FFFF)  # the client, written inverted
    if bits >> 32 & 0xFDFF_FFFF == 0x0000_5EFE:  # ISATAP: an interface identifier behind any prefix
        yield IPv4Address(last)
