"""The one fetch an adapter may ask for: a public key.

The URL is the sender's to write, so an adapter allows known hosts only, and here every fetch is bounded: https, the
addresses checked by the guard (``delivery/guard.py``), no redirect, no proxy, 16 KiB, 3 s. A key is kept for ten
minutes. Many requests that need the same key share one fetch; each source may start a few fetches a second, so that
invented paths become no traffic to the provider. What was found good before is fetched again without that limit: a
flood of invented paths does not lock the real key out.

===========================  ==================================================================================
the key host answers         then
===========================  ==================================================================================
200, at most 16 KiB          that is the key
404, 410, 200 but longer     there is no key: ``None``, and the adapter rejects the request (401)
anything else, or nothing    ``KeyUnavailable``: 503, and the provider sends the request again
===========================  ==================================================================================
"""

import asyncio
import logging
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address, ip_network

import httpx
import msgspec

from gateway.delivery.addresses import Address, Network, check_address
from gateway.delivery.guard import Guard, parse_url
from gateway.errors import KeyUnavailable, TargetRefused
from gateway.faults import fault_in_loop

MAX_KEY_BYTES = 16 * 1024
FETCH_S = 3.0
"""How long a fetch may take, the look-up of the name included."""
CONNECT_S = 1.0
"""How long one of the host's addresses may take to connect."""
MAX_URL_CHARS = 2_048

KEEP_S = 600.0
KEEP_KEYS = 64
KEEP_MISSING_S = 30.0
"""How long "no key there" is believed: a key that is published late is found soon after."""
KEEP_FAILURE_S = 1.0
"""How long a failure is repeated without asking again: requests by the thousand do not hammer a host that is down."""
KEEP_WITHOUT_KEY = 256

FETCHES_AT_ONCE = 32
BURST = 16
FETCHES_PER_S = 2.0

# httpx logs the whole URL of every request at INFO; a URL the sender chose has no place in our log.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class _Found(msgspec.Struct, frozen=True):
    """What a fetch brought. Neither key nor failure: there is no key."""

    key: bytes | None = None
    failure: str | None = None

    def result(self) -> bytes | None:
        if self.failure is not None:
            raise KeyUnavailable(self.failure)
        return self.key


