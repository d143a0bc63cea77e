"""Whether a URL leads to the gateway itself: then each delivery would come in as a request, and so for ever.

Asked of the text where a URL is written (``config_file/subscribers.py``), and of every address before a connection
(``guard.py``): only then is it known where a name leads.
"""

import posixpath
import re
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING
from urllib.parse import unquote

import msgspec

from gateway.delivery.addresses import Address, embedded

if TYPE_CHECKING:
    from pyreqwest.http import Url

LOOPBACK = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
"""What ``localhost`` means, without asking anybody."""


class Itself:
    """The gateway, as others reach it.

    ``own`` are the sockets it listens on, as (address, port); ``None``, ``0.0.0.0``, ``::`` and a name stand for all of
    the machine's addresses. ``public_url`` is where providers reach it.
    """

    def __init__(
        self,
        own: Sequence[tuple[Address | str | None, int]] = (),
        public_url: str | None = None,
        is_local: Callable[[Address], bool] | None = None,
    ) -> None:
        self._own = tuple((_own_address(address), port) for address, port in own)
        self._public_url = public_url
        self._is_local = is_local or _is_local

    def listens_at(self, address: Address, port: int) -> bool:
        """Whether a connection there would arrive at a socket of its own."""
        # A connection to ::ffff:127.0.0.1 arrives at a socket of 127.0.0.1.
        spellings = [address, *(embedded(address) if isinstance(address, IPv6Address) else ())]
        return any(
            port == own_port and any(each == own or (own is None and self._is_local(each)) for each in spellings)
            for own, own_port in self._own
        )

    def takes_in(self, url: "Url") -> bool:
        """Whether ``url`` lies below ``public_url``'s intake. Other paths of that host may well be a subscriber's."""
        if self._public_url is None:
            return False
        public, place = _place(type(url)(self._public_url)), _place(url)
        intake = posixpath.join(public.path, "in")
        return (place.host, place.port) == (public.host, public.port) and f"{place.path}/".startswith(f"{intake}/")

    def is_written_in(self, url: "Url") -> bool:
        """Whether the text alone says that ``url`` leads here: by ``public_url``, an address, or ``localhost``."""
        host, port = (url.host_str or "").strip("[]").rstrip("."), url.port_or_known_default
        addresses: tuple[Address, ...] = LOOPBACK if host == "localhost" or host.endswith(".localhost") else ()
        if not addresses:
            try:
                addresses = (ip_address(host),)
            except ValueError:
                addresses = ()
        return self.takes_in(url) or any(self.listens_at(each, port or 0) for each in addresses)


class _Place(msgspec.Struct, frozen=True):
    """Where a URL leads, as a proxy would see it that is generous about spelling."""

    host: str
    port: int | None
    path: str


_WEB_PORTS = (80, 443)
"""A proxy answers on one what it answers on the other, or sends there."""


def _place(url: "Url") -> _Place:
    path = posixpath.normpath(re.sub("/+", "/", unquote(url.path)))
    port = url.port_or_known_default
    return _Place((url.host_str or "").rstrip("."), 443 if port in _WEB_PORTS else port, path)


def _own_address(address: Address | str | None) -> Address | None:
    """``None`` if it stands for all of the machine's addresses."""
    if address is None:
        return None
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    return None if parsed.is_unspecified else parsed


def _is_local(address: Address) -> bool:
    """Whether the machine itself has ``address``: only then can a socket be bound to it. Sends nothing."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
