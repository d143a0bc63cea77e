"""The key fetch, against a TLS key host on the loopback address under the real one's name."""

import asyncio
import datetime as dt
import gzip
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network

import pytest

from gateway.delivery.addresses import Address, Network
from gateway.delivery.guard import Guard
from gateway.errors import KeyUnavailable
from gateway.intake import keys
from gateway.intake.keys import KeyFetcher
from gateway.simulator.certificates import Issued, issue
from tests.support.servers import OK, Connection, Script, Server, answering, refusing, response, serving

HOST = "assets.webhooks.flexengage.com"
URL = f"https://{HOST}/keys/one.pem"
PEM = b"-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n"


@pytest.fixture(scope="module")
def issued() -> Issued:
    """A certificate for the key host's name, and the authority that signed it."""
    return issue(HOST, dt.datetime.now(dt.UTC))


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def key_host(
    issued: Issued, script: Script, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[tuple[KeyFetcher, Server]]:
    """A key host that behaves like ``script``, and a fetcher that finds it."""
    async with serving(script, issued.server_context()) as server:
        fetcher = KeyFetcher(ca_pem=issued.ca, resolve={HOST: ("127.0.0.1", server.port)}, monotonic=clock)
        try:
            yield fetcher, server
        finally:
            await fetcher.close()


async def hang(connection: Connection) -> None:
    """Read a request and say nothing."""
    await connection.request()
    await connection.gone()


async def asked(server: Server, times: int) -> None:
    """Wait until the key host has that many requests."""
    async with asyncio.timeout(5):
        while len(server.requests) < times:
            await asyncio.sleep(0.005)


def resolver(*addresses: str) -> Callable[[str, int], Awaitable[Sequence[Address]]]:
    """Every name leads to these addresses."""

    async def resolve(host: str, port: int) -> list[Address]:
        return [ip_address(address) for address in addresses]

    return resolve


def fetch(issued: Issued, script: Script, url: str = URL) -> tuple[bytes | None, Server]:
    """One fetch."""

    async def scenario() -> tuple[bytes | None, Server]:
        async with key_host(issued, script) as (fetcher, server):
            return await fetcher.get("receipts", url), server

    return asyncio.run(scenario())


def test_a_key_is_fetched_over_tls_under_its_hosts_name(issued: Issued) -> None:
    """The key comes as it is; the host is asked by name, path and query, for bytes that are not compressed."""
    key, server = fetch(issued, answering(response("200 OK", PEM)), URL + "?v=2")
    (request,) = server.requests
    assert key == PEM
    assert (request.method, request.target) == ("GET", "/keys/one.pem?v=2")
    assert (request.headers["host"], request.headers["accept-encoding"]) == (HOST, "identity")


def test_a_key_is_kept_for_ten_minutes_by_its_whole_url(issued: Issued) -> None:
    """Within ten minutes a URL is asked for once; another query is another key; afterwards it is asked for again."""

    async def scenario() -> None:
        clock = Clock()
        async with key_host(issued, answering(response("200 OK", PEM)), clock) as (fetcher, server):
            for _ in range(3):
                assert await fetcher.get("receipts", URL) == PEM
            clock.now_s += 599
            assert await fetcher.get("other", URL) == PEM
            assert len(server.requests) == 1
            assert await fetcher.get("receipts", URL + "?v=2") == PEM
            assert len(server.requests) == 2
            clock.now_s += 1
            assert await fetcher.get("receipts", URL) == PEM
            assert len(server.requests) == 3

    asyncio.run(scenario())


def test_a_hundred_requests_share_one_fetch_and_one_may_leave(issued: Issued) -> None:
    """While a fetch runs everybody waits for it; a waiter that is cancelled, even the first, takes nobody with it."""

    async def scenario() -> None:
        asked, go_on = asyncio.Event(), asyncio.Event()

        async def script(connection: Connection) -> None:
            await connection.request()
            asked.set()
            await go_on.wait()
            await connection.write(response("200 OK", PEM))

        async with key_host(issued, script) as (fetcher, server):
            waiting = [asyncio.create_task(fetcher.get("receipts", URL)) for _ in range(100)]
            await asked.wait()
            waiting[0].cancel()
            waiting[50].cancel()
            go_on.set()
            got = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(one) for one in got].count(asyncio.CancelledError) == 2
            assert got.count(PEM) == 98
            assert len(server.requests) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("status", ["404 Not Found", "410 Gone"])