class KeyFetcher:
    """Fetches and keeps public keys.

    ``ca_pem`` is trusted beside the usual authorities. ``resolve`` names hosts that are elsewhere than their name says,
    as host → (address, port): for tests, and for the demo's key host. ``allow_networks`` are private networks a key
    host may be in.
    """

    def __init__(
        self,
        *,
        guard: Guard | None = None,
        ca_pem: bytes | None = None,
        resolve: Mapping[str, tuple[str, int]] | None = None,
        allow_networks: Sequence[Network] = (),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._guard = guard or Guard()
        self._ca_pem = ca_pem
        self._resolve = dict(resolve or {})
        self._allow_networks = tuple(allow_networks)
        self._monotonic = monotonic
        self._keys = _Kept(KEEP_KEYS)
        self._without_key = _Kept(KEEP_WITHOUT_KEY)
        self._flights: dict[str, asyncio.Task[_Found]] = {}
        self._buckets: dict[str, _Bucket] = {}
        self._http: httpx.AsyncClient | None = None

    async def get(self, source_name: str, url: str) -> bytes | None:
        """The key at ``url`` as it came (PEM, unread); ``None`` if there is none.

        Raises ``KeyUnavailable`` if that cannot be said now. A caller that is cancelled cancels nobody else's fetch.
        """
        now_s = self._monotonic()
        kept = self._keys.get(url, now_s) or self._without_key.get(url, now_s)
        if kept is not None:
            return kept.result()
        flight = self._flights.get(url) or self._start(source_name, url, now_s)
        try:
            found = await asyncio.shield(flight)
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if flight.cancelled() and me is not None and not me.cancelling():
                raise KeyUnavailable("the gateway is stopping") from None  # by close; whoever waits was not cancelled
            raise
        return found.result()

    async def close(self) -> None:
        """End the fetches that run."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        if self._http is not None:
            await self._http.aclose()

    def _start(self, source_name: str, url: str, now_s: float) -> asyncio.Task[_Found]:
        if len(self._flights) >= FETCHES_AT_ONCE:
            raise KeyUnavailable("too many public keys are being fetched at once")
        bucket = self._buckets.setdefault(source_name, _Bucket(now_s))
        if not self._keys.knows(url) and not bucket.take(now_s):
            raise KeyUnavailable(f"the source {source_name} asked for too many public keys in a short time")
        flight = asyncio.create_task(self._fetch(url), name="key-fetch")
        self._flights[url] = flight
        flight.add_done_callback(lambda _: self._flights.pop(url, None))
        return flight

    async def _fetch(self, url: str) -> _Found:
        try:
            async with asyncio.timeout(FETCH_S):
                await fault_in_loop("key", "before", httpx.ConnectError)
                found = await self._ask(url)
                await fault_in_loop("key", "after", httpx.ReadError)
        except TimeoutError:
            found = _Found(failure=f"the key host did not answer within {FETCH_S:g} s")
        except TargetRefused as error:
            found = _Found(failure=f"the key host's address: {error}")
        except (httpx.HTTPError, OSError) as error:
            found = _Found(failure=f"the key host cannot be reached ({type(error).__name__})")
        except Exception as error:  # a defect of ours: the provider keeps the request and sends it again
            found = _Found(failure=f"fetching the key failed with {type(error).__name__}")
        now_s = self._monotonic()
        if found.key is not None:
            self._keys.put(url, found, now_s + KEEP_S)
            self._without_key.drop(url)
        else:
            keep_s = KEEP_MISSING_S if found.failure is None else KEEP_FAILURE_S
            self._without_key.put(url, found, now_s + keep_s)
        return found

    async def _ask(self, url: str) -> _Found:
        try:
            parsed, host, port = parse_url(url)
        except TargetRefused:
            return _Found()
        # Only a URL that is written as the parser itself would write it: then no two parsers read two hosts in it.
        if parsed.scheme != "https" or parsed.fragment is not None or str(parsed) != url or len(url) > MAX_URL_CHARS:
            return _Found()
        addresses: Sequence[Address]
        if host in self._resolve:
            named, port = self._resolve[host]
            addresses = (ip_address(named),)
            check_address(addresses[0], (ip_network(named),))
        else:
            addresses = (await self._guard.target(url, self._allow_networks)).addresses
        path = parsed.path if parsed.query_string is None else f"{parsed.path}?{parsed.query_string}"
        for address in addresses[:-1]:
            try:
                return await self._get(address, port, parsed.authority, host, path)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue  # the next address
        return await self._get(addresses[-1], port, parsed.authority, host, path)

    async def _get(self, address: Address, port: int, authority: str, host: str, path: str) -> _Found:
        """Ask one checked address, under the host's name: that is what the certificate is checked against."""
        at = f"[{address}]" if address.version == 6 else str(address)
        async with self._client().stream(
            "GET",
            f"https://{at}:{port}{path}",
            headers={"host": authority, "accept-encoding": "identity"},
            extensions={"sni_hostname": host},
        ) as answer:
            if answer.status_code in (404, 410):
                return _Found()
            if answer.status_code != 200:
                return _Found(failure=f"the key host answered {answer.status_code}")
            if answer.headers.get("content-encoding", "identity") != "identity":
                return _Found(failure="the key host sent a compressed answer, which was not asked for")
            key = bytearray()
            async for chunk in answer.aiter_raw():
                key += chunk
                if len(key) > MAX_KEY_BYTES:
                    return _Found()
            return _Found(key=bytes(key))

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            authorities = httpx.create_ssl_context()
            if self._ca_pem is not None:
                authorities.load_verify_locations(cadata=self._ca_pem.decode("ascii"))
            authorities.minimum_version = ssl.TLSVersion.TLSv1_2
            self._http = httpx.AsyncClient(
                verify=authorities,
                trust_env=False,
                follow_redirects=False,
                timeout=httpx.Timeout(FETCH_S, connect=CONNECT_S),
                # No connection is kept: they are told apart by address, and one address may serve several names.
                limits=httpx.Limits(max_keepalive_connections=0),
            )
        return self._http


class _Kept:
    """What was found, by URL: the ``limit`` used last."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[str, tuple[_Found, float]] = OrderedDict()

    def get(self, url: str, now_s: float) -> _Found | None:
        entry = self._kept.get(url)
        if entry is None or now_s >= entry[1]:
            return None
        self._kept.move_to_end(url)
        return entry[0]

    def knows(self, url: str) -> bool:
        """Whether it was there before, however long ago."""
        return url in self._kept

    def put(self, url: str, found: _Found, until_s: float) -> None:
        self._kept[url] = (found, until_s)
        self._kept.move_to_end(url)
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)

    def drop(self, url: str) -> None:
        self._kept.pop(url, None)


class _Bucket:
    """A source's right to start fetches: ``BURST`` at once, ``FETCHES_PER_S`` after that."""

    def __init__(self, now_s: float) -> None:
        self._tokens = float(BURST)
        self._at_s = now_s

    def take(self, now_s: float) -> bool:
        self._tokens = min(BURST, self._tokens + (now_s - self._at_s) * FETCHES_PER_S)
        self._at_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
