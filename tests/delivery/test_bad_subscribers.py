"""Every kind of bad subscriber, on real sockets, beside a good one.

Each row says what its events come to. Whatever that is: the account adds up, the recount finds nothing, the neighbour
has got everything, and the bad one has been tried as often as its schedule says.
"""

import asyncio
import gzip
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from gateway.config import SubscriberSettings
from gateway.delivery.breaker import Rules
from gateway.store.dead_letters import DeadLetters
from gateway.store.parked import SubscriberStore
from tests.support import bad_subscribers as bad
from tests.support.delivering import Rig, rig, subscriber, until
from tests.support.servers import Connection, Script, Server, answering, full_backlog, refusing, response, serving

pytestmark = pytest.mark.usefixtures("quick")

OK = response("204 No Content")
EVENTS = 6
RETRIES = (0.05,)
DAY_MS = 86_400_000

Place = Literal["dead", "parked", "delivered"]

META = "http://169.254.169.254/latest/meta-data/"

KINDS: dict[str, tuple[Script, Place, str]] = {
    "hangs": (bad.hang, "dead", "timeout"),
    "accepts and does not read": (bad.deaf, "dead", "timeout"),
    "drips its head": (bad.dripping(OK), "dead", "timeout"),
    "says continue for ever": (
        bad.saying(b"HTTP/1.1 100 Continue\r\n\r\n", pause_s=0.05, endless=True),
        "dead",
        "timeout",
    ),
    "sends an endless head": (
        bad.saying(b"HTTP/1.1 200 OK\r\n", b"x-more: " + b"y" * 8192 + b"\r\n", endless=True),
        "dead",
        "protocol",
    ),
    # the status has said what matters: whoever answers 200 has it, however long it talks on
    "drips a body after 200": (bad.dripping_after("200 OK"), "delivered", ""),
    "drips a body after 500": (bad.dripping_after("500 Oops"), "dead", "http_500"),
    "sends an endless body after 200": (bad.endless_after("200 OK"), "delivered", ""),
    "sends an endless body after 500": (bad.endless_after("500 Oops"), "dead", "http_500"),
    "sends a bomb after 200": (
        answering(response("200 OK", bad.BOMB, content_encoding="gzip")),
        "delivered",
        "",
    ),
    "sends a bomb after 500": (
        answering(response("500 Oops", bad.BOMB, content_encoding="gzip")),
        "dead",
        "http_500",
    ),
    "resets at once": (bad.reset_at_once, "dead", "reset or connect"),  # as the client had got to
    "closes after accept": (bad.close_at_once, "dead", "reset"),
    "closes instead of answering": (bad.saying(), "dead", "reset"),
    "closes within the head": (bad.saying(b"HTTP/1.1 20"), "dead", "reset"),
    "resets in its answer": (bad.reset_in_answer, "dead", "reset"),
    "redirects to a metadata address": (bad.redirecting(META), "dead", "redirect"),
    "redirects for good": (bad.redirecting(META, "308 Permanent Redirect"), "dead", "redirect"),
    "redirects to a file": (bad.redirecting("file:///etc/passwd", "302 Found"), "dead", "redirect"),
    "asks for a thousand years": (bad.busy("31536000000"), "parked", "http_429"),
    "asks for a number of a thousand digits": (bad.busy("9" * 1000), "parked", "http_429"),
    "asks for the year 9999": (bad.busy("Fri, 31 Dec 9999 23:59:59 GMT"), "parked", "http_429"),
    "asks with 503": (bad.busy("86401", "503 Service Unavailable"), "parked", "http_503"),
    "asks for less than nothing": (bad.busy("-5"), "dead", "http_429"),
    "asks in another language": (bad.busy("bald"), "dead", "http_429"),
    "speaks another protocol": (bad.saying(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "dead", "protocol"),
    "sends noise": (bad.saying(bytes(range(256)) * 4), "dead", "protocol"),
    "answers with status 999": (answering(response("999 Beyond")), "dead", "protocol"),
}


@asynccontextmanager
async def beside(directory: Path, *bad_ones: SubscriberSettings) -> AsyncIterator[tuple[Rig, Server]]:
    """Deliver to bad subscribers and to a good one; at the end the good one has all, and the account adds up."""
    async with rig(directory) as r, serving(answering(OK)) as neighbour:
        r.breaker_rules = Rules(trip_failures=1_000, rate_over=1_000)
        began_s = time.monotonic()
        events = await r.append(EVENTS, key="k")
        async with r.delivering(*bad_ones, subscriber(neighbour.port, "good", order="key")):
            await r.settled("good", offered=EVENTS, within_s=3)
            assert time.monotonic() - began_s < 3
            yield r, neighbour
        assert Counter(request.headers["webhook-id"] for request in neighbour.requests) == Counter(events)
        assert (await r.line("good")).delivered == EVENTS
        assert (await r.ledger()).unaccounted == 0
        assert await r.audited() == (0, [])


async def ends(r: Rig, place: Place, cause: str) -> None:
    """Wait until the bad one's events are where they belong, with the right cause."""
    if place == "parked":
        keys = r.keys.subscriber("crm")

        async def all_parked() -> bool:
            return bool(await r.store.call("HLEN", keys.parked) == EVENTS)

        await until(all_parked)
        parked = await SubscriberStore(r.store, r.keys, "crm").parked(0, 100)
        assert {each.parked.cause for each in parked} == {cause}
        scores = await r.store.call("ZRANGE", keys.due, 0, -1, "WITHSCORES")
        assert max(float(score) for score in scores[1::2]) <= r.wall_ms() + DAY_MS
        assert (await r.line()).pending == EVENTS
        return
    await r.settled("crm", offered=EVENTS)
    line = await r.line()
    assert (line.delivered, line.dead) == ((EVENTS, 0) if place == "delivered" else (0, EVENTS))
    letters = await DeadLetters(r.store, r.keys, "crm").list(0, 100)
    assert bool(letters) == (place == "dead")
    assert {letter.cause for letter, _ in letters} <= set(cause.split(" or "))
    assert {letter.attempts for letter, _ in letters} <= {len(RETRIES) + 1}
    assert all(len(answer) <= 64 * 1024 for _, answer in letters)


@pytest.mark.parametrize("kind", KINDS)
def test_a_subscriber_that(tmp_path: Path, kind: str) -> None:
    """It harms nobody but itself, and its events are where they should be."""
    script, place, cause = KINDS[kind]

    async def run() -> None:
        async with serving(script) as server:
            settings = subscriber(server.port, retry_s=RETRIES, timeout_s=0.4)
            async with beside(tmp_path, settings) as (r, _):
                await ends(r, place, cause)
            assert server.connections > 0, "the row was about somebody who was there"

    asyncio.run(run())


def test_a_subscriber_that_refuses_connections(tmp_path: Path) -> None:
    """Nobody listens: every event is a dead letter after its attempts."""

    async def run() -> None:
        async with refusing() as port, beside(tmp_path, subscriber(port, retry_s=RETRIES)) as (r, _):
            await ends(r, "dead", "connect")

    asyncio.run(run())


def test_a_subscriber_that_neither_accepts_nor_refuses(tmp_path: Path) -> None:
    """Its queue is full, and so the connection never stands."""

    async def run() -> None:
        async with full_backlog() as port:
            settings = subscriber(port, retry_s=RETRIES, timeout_s=0.4)
            async with beside(tmp_path, settings) as (r, _):
                await ends(r, "dead", "timeout")

    asyncio.run(run())


@pytest.mark.parametrize("script", [bad.tls_garbage, bad.plain_http, bad.close_at_once, bad.hang])
def test_a_subscriber_that_cannot_speak_tls(tmp_path: Path, script: Script) -> None:
    """What is no TLS is never sent an event."""

    async def run() -> None:
        async with serving(script) as server:
            settings = msgspec.structs.replace(
                subscriber(server.port, retry_s=RETRIES, timeout_s=0.4), url=f"https://127.0.0.1:{server.port}/crm"
            )
            async with beside(tmp_path, settings) as (r, _):
                await ends(r, "dead", "timeout" if script is bad.hang else "tls")
            assert server.connections > 0
            assert server.requests == []

    asyncio.run(run())


@pytest.mark.parametrize("url", [META, "http://[fd00:ec2::254]/", "http://2852039166/", "http://0xA9FEA9FE/"])
def test_a_subscriber_at_a_metadata_address(tmp_path: Path, url: str) -> None:
    """Written in whatever way, nothing is sent there, and the events say why."""

    async def run() -> None:
        settings = msgspec.structs.replace(subscriber(1, retry_s=RETRIES), url=url)
        async with beside(tmp_path, settings) as (r, _):
            await ends(r, "dead", "refused_target")

    asyncio.run(run())


def test_a_redirect_is_not_followed_even_to_a_place_we_could_reach(tmp_path: Path) -> None:
    """The positive control: the place it points to exists, and sees nobody."""

    async def run() -> None:
        async with (
            serving(answering(OK)) as elsewhere,
            serving(bad.redirecting(f"http://127.0.0.1:{elsewhere.port}/")) as server,
            beside(tmp_path, subscriber(server.port, retry_s=RETRIES)) as (r, _),
        ):
            await ends(r, "dead", "redirect")
            assert elsewhere.connections == 0

    asyncio.run(run())


def test_a_bomb_stays_what_it_was_on_the_wire(tmp_path: Path) -> None:
    """The dead letter keeps the compressed bytes as they came; unpacked they would be a thousand times as many."""

    async def run() -> None:
        async with serving(answering(response("500 Oops", bad.BOMB, content_encoding="gzip"))) as server:
            async with beside(tmp_path, subscriber(server.port, retry_s=RETRIES)) as (r, _):
                await ends(r, "dead", "http_500")
                for _, answer in await DeadLetters(r.store, r.keys, "crm").list(0, 100):
                    assert answer == bad.BOMB
            assert len(gzip.decompress(bad.BOMB)) > 500 * len(bad.BOMB)

    asyncio.run(run())


def test_all_of_them_at_once_beside_one_neighbour(tmp_path: Path) -> None:
    """All kinds together, with a breaker: the good one gets each event promptly, and everybody's account adds up."""

    async def run() -> None:
        async with AsyncExitStack() as stack, serving(answering(OK)) as neighbour:
            settings = []
            for number, (script, _, _) in enumerate(KINDS.values()):
                server = await stack.enter_async_context(serving(script))
                settings.append(subscriber(server.port, f"bad-{number}", retry_s=RETRIES, timeout_s=0.4, concurrency=4))
            async with rig(tmp_path) as r:
                r.breaker_rules = Rules(first_wait_s=0.5, longest_wait_s=1)
                await r.append(60)
                async with r.delivering(*settings, subscriber(neighbour.port, "good")):
                    await r.settled("good", offered=60, within_s=5)
                    await r.append(60, first=100)
                    await r.settled("good", offered=120, within_s=5)
                ledger = await r.ledger()
                assert ledger.unaccounted == 0
                assert len(ledger.subscribers) == len(KINDS) + 1
                assert {line.offered for line in ledger.subscribers.values()} == {120}
                assert await r.audited() == (0, [])

    asyncio.run(run())


def test_one_that_mends_itself_gets_everything(tmp_path: Path) -> None:
    """After resets, noise and hanging it answers: what was parked arrives, each event once."""

    async def run() -> None:
        seen = Counter[str]()

        async def script(connection: Connection) -> None:
            while True:
                event = (await connection.request()).headers["webhook-id"]
                seen[event] += 1
                if seen[event] == 1:
                    connection.reset()
                    return
                if seen[event] == 2:
                    await connection.write(b"noise\r\n\r\n")
                    return
                if seen[event] == 3:
                    await connection.gone()
                    return
                await connection.write(OK)

        async with serving(script) as server:
            settings = subscriber(server.port, retry_s=(0.05,) * 4, timeout_s=0.4, order="key")
            async with beside(tmp_path, settings) as (r, _):
                await ends(r, "delivered", "")
            assert set(seen.values()) == {4}

    asyncio.run(run())