def test_where_no_key_is_there_is_none_for_a_while(issued: Issued, status: str) -> None:
    """A missing key is ``None``, remembered for half a minute, then looked for again."""

    async def scenario() -> None:
        clock = Clock()
        async with key_host(issued, answering(response(status)), clock) as (fetcher, server):
            assert [await fetcher.get("receipts", URL) for _ in range(3)] == [None] * 3
            assert len(server.requests) == 1
            clock.now_s += 30
            assert await fetcher.get("receipts", URL) is None
            assert len(server.requests) == 2

    asyncio.run(scenario())


def test_what_is_longer_than_a_key_is_none(issued: Issued) -> None:
    """16 KiB are a key, one byte more is none, and an endless answer is cut off."""
    assert fetch(issued, answering(response("200 OK", b"k" * 16_384)))[0] == b"k" * 16_384
    assert fetch(issued, answering(response("200 OK", b"k" * 16_385)))[0] is None

    async def endless(connection: Connection) -> None:
        await connection.request()
        await connection.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await connection.write(b"k" * 65_536)

    key, server = fetch(issued, endless)
    assert key is None
    assert server.sent_bytes < 32 * 1024 * 1024


@pytest.mark.parametrize(
    "answer",
    [
        response("500 Oops"),
        response("503 Busy"),
        response("403 Forbidden"),
        response("429 Slow Down"),
        response("204 No Content"),
        response("200 OK", gzip.compress(PEM), content_encoding="gzip"),
        b"no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n-----BEGIN",
    ],
)
def test_any_other_answer_is_unavailable(issued: Issued, answer: bytes) -> None:
    """Errors, redirects, compressed and broken answers are for the provider to try again; nothing is followed."""

    async def once(connection: Connection) -> None:
        await connection.request()
        await connection.write(answer)

    async def scenario() -> None:
        async with key_host(issued, once) as (fetcher, server):
            with pytest.raises(KeyUnavailable):
                await fetcher.get("receipts", URL)
            assert len(server.requests) == 1

    asyncio.run(scenario())


def test_a_redirect_of_the_key_host_is_not_followed(issued: Issued) -> None:
    """Not even to the same host: only the URL that was allowed is asked."""

    async def script(connection: Connection) -> None:
        request = await connection.request()
        moved = response("302 Found", location="/keys/two.pem")
        await connection.write(moved if request.target == "/keys/one.pem" else response("200 OK", PEM))

    async def scenario() -> None:
        async with key_host(issued, script) as (fetcher, server):
            with pytest.raises(KeyUnavailable, match="answered 302"):
                await fetcher.get("receipts", URL)
            assert len(server.requests) == 1

    asyncio.run(scenario())


def test_a_failure_is_repeated_for_a_second_without_asking(issued: Issued) -> None:
    """A host that is down is asked once a second, and found again as soon as it is back."""

    async def scenario() -> None:
        clock, answers = Clock(), [response("500 Oops")]

        async def script(connection: Connection) -> None:
            await connection.request()
            await connection.write(answers[0])

        async with key_host(issued, script, clock) as (fetcher, server):
            for _ in range(50):
                with pytest.raises(KeyUnavailable, match="answered 500"):
                    await fetcher.get("receipts", URL)
            assert len(server.requests) == 1
            answers[0] = response("200 OK", PEM)
            clock.now_s += 1
            assert await fetcher.get("receipts", URL) == PEM

    asyncio.run(scenario())


