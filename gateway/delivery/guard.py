"""Where deliveries may connect: parse, resolve, check every address, pin.

::

    "https://crm.example.com/hooks"
        parse     with the client's own parser (WHATWG), so that both mean the same host; a host literal in any of its
                  spellings (127.1, 2130706433, [::ffff:10.0.0.1]) comes out as the address it is
        resolve   once; a literal is its own address
        check     every address (addresses.py), and that none of them is the gateway itself; one bad address is enough;
                  nor may the URL lead to our intake by way of ``public_url``: behind a proxy the address is not ours
        pin       the client connects to these addresses and asks no name server again

The answer is good for ``keep_s``. Then the name is looked up again; the client is built anew only if the addresses
changed. An address that was checked stays checked, so traffic goes on over the old ones while a look-up runs.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address

import msgspec
from pyreqwest.http import Url

from gateway.delivery.addresses import Address, Network, check_address, is_allowed, network_to_allow
from gateway.delivery.itself import Itself
from gateway.errors import TargetRefused

__all__ = ["Guard", "Pin", "Resolver", "Target", "check_address", "parse_url", "system_resolve"]

Resolver = Callable[[str, int], Awaitable[Sequence[Address]]]
"""``(host, port) → addresses``, in the order to try them. Raises ``OSError`` if there are none."""

KEEP_S = 30.0
"""How long a look-up is good for: a name that is moved is followed within half a minute."""
KEEP_WITHOUT_NAME_SERVER_S = 600.0
"""How long the last checked addresses serve on if the name cannot be looked up."""
LOOK_UP_S = 10.0
"""How long a look-up may take."""


class Target(msgspec.Struct, frozen=True):
    """A URL whose every address was checked."""

    url: Url
    host: str
    """As the client writes it: lower case, punycode, no brackets."""
    port: int
    addresses: tuple[Address, ...]
    is_literal: bool
    """Whether the URL names an address itself, so that there is no name to look up."""


class Guard:
    """Decides where deliveries may connect. ``own`` and ``public_url`` are where the gateway is: see ``Itself``."""

    def __init__(
        self,
        *,
        resolve: Resolver | None = None,
        own: Sequence[tuple[Address | str | None, int]] = (),
        public_url: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        keep_s: float = KEEP_S,
        is_local: Callable[[Address], bool] | None = None,
    ) -> None:
        self._resolve = resolve or system_resolve
        self.itself = Itself(own, public_url, is_local)
        self.monotonic = monotonic
        self.keep_s = keep_s

    async def target(self, url: str, allow_networks: Sequence[Network] = ()) -> Target:
        """Look a URL up and check it.

        Raises ``TargetRefused`` if it leads where deliveries may not go, ``OSError`` if its name has no address.
        """
        parsed, host, port = parse_url(url)
        if self.itself.takes_in(parsed):
            raise TargetRefused("that is the gateway itself, by way of public_url")
        addresses: tuple[Address, ...]
        try:
            addresses, is_literal = (ip_address(host),), True
        except ValueError:
            addresses, is_literal = await self._look_up(host, port), False
        for address in addresses:
            check_address(address, allow_networks)
            if self.itself.listens_at(address, port):
                raise TargetRefused(f"{address} port {port} is the gateway itself")
        bare = [address for address in addresses if not is_allowed(address, allow_networks)]
        if parsed.scheme != "https" and bare:
            network = network_to_allow(bare[0])
            named = f', or for {bare[0]} allow_networks = ["{network}"]' if network else ""
            raise TargetRefused(f"http is for networks of your own: use https{named}")
        return Target(parsed, host, port, addresses, is_literal)

    async def _look_up(self, host: str, port: int) -> tuple[Address, ...]:
        try:
            async with asyncio.timeout(LOOK_UP_S):
                addresses = tuple(dict.fromkeys(await self._resolve(host, port)))
        except TimeoutError:
            raise OSError(f"looking {host} up took more than {LOOK_UP_S:g} s") from None
        except UnicodeError:  # a label that is empty or too long, said by the standard library's encoder
            raise OSError(f"{host} is no name that can be looked up") from None
        if not addresses:
            raise OSError(f"{host} has no address")
        return addresses


class Pin:
    """One URL and the addresses it was last seen to have; kept fresh by who uses it."""

    def __init__(self, guard: Guard, url: str, allow_networks: Sequence[Network] = ()) -> None:
        self._guard = guard
        self._url = url
        self._allow_networks = tuple(allow_networks)
        self._target: Target | None = None
        self._checked_s = 0.0
        """When the addresses were last seen to be the name's."""
        self._look_again_s = 0.0
        """From then on a look-up runs beside the traffic …"""
        self._wait_s = 0.0
        """… and from then on before it, so that after a pause nothing goes to where the name pointed long ago."""
        self._look_up: asyncio.Task[Target] | None = None

    def fresh(self) -> Target | None:
        """The target if no waiting is needed, else ``None``. Starts a look-up in the background when it is time."""
        target = self._target
        if target is None:
            return None
        now_s = self._guard.monotonic()
        if now_s < self._look_again_s:
            return target
        if self._look_up is None:
            self._start()
        return target if now_s < self._wait_s else None

    async def target(self) -> Target:
        """The target, looked up if need be; many callers share one look-up. Raises as ``Guard.target`` does."""
        target = self.fresh()
        if target is not None:
            return target
        look_up = self._look_up or self._start()
        try:
            return await asyncio.shield(look_up)
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if look_up.cancelled() and me is not None and not me.cancelling():
                raise OSError("the look-up was ended") from None  # by close; whoever waits was not cancelled
            raise

    def doubt(self) -> None:
        """Nobody answered at these addresses: look the name up again before the next attempt, once a second at most."""
        now_s = self._guard.monotonic()
        if now_s - self._checked_s >= 1.0:
            self._look_again_s = self._wait_s = now_s

    def close(self) -> None:
        """End a look-up that runs."""
        if self._look_up is not None:
            self._look_up.cancel()

    def _start(self) -> asyncio.Task[Target]:
        task = asyncio.create_task(self._check(), name="look-up")
        self._look_up = task
        task.add_done_callback(self._done)
        return task

    async def _check(self) -> Target:
        known = self._target
        try:
            found = await self._guard.target(self._url, self._allow_networks)
        except TargetRefused:
            self._target = None
            raise
        except OSError:
            if known is None or self._guard.monotonic() - self._checked_s > KEEP_WITHOUT_NAME_SERVER_S:
                raise
            found = known  # addresses that are known and checked are better than none
        else:
            self._checked_s = self._guard.monotonic()
        # Name servers answer in another order each time; the same addresses are the same target.
        if known is None or set(found.addresses) != set(known.addresses):
            self._target = known = found
        self._look_again_s = self._guard.monotonic() + self._guard.keep_s
        self._wait_s = self._look_again_s + self._guard.keep_s
        return known

    def _done(self, task: asyncio.Task[Target]) -> None:
        self._look_up = None
        if not task.cancelled():
            task.exception()  # a background look-up has nobody else who would read it