@pytest.mark.parametrize("hangs_at", ["connection", "answer", "body"])
def test_a_host_that_hangs_is_given_up(issued: Issued, hangs_at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline is for all of a fetch: no answer, a silent connection and a dripping body all end there."""
    monkeypatch.setattr(keys, "CONNECT_S" if hangs_at == "connection" else "FETCH_S", 0.2)

    async def script(connection: Connection) -> None:
        await connection.request()
        if hangs_at == "body":
            await connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            while True:
                await connection.write(b"k")
                await asyncio.sleep(0.02)
        await connection.gone()

    async def silent(connection: Connection) -> None:
        await connection.gone()

    async def scenario() -> None:
        if hangs_at == "connection":
            async with serving(silent) as server:
                fetcher = KeyFetcher(ca_pem=issued.ca, resolve={HOST: ("127.0.0.1", server.port)})
                with pytest.raises(KeyUnavailable):
                    await fetcher.get("receipts", URL)
                await fetcher.close()
        else:
            async with key_host(issued, script) as (fetcher, server):
                with pytest.raises(KeyUnavailable, match="within"):
                    await fetcher.get("receipts", URL)

    started_s = time.monotonic()
    asyncio.run(scenario())
    assert time.monotonic() - started_s < 2


def test_a_host_that_cannot_be_reached_is_unavailable(issued: Issued) -> None:
    """Refused connections and names without address are ours to report, not the sender's fault."""

    async def no_name(host: str, port: int) -> list[Address]:
        raise OSError("no such name")

    async def scenario() -> None:
        async with refusing() as port:
            for fetcher in (
                KeyFetcher(ca_pem=issued.ca, resolve={HOST: ("127.0.0.1", port)}),
                KeyFetcher(guard=Guard(resolve=no_name)),
            ):
                with pytest.raises(KeyUnavailable, match="cannot be reached"):
                    await fetcher.get("receipts", URL)
                await fetcher.close()

    asyncio.run(scenario())


def test_a_certificate_that_does_not_hold_is_unavailable(issued: Issued) -> None:
    """An unknown authority and a certificate for another name give no key, and the host sees no request."""

    async def scenario() -> None:
        other = issue("other.example", dt.datetime.now(dt.UTC))
        for served, trusted in ((issued, None), (other, other.ca)):
            async with serving(answering(response("200 OK", PEM)), served.server_context()) as server:
                fetcher = KeyFetcher(ca_pem=trusted, resolve={HOST: ("127.0.0.1", server.port)})
                with pytest.raises(KeyUnavailable, match="cannot be reached"):
                    await fetcher.get("receipts", URL)
                await fetcher.close()
                assert server.requests == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("addresses", "allow"),
    [
        (["127.0.0.1"], ()),
        (["93.184.215.14", "10.0.0.1"], ()),
        (["169.254.169.254"], (ip_network("0.0.0.0/0"),)),
    ],
)
def test_a_key_host_that_leads_inside_is_not_asked(addresses: list[str], allow: tuple[Network, ...]) -> None:
    """The guard judges the key host's addresses too: private ones unless allowed, metadata never."""

    async def scenario() -> None:
        fetcher = KeyFetcher(guard=Guard(resolve=resolver(*addresses)), allow_networks=allow)
        with pytest.raises(KeyUnavailable, match="address"):
            await fetcher.get("receipts", URL)
        assert fetcher._http is None
        await fetcher.close()

    asyncio.run(scenario())


def test_an_address_that_refuses_is_passed_over(issued: Issued) -> None:
    """Of several addresses the next one is asked, through the guard's look-up and with the certificate's name."""

    async def scenario() -> None:
        async with serving(answering(response("200 OK", PEM)), issued.server_context()) as server:
            fetcher = KeyFetcher(
                guard=Guard(resolve=resolver("127.0.0.9", "127.0.0.1")),
                ca_pem=issued.ca,
                allow_networks=(ip_network("127.0.0.0/8"),),
            )
            assert await fetcher.get("receipts", f"https://{HOST}:{server.port}/keys/one.pem") == PEM
            assert server.requests[0].headers["host"] == f"{HOST}:{server.port}"
            await fetcher.close()

    asyncio.run(scenario())


def test_a_named_host_cannot_be_named_to_metadata() -> None:
    """Not even the setting for tests and the demo leads to a metadata address."""

    async def scenario() -> None:
        fetcher = KeyFetcher(resolve={HOST: ("169.254.169.254", 80)})
        with pytest.raises(KeyUnavailable, match="metadata"):
            await fetcher.get("receipts", URL)
        await fetcher.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "url",
    [
        *(f"http://{HOST}/k", f"https://{HOST}/a b", f"https://{HOST}", f"https://user@{HOST}/k", f"HTTPS://{HOST}/k"),
        *(f"https://{HOST}/k#x", f"https://{HOST}\\@evil.example/", f"https://evil.example\\@{HOST}/", "", "k" * 100),
        *(f"https://{HOST.upper()}/k", f"https://{HOST}:443/k", f"https://{HOST}/a/../k", f" https://{HOST}/k"),
        *(f"https://{HOST}/k\n", f"https://{HOST}/" + "k" * 2_048, f"file://{HOST}/etc/passwd", f"https://{HOST}/ä"),
    ],
)
def test_a_url_that_could_be_read_in_two_ways_has_no_key(issued: Issued, url: str) -> None:
    """Only https, and only in the one spelling all parsers agree on; nothing is connected to."""
    key, server = fetch(issued, answering(response("200 OK", PEM)), url)
    assert (key, server.connections) == (None, 0)