def parse_url(url: str) -> tuple[Url, str, int]:
    """Read a subscriber's URL as the client reads it: (URL, host without brackets, port).

    Raises ``TargetRefused`` for what is no http(s) URL, for user names and passwords, and for port 0.
    """
    try:
        parsed = Url(url)
    except ValueError as error:
        raise TargetRefused(f"that is not a URL: {error}") from None
    host, port = parsed.host_str, parsed.port_or_known_default
    if parsed.scheme not in ("https", "http") or not host or not port:
        raise TargetRefused("only http and https URLs with a host and a port can be delivered to")
    if parsed.username or parsed.password:
        raise TargetRefused("a URL may not carry a user name or password; use a header")
    return parsed, host.removeprefix("[").removesuffix("]"), port


async def system_resolve(host: str, port: int) -> list[Address]:
    """Ask the system's resolver. Raises ``OSError`` if the name has no address.

    Each look-up has a thread of its own, a daemon: in a pool, names whose servers hang would hold up all others, and
    the process's exit as well.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[Address]] = loop.create_future()

    def tell(addresses: list[Address], error: Exception | None) -> None:
        if found.done():  # who asked has stopped waiting
            return
        if error is None:
            found.set_result(addresses)
        else:
            found.set_exception(error)

    def look_up() -> None:
        addresses: list[Address] = []
        failure: Exception | None = None
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = [ip_address(answer[4][0]) for answer in answers]
        except Exception as error:  # handed to who asked
            failure = error
        try:
            loop.call_soon_threadsafe(tell, addresses, failure)
        except RuntimeError:
            return  # the loop has ended

    threading.Thread(target=look_up, name="look-up", daemon=True).start()
    return await found