def test_a_source_starts_few_fetches_and_others_are_not_held_up(issued: Issued) -> None:
    """Invented paths end in ``KeyUnavailable`` after a burst; other sources, kept keys and known keys still work."""

    async def scenario() -> None:
        clock = Clock()

        async def script(connection: Connection) -> None:
            request = await connection.request()
            good = request.target in ("/keys/one.pem", "/keys/two.pem")
            await connection.write(response("200 OK", PEM) if good else response("404 Not Found"))

        async with key_host(issued, script, clock) as (fetcher, server):
            assert await fetcher.get("receipts", URL) == PEM
            for n in range(keys.BURST - 1):
                assert await fetcher.get("receipts", f"https://{HOST}/invented/{n}") is None
            with pytest.raises(KeyUnavailable, match="receipts asked for too many"):
                await fetcher.get("receipts", f"https://{HOST}/invented/more")
            assert len(server.requests) == keys.BURST

            assert await fetcher.get("receipts", URL) == PEM  # kept
            assert await fetcher.get("other", f"https://{HOST}/keys/two.pem") == PEM  # another source
            clock.now_s += 0.5
            assert await fetcher.get("receipts", f"https://{HOST}/invented/later") is None  # two a second come back
            with pytest.raises(KeyUnavailable):
                await fetcher.get("receipts", f"https://{HOST}/invented/again")

            clock.now_s += 600
            for n in range(keys.BURST):
                assert await fetcher.get("receipts", f"https://{HOST}/invented/new/{n}") is None
            with pytest.raises(KeyUnavailable):
                await fetcher.get("receipts", f"https://{HOST}/invented/new/more")
            assert await fetcher.get("receipts", URL) == PEM  # expired, but known to be good

    asyncio.run(scenario())


def test_what_is_kept_is_bounded_and_missing_keys_displace_no_key(
    issued: Issued, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys used last are kept; what was not found has a place of its own, as bounded."""
    monkeypatch.setattr(keys, "BURST", 1_000)

    async def scenario() -> None:
        async def script(connection: Connection) -> None:
            while True:
                request = await connection.request()
                await connection.write(
                    response("404 Not Found") if "none" in request.target else response("200 OK", PEM)
                )

        clock = Clock()
        async with serving(script, issued.server_context()) as server:
            monkeypatch.setattr(keys, "KEEP_KEYS", 3)
            monkeypatch.setattr(keys, "KEEP_WITHOUT_KEY", 4)
            fetcher = KeyFetcher(ca_pem=issued.ca, resolve={HOST: ("127.0.0.1", server.port)}, monotonic=clock)
            assert await fetcher.get("receipts", URL) == PEM
            for n in range(10):
                assert await fetcher.get("receipts", f"https://{HOST}/none/{n}") is None
            for n in range(4):
                assert await fetcher.get("receipts", f"https://{HOST}/k/{n}") == PEM
                assert await fetcher.get("receipts", URL) == PEM  # used, so it stays
            asked = [request.target for request in server.requests]
            assert asked.count("/keys/one.pem") == 1
            assert len(fetcher._keys._kept) == 3
            assert len(fetcher._without_key._kept) == 4
            await fetcher.get("receipts", f"https://{HOST}/k/0")  # was displaced
            assert [request.target for request in server.requests].count("/k/0") == 2
            await fetcher.close()

    asyncio.run(scenario())


def test_fetches_at_once_are_bounded(issued: Issued, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many sources ask, only so many fetches run."""
    monkeypatch.setattr(keys, "FETCHES_AT_ONCE", 2)

    async def scenario() -> None:
        async with key_host(issued, hang) as (fetcher, server):
            waiting = [asyncio.create_task(fetcher.get(f"s{n}", f"https://{HOST}/{n}")) for n in range(2)]
            await asked(server, 2)
            with pytest.raises(KeyUnavailable, match="at once"):
                await fetcher.get("s3", f"https://{HOST}/3")
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(scenario())


def test_proxies_of_the_environment_are_ignored(issued: Issued, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy named in the environment sees nothing."""

    async def scenario() -> None:
        async with (
            serving(answering(OK)) as proxy,
            key_host(issued, answering(response("200 OK", PEM))) as (fetcher, _),
        ):
            for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
                monkeypatch.setitem(os.environ, name, f"http://127.0.0.1:{proxy.port}")
            assert await fetcher.get("receipts", URL) == PEM
            assert proxy.connections == 0

    asyncio.run(scenario())


def test_no_url_is_logged(issued: Issued, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the log's level, no line of ours or the client's holds the URL a sender wrote."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("control").debug("the capture works")
    assert fetch(issued, answering(response("200 OK", PEM)), URL + "?token=hunter2")[0] == PEM
    assert "the capture works" in caplog.text
    assert "hunter2" not in caplog.text
    assert HOST not in caplog.text


def test_closing_ends_a_fetch(issued: Issued) -> None:
    """A fetcher that is closed waits for nobody, and whoever waited for it hears 503."""

    async def scenario() -> None:
        async with key_host(issued, hang) as (fetcher, server):
            waiting = asyncio.create_task(fetcher.get("receipts", URL))
            await asked(server, 1)
            await fetcher.close()
            with pytest.raises(KeyUnavailable, match="stopping"):
                await waiting

    asyncio.run(scenario())
