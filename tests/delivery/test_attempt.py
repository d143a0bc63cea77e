"""One attempt against real sockets: what is sent, what counts as delivered, every way a subscriber can misbehave."""

import asyncio
import datetime as dt
import gzip
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from gateway.config import SubscriberSettings
from gateway.delivery import attempt as attempt_module
from gateway.delivery.addresses import Address
from gateway.delivery.attempt import ANSWER_BYTES, Outcome, Sender, encode
from gateway.delivery.guard import Guard
from gateway.delivery.outcome import explain, parse_retry_after
from gateway.errors import ConfigError
from gateway.simulator.certificates import issue
from tests.support.servers import OK, Connection, Script, Server, answering, full_backlog, refusing, response, serving

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LOOPBACK = (ip_network("127.0.0.0/8"),)
HOST = "sink.example"
BODY = b'{"id":"evt_1"}'
WALL_MS = 1_800_000_000_000


def resolver(*addresses: str) -> Callable[[str, int], Awaitable[Sequence[Address]]]:
    """Every name leads to these addresses."""

    async def resolve(host: str, port: int) -> list[Address]:
        return [ip_address(address) for address in addresses]

    return resolve


@asynccontextmanager
async def sending(url: str, *addresses: str, ca_pem: bytes | None = None, **settings: Any) -> AsyncIterator[Sender]:
    """A sender to ``url``, whose name leads to ``addresses`` (127.0.0.1)."""
    values: dict[str, Any] = {
        "name": "crm",
        "url": url,
        "secrets": (SECRET,),
        "timeout_s": 1.0,
        "allow_networks": LOOPBACK,
    } | settings
    sender = Sender(
        SubscriberSettings(**values),
        Guard(resolve=resolver(*(addresses or ("127.0.0.1",)))),
        wall_ms=lambda: WALL_MS,
        monotonic=time.monotonic,
        ca_pem=ca_pem,
    )
    try:
        yield sender
    finally:
        await sender.close()


async def post(sender: Sender, body: bytes = BODY) -> Outcome:
    """One attempt of an event."""
    return await sender.send("evt_1", body, attempt=1, attempts_left=9)


def attempt(script: Script, tls: Any = None, scheme: str = "http", **settings: Any) -> tuple[Outcome, Server]:
    """One attempt at a server that behaves like ``script``."""

    async def scenario() -> tuple[Outcome, Server]:
        async with (
            serving(script, tls) as server,
            sending(f"{scheme}://{HOST}:{server.port}/h?token=hunter2", **settings) as sender,
        ):
            return await post(sender), server

    outcome, server = asyncio.run(scenario())
    assert "hunter2" not in outcome.detail
    assert bool(outcome.detail) != outcome.delivered
    return outcome, server


# --- what is sent ---------------------------------------------------------------------------------------------------


def test_encode_puts_raw_last_and_leaves_it_out_when_told() -> None:
    """The body is the event's JSON with ``raw`` as its last key, byte for byte; without raw it is the event's JSON."""
    assert encode(b'{"id":"evt_1","data":{}}', b'{"a":[1]}') == b'{"id":"evt_1","data":{},"raw":{"a":[1]}}'
    assert encode(b'{"id":"evt_1"}', b"null") == b'{"id":"evt_1","raw":null}'
    assert encode(b'{"id":"evt_1"}', None) == b'{"id":"evt_1"}'


def test_a_delivery_as_the_subscriber_sees_it() -> None:
    """A POST of the exact body with the headers that are promised, each once, and nothing that asks for compression."""
    outcome, server = attempt(answering(OK), headers=(("X-Team", "crm"),))
    (request,) = server.requests
    assert (outcome.delivered, outcome.status, outcome.cause, outcome.answer) == (True, 200, "", b"")
    assert (request.method, request.target, request.body) == ("POST", "/h?token=hunter2", BODY)
    assert request.headers == {
        "host": f"{HOST}:{server.port}",
        "accept": "*/*",
        "content-type": "application/json",
        "content-length": str(len(BODY)),
        "user-agent": "webhook-gateway",
        "x-team": "crm",
        "webhook-id": "evt_1",
        "webhook-timestamp": "1800000000",
        "webhook-signature": request.headers["webhook-signature"],
        "gateway-attempt": "1",
        "gateway-attempts-left": "9",
    }
    assert len(request.pairs) == len(request.headers)
    assert b"\r\nwebhook-id: evt_1\r\n" in request.head


def test_the_reference_package_verifies_what_arrives() -> None:
    """The standardwebhooks package verifies the bytes and headers a server received."""

    async def scenario() -> None:
        async with serving(answering(OK)) as server, sending(f"http://{HOST}:{server.port}/") as sender:
            sender._wall_ms = lambda: time.time_ns() // 1_000_000  # the judge reads the real clock
            assert (await post(sender)).delivered
            (request,) = server.requests
            assert Webhook(SECRET).verify(request.body.decode(), request.headers) == json.loads(BODY)

    asyncio.run(scenario())


def test_a_replay_says_so() -> None:
    """A deliberate repetition carries ``gateway-replay``, and its attempt number; an ordinary delivery does not."""

    async def scenario() -> None:
        async with serving(answering(OK)) as server, sending(f"http://{HOST}:{server.port}/") as sender:
            await sender.send("evt_1", BODY, attempt=3, attempts_left=0, replay="rpl_1")
            await post(sender)
            first, second = (request.headers for request in server.requests)
            assert (first["gateway-replay"], first["gateway-attempt"], first["gateway-attempts-left"]) == (
                "rpl_1",
                "3",
                "0",
            )
            assert "gateway-replay" not in second

    asyncio.run(scenario())


def test_a_subscriber_may_name_its_own_user_agent() -> None:
    """Of the gateway's headers ``user-agent`` alone can be replaced."""
    _, server = attempt(answering(OK), headers=(("User-Agent", "acme"),))
    assert [value for name, value in server.requests[0].pairs if name == "user-agent"] == ["acme"]


def test_settings_that_cannot_be_used_are_refused_at_once() -> None:
    """A forbidden header and a bad secret are both told when the sender is made, without showing the secret."""
    with pytest.raises(ConfigError) as refused:
        Sender(
            SubscriberSettings(name="crm", url="", secrets=("hunter2",), headers=(("host", "x"), ("a", "b\r\nc: d"))),
            Guard(),
            wall_ms=lambda: 0,
            monotonic=time.monotonic,
        )
    assert len(refused.value.problems) == 3
    assert all(problem.startswith("subscribers.crm: ") for problem in refused.value.problems)
    assert "hunter2" not in str(refused.value)


# --- connections ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(response("204 No Content"), id="204"),
        pytest.param(response("200 OK"), id="empty"),
        pytest.param(response("200 OK", b'{"ok":true}'), id="small"),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", id="chunked"),
        pytest.param(response("500 Oops", b"x" * 1000), id="failing"),
    ],
)
def test_many_deliveries_share_few_connections(answer: bytes) -> None:
    """Two hundred deliveries by eight workers use a handful of connections, whatever the short answer."""

    async def scenario() -> None:
        async with (
            serving(answering(answer)) as server,
            sending(f"http://{HOST}:{server.port}/", concurrency=8) as sender,
        ):

            async def worker() -> None:
                for _ in range(25):
                    await post(sender)

            await asyncio.gather(*[worker() for _ in range(8)])
            assert len(server.requests) == 200
            assert server.connections <= 16  # a pool may open one while another is just being handed back

    asyncio.run(scenario())


def test_an_answer_whose_body_comes_late_keeps_its_connection() -> None:
    """A server that writes head and body apart is waited for, so that the connection can be used again."""

    async def script(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
            await asyncio.sleep(0.01)
            await connection.write(b"ok")

    async def scenario() -> None:
        async with serving(script) as server, sending(f"http://{HOST}:{server.port}/") as sender:
            for _ in range(5):
                assert (await post(sender)).delivered
            assert server.connections == 1

    asyncio.run(scenario())


def test_a_connection_that_nobody_uses_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a common server would close it: who writes into that close loses the attempt."""
    monkeypatch.setattr(attempt_module, "IDLE_S", 0.1)
    closed = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.write(OK)
        await connection.gone()
        closed.set()

    async def scenario() -> None:
        async with serving(script) as server, sending(f"http://{HOST}:{server.port}/") as sender:
            assert (await post(sender)).delivered
            async with asyncio.timeout(3):
                await closed.wait()

    asyncio.run(scenario())


def test_cookies_are_not_kept() -> None:
    """What a subscriber sets as a cookie is not sent back."""

    async def scenario() -> None:
        answer = response("200 OK", set_cookie="session=1; path=/")
        async with serving(answering(answer)) as server, sending(f"http://{HOST}:{server.port}/") as sender:
            await post(sender)
            await post(sender)
            assert all("cookie" not in request.headers for request in server.requests)

    asyncio.run(scenario())


def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy named in the environment sees nothing."""

    async def scenario() -> None:
        async with serving(answering(OK)) as proxy, serving(answering(OK)) as server:
            for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
                monkeypatch.setitem(os.environ, name, f"http://127.0.0.1:{proxy.port}")
            async with sending(f"http://{HOST}:{server.port}/") as sender:
                assert (await post(sender)).delivered
            assert (proxy.connections, server.connections) == (0, 1)

    asyncio.run(scenario())


@pytest.mark.parametrize("host", [HOST, "Sink.Example.", "a_b.example", "sïnk.example", "s%69nk.example", "localhost"])
def test_the_client_connects_to_the_pinned_address(host: str) -> None:
    """However a name is written, the client takes the checked address and asks no name server."""

    async def scenario() -> None:
        async with (
            serving(answering(OK)) as server,
            sending(f"http://{host}:{server.port}/", "127.0.0.9", "127.0.0.1") as sender,
        ):
            assert (await post(sender)).delivered
            assert server.connections == 1
        async with serving(answering(OK)) as server, sending(f"http://{host}:{server.port}/", "127.0.0.9") as sender:
            outcome = await post(sender)
            assert (outcome.cause, server.connections) == ("connect", 0)
            assert "127.0.0.9" in outcome.detail

    asyncio.run(scenario())


def test_a_dead_address_is_left_for_the_next_and_stays_left() -> None:
    """Of several addresses those that refuse are passed over within the attempt, and not tried again by the next."""

    async def scenario() -> None:
        async with (
            serving(answering(OK)) as server,
            sending(f"http://{HOST}:{server.port}/", "127.0.0.8", "127.0.0.9", "127.0.0.1") as sender,
        ):
            assert (await post(sender)).delivered
            client = sender._client
            assert all([(await post(sender)).delivered for _ in range(3)])
            assert sender._client is client
            assert server.connections == 1

    asyncio.run(scenario())


def test_a_client_is_made_anew_only_when_its_address_is_gone() -> None:
    """A name that gains an address keeps the client and its connections; one that moves gets a new client."""

    async def scenario() -> None:
        now_s, names = [0.0], ["127.0.0.1"]

        async def resolve(host: str, port: int) -> list[Address]:
            return [ip_address(name) for name in names]

        async with serving(answering(OK)) as server:
            sender = Sender(
                SubscriberSettings(
                    name="crm", url=f"http://{HOST}:{server.port}/", secrets=(SECRET,), allow_networks=LOOPBACK
                ),
                Guard(resolve=resolve, monotonic=lambda: now_s[0]),
                wall_ms=lambda: WALL_MS,
                monotonic=time.monotonic,
            )
            assert (await post(sender)).delivered
            client = sender._client
            names[:] = ["127.0.0.9", "127.0.0.1"]
            now_s[0] += 100
            assert (await post(sender)).delivered
            assert sender._client is client
            assert server.connections == 1
            names[:] = ["127.0.0.9"]
            now_s[0] += 100
            assert (await post(sender)).cause == "connect"
            assert sender._client is not client
            names[:] = ["169.254.169.254"]
            now_s[0] += 100
            assert (await post(sender)).cause == "refused_target"
            await sender.close()

    asyncio.run(scenario())


def test_only_what_was_not_sent_is_sent_to_another_address() -> None:
    """An address that took the request and broke off ends the attempt: sending it elsewhere at once would double it."""

    async def scenario() -> None:
        async with serving(reset_before) as server:
            async with sending(f"http://{HOST}:{server.port}/", "127.0.0.1", "127.0.0.9") as sender:
                assert (await post(sender)).cause == "reset"
            assert len(server.requests) == 1

    asyncio.run(scenario())


def test_all_addresses_share_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first address used up, the second does not get again."""
    monkeypatch.setattr("gateway.delivery.attempt.CONNECT_S", 0.4)

    async def scenario() -> None:
        async with (
            full_backlog() as port,
            serving(hang, host="127.0.0.2", port=port),
            sending(f"http://{HOST}:{port}/", "127.0.0.1", "127.0.0.2", timeout_s=0.6) as sender,
        ):
            outcome = await post(sender)
            assert outcome.cause == "timeout"
            assert 0.6 <= outcome.duration_s < 0.9

    asyncio.run(scenario())


def test_few_of_many_addresses_are_tried() -> None:
    """A name with a hundred dead addresses costs an attempt four connections; the next attempt goes on behind them."""

    async def scenario() -> None:
        async with serving(answering(OK)) as server:
            dead = [f"127.0.1.{n}" for n in range(1, 6)]
            async with sending(f"http://{HOST}:{server.port}/", *dead, "127.0.0.1") as sender:
                assert (await post(sender)).cause == "connect"
                assert (await post(sender)).delivered

    asyncio.run(scenario())


def test_after_a_failure_to_connect_the_name_is_looked_up_again() -> None:
    """A subscriber that moved is found by the next attempt, not only when the addresses' time is up."""

    async def scenario() -> None:
        now_s, names = [0.0], ["127.0.0.9"]

        async def resolve(host: str, port: int) -> list[Address]:
            return [ip_address(name) for name in names]

        async with serving(answering(OK)) as server:
            url = f"http://{HOST}:{server.port}/"
            sender = Sender(
                SubscriberSettings(name="crm", url=url, secrets=(SECRET,), allow_networks=LOOPBACK),
                Guard(resolve=resolve, monotonic=lambda: now_s[0]),
                wall_ms=lambda: WALL_MS,
                monotonic=time.monotonic,
            )
            names[:] = ["127.0.0.9"]
            assert (await post(sender)).cause == "connect"
            names[:] = ["127.0.0.1"]
            now_s[0] += 2
            assert (await post(sender)).cause == "connect"  # still pinned; its failure asks for the look-up
            assert (await post(sender)).delivered
            await sender.close()

    asyncio.run(scenario())


# --- TLS ------------------------------------------------------------------------------------------------------------


def now() -> dt.datetime:
    """The time certificates are checked against: the real one."""
    return dt.datetime.now(dt.UTC)


def test_tls_is_checked_against_the_name_and_sent_to_the_pinned_address() -> None:
    """With a certificate for its name from a trusted authority a delivery goes through: the control of what follows."""
    issued = issue(HOST, now())
    outcome, server = attempt(answering(OK), issued.server_context(), "https", ca_pem=issued.ca)
    assert outcome.delivered
    assert server.requests[0].headers["host"] == f"{HOST}:{server.port}"


def test_a_certificate_that_does_not_hold_is_a_tls_failure() -> None:
    """An unknown authority, another name and an expired certificate are all refused; nothing of the event is sent."""
    good, other, old = issue(HOST, now()), issue("other.example", now()), issue(HOST, now() - dt.timedelta(days=30))
    for issued, ca_pem, word in (
        (good, None, "UnknownIssuer"),
        (other, other.ca, "not valid for"),
        (old, old.ca, "expired"),
    ):
        outcome, server = attempt(answering(OK), issued.server_context(), "https", ca_pem=ca_pem)
        assert (outcome.cause, outcome.status, server.requests) == ("tls", None, [])
        assert word in outcome.detail


def test_a_server_that_speaks_no_tls_is_a_tls_failure() -> None:
    """https to a server that greets in clear text is told apart from an unreachable one."""

    async def script(connection: Connection) -> None:
        await connection.write(b"220 mail.example ESMTP\r\n")
        await connection.gone()

    assert attempt(script, scheme="https")[0].cause == "tls"


def test_a_server_that_hangs_up_on_tls_is_a_tls_failure() -> None:
    """A connection that ends during the handshake is told as such."""

    async def script(connection: Connection) -> None:
        await connection.some()
        connection.reset()

    assert attempt(script, scheme="https")[0].cause == "tls"


# --- no connection --------------------------------------------------------------------------------------------------


def test_a_port_where_nobody_listens_is_a_connect_failure() -> None:
    """Connection refused."""

    async def scenario() -> Outcome:
        async with refusing() as port, sending(f"http://{HOST}:{port}/?token=hunter2") as sender:
            return await post(sender)

    outcome = asyncio.run(scenario())
    assert (outcome.delivered, outcome.cause, outcome.status) == (False, "connect", None)
    assert "refused" in outcome.detail
    assert "hunter2" not in outcome.detail


def test_an_address_that_takes_no_connection_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that neither accepts nor refuses is given up, and another address of the name still gets its turn."""
    monkeypatch.setattr("gateway.delivery.attempt.CONNECT_S", 0.1)

    async def scenario() -> None:
        async with full_backlog() as port:
            async with sending(f"http://{HOST}:{port}/") as sender:
                outcome = await post(sender)
                assert (outcome.cause, outcome.delivered) == ("timeout", False)
                assert 0.1 <= outcome.duration_s < 0.9
            async with sending(f"http://{HOST}:{port}/", "127.0.0.1", "127.0.0.9") as sender:
                assert (await post(sender)).cause == "connect"

    asyncio.run(scenario())


def test_a_name_without_address_is_a_dns_failure() -> None:
    """The look-up's failure is an outcome like any other, and nothing is connected to."""

    async def fail(host: str, port: int) -> list[Address]:
        raise OSError("Name or service not known")

    async def scenario() -> Outcome:
        sender = Sender(
            SubscriberSettings(name="crm", url="https://nowhere.example/?token=hunter2", secrets=(SECRET,)),
            Guard(resolve=fail),
            wall_ms=lambda: WALL_MS,
            monotonic=time.monotonic,
        )
        return await post(sender)

    outcome = asyncio.run(scenario())
    assert (outcome.cause, outcome.delivered) == ("dns", False)
    assert "hunter2" not in outcome.detail


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "[::ffff:127.0.0.1]", HOST, "127.1"])
def test_a_refused_target_sees_no_connection(host: str) -> None:
    """Where the guard says no, no socket is opened; the control is the same server with its network named."""

    async def scenario() -> None:
        async with serving(answering(OK)) as server:
            async with sending(f"http://{host}:{server.port}/", allow_networks=()) as sender:
                outcome = await post(sender)
            assert (outcome.cause, outcome.delivered, server.connections) == ("refused_target", False, 0)
            if "::" not in host:
                async with sending(f"http://{host}:{server.port}/") as sender:
                    assert (await post(sender)).delivered

    asyncio.run(scenario())


# --- answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status", ["200 OK", "201 Created", "202 Accepted", "204 No Content", "226 IM Used", "299 Fine"]
)
def test_any_2xx_is_delivered(status: str) -> None:
    """Success is 2xx."""
    assert attempt(answering(response(status)))[0].delivered


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        ("300 Multiple Choices", "redirect"),
        ("304 Not Modified", "redirect"),
        ("400 Bad Request", "http_400"),
        ("404 Not Found", "http_404"),
        ("410 Gone", "gone"),
        ("500 Internal Server Error", "http_500"),
        ("599 Own", "http_599"),
        ("600 Beyond", "protocol"),
        ("999 Beyond", "protocol"),
    ],
)
def test_any_other_status_is_a_failure_with_its_answer(status: str, cause: str) -> None:
    """The cause names the status, and what the subscriber wrote is kept."""
    outcome, _ = attempt(answering(response(status, b"" if status.startswith("304") else b"why")))
    assert (outcome.delivered, outcome.cause, outcome.status) == (False, cause, int(status[:3]))
    assert outcome.answer in (b"why", b"")
    assert outcome.disables == (cause == "gone")


def test_a_redirect_to_metadata_is_a_failure_and_is_not_followed() -> None:
    """Redirects of every kind are failures, wherever they lead; the server they lead to sees nothing."""

    async def scenario() -> None:
        async with serving(answering(OK)) as inner:
            for status in ("301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"):
                for place in ("http://169.254.169.254/latest/meta-data/", f"http://127.0.0.1:{inner.port}/", "/again"):
                    async with (
                        serving(answering(response(status, location=place))) as server,
                        sending(f"http://{HOST}:{server.port}/") as sender,
                    ):
                        outcome = await post(sender)
                        assert (outcome.cause, outcome.status) == ("redirect", int(status[:3]))
                        assert len(server.requests) == 1
            assert inner.connections == 0

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("status", "value", "expected_s"),
    [
        ("429 Slow Down", "120", 120.0),
        ("503 Busy", "0", 0.0),
        ("429 Slow Down", "9" * 5000, 86_400.0),
        ("429 Slow Down", "86401", 86_400.0),
        ("503 Busy", "Fri, 15 Jan 2027 08:01:30 GMT", 90.0),
        ("503 Busy", "Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        ("503 Busy", "Fri, 31 Dec 9999 23:59:59 GMT", 86_400.0),
        ("503 Busy", "Friday, 15-Jan-27 08:01:30 GMT", 90.0),
        ("503 Busy", "Fri, 15 Jan 2027 08:01:30 -0000", 90.0),
        ("429 Slow Down", "-5", None),
        ("429 Slow Down", "soon", None),
        ("429 Slow Down", "1e3", None),
        ("429 Slow Down", "", None),
        ("500 Oops", "120", None),
    ],
)
def test_retry_after(status: str, value: str, expected_s: float | None) -> None:
    """Seconds and dates count on 429 and 503, at most 24 h; nonsense and other statuses count as none."""
    outcome, _ = attempt(answering(response(status, retry_after=value)))
    assert outcome.retry_after_s == expected_s


@pytest.mark.parametrize(("status", "cause"), [("429 Slow Down", "http_429"), ("410 Gone", "gone")])
def test_a_retry_after_that_is_no_text_asks_for_nothing(status: str, cause: str) -> None:
    """Bytes beyond ASCII once hid the status behind a defect of ours, so that even a 410 was tried again."""
    head = f"HTTP/1.1 {status}\r\nretry-after: ".encode() + b"\xff\xfe\r\ncontent-length: 3\r\n\r\n"
    outcome, _ = attempt(answering(head + b"why"))
    assert (outcome.cause, outcome.retry_after_s, outcome.answer) == (cause, None, b"why")
    assert outcome.disables == (cause == "gone")


@pytest.mark.parametrize(
    ("value", "expected_s"),
    [
        ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", None),
        ("1 Jan 1 0:0:0 +99999999999999999999", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 86_400.0),
        ("Fri, 01 Jan 0001 00:00:00 +2359", 0.0),
        ("\u0663", None),
    ],
)
def test_dates_that_no_calendar_has_ask_for_nothing(value: str, expected_s: float | None) -> None:
    """Whatever a subscriber writes, the answer is a wait of at most a day or none."""
    assert parse_retry_after(value, WALL_MS) == expected_s


def test_a_date_without_zone_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """``-0000`` means UTC, wherever the gateway runs."""
    monkeypatch.setenv("TZ", "America/Sao_Paulo")
    time.tzset()
    try:
        assert parse_retry_after("Fri, 15 Jan 2027 08:01:30 -0000", WALL_MS) == 90.0
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_message_that_holds_the_url_is_not_shown() -> None:
    """Where the client's only words are a URL, the explanation does without them."""
    failure = explain(
        ["error sending request for url (https://crm.example/?token=hunter2)"], timed_out=False, where="x", timeout_s=1
    )
    assert failure.cause == "protocol"
    assert "hunter2" not in failure.detail


def test_the_clients_own_look_up_would_be_told_apart() -> None:
    """The client never looks names up, since it is pinned; if it ever does and fails, it is not called TLS."""
    messages = ["error sending request", "client error (Connect)", "dns error", "failed to lookup address information"]
    assert explain(messages, timed_out=False, where="x", timeout_s=1).cause == "dns"


# --- hostile subscribers ----------------------------------------------------------------------------------------------


async def garbage(connection: Connection) -> None:
    """Answers in another protocol."""
    await connection.request()
    await connection.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    await connection.gone()


async def endless_head(connection: Connection) -> None:
    """Sends headers for ever."""
    await connection.request()
    await connection.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        await connection.write(b"x-more: " + b"y" * 8192 + b"\r\n")


async def two_lengths(connection: Connection) -> None:
    """States two lengths."""
    await connection.request()
    await connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab")
    await connection.gone()


async def broken_chunks(connection: Connection) -> None:
    """Begins with 200 and goes on with what is no chunk."""
    await connection.request()
    await connection.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
    await connection.gone()


@pytest.mark.parametrize("script", [garbage, endless_head, two_lengths, broken_chunks])
def test_what_is_not_http_is_a_protocol_failure(script: Script) -> None:
    """An answer that cannot be read is a failure that says so."""
    assert attempt(script)[0].cause == "protocol"


async def reset_before(connection: Connection) -> None:
    """Resets instead of answering."""
    await connection.request()
    connection.reset()


async def close_before(connection: Connection) -> None:
    """Closes instead of answering."""
    await connection.request()


async def close_in_head(connection: Connection) -> None:
    """Closes within the status line."""
    await connection.request()
    await connection.write(b"HTTP/1.1 20")


async def reset_in_body(connection: Connection) -> None:
    """Begins with 200, promises a hundred bytes, and resets after three."""
    await connection.request()
    await connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc")
    await asyncio.sleep(0.02)
    connection.reset()


async def close_in_body(connection: Connection) -> None:
    """Begins with 200, promises a hundred bytes, and closes after three."""
    await connection.request()
    await connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc")


async def close_in_chunks(connection: Connection) -> None:
    """Begins with 200 and closes before the last chunk."""
    await connection.request()
    await connection.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n")


@pytest.mark.parametrize(
    "script", [reset_before, close_before, close_in_head, reset_in_body, close_in_body, close_in_chunks]
)
def test_an_answer_that_breaks_off_is_not_delivered(script: Script) -> None:
    """When in doubt the event is sent again: a connection that ends before its answer does is a failure."""
    outcome, _ = attempt(script)
    assert (outcome.delivered, outcome.cause) == (False, "reset")


def test_a_failing_answer_that_breaks_off_keeps_its_status() -> None:
    """The status says what matters; of the body what came is kept."""

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.write(b"HTTP/1.1 500 Oops\r\ncontent-length: 100\r\n\r\nabc")

    outcome, _ = attempt(script)
    assert (outcome.cause, outcome.status, outcome.answer) == ("http_500", 500, b"abc")


async def hang(connection: Connection) -> None:
    """Reads and says nothing."""
    await connection.request()
    await connection.gone()


async def drip_head(connection: Connection) -> None:
    """Sends its head a byte at a time."""
    await connection.request()
    for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n":
        await connection.write(bytes([byte]))
        await asyncio.sleep(0.1)


async def only_continue(connection: Connection) -> None:
    """Says "go on" for ever."""
    await connection.request()
    while True:
        await connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("script", [hang, drip_head, only_continue])
def test_no_answer_in_time_is_a_timeout(script: Script) -> None:
    """The deadline is for the whole answer's head; no trickle extends it."""
    outcome, _ = attempt(script, timeout_s=0.3)
    assert (outcome.delivered, outcome.cause) == (False, "timeout")
    assert 0.3 <= outcome.duration_s < 0.8


@pytest.mark.parametrize(("status", "delivered"), [("200 OK", True), ("500 Oops", False)])
def test_a_dripping_body_is_given_half_a_second(status: str, delivered: bool) -> None:
    """The status counts; of a body that drips what has come in half a second is kept, then the connection is closed."""
    ended = []

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.write(f"HTTP/1.1 {status}\r\ncontent-length: 1000\r\n\r\n".encode())
        try:
            while True:
                await connection.write(b"x")
                await asyncio.sleep(0.05)
        finally:
            ended.append(True)

    async def scenario() -> None:
        async with serving(script) as server, sending(f"http://{HOST}:{server.port}/", timeout_s=10.0) as sender:
            outcome = await post(sender)
            assert outcome.delivered == delivered
            assert 0.4 < outcome.duration_s < 1.5
            assert outcome.answer == b"" if delivered else 3 <= len(outcome.answer) <= 12
            deadline_s = time.monotonic() + 5
            while not ended and time.monotonic() < deadline_s:
                await asyncio.sleep(0.01)
            assert ended

    asyncio.run(scenario())


@pytest.mark.parametrize("status", ["200 OK", "500 Oops"])
def test_an_endless_body_is_cut_at_its_cap(status: str) -> None:
    """An endless body costs 64 KiB and what the sockets buffer, and ends the connection."""

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.write(f"HTTP/1.1 {status}\r\n\r\n".encode())
        while True:
            await connection.write(b"x" * 65_536)

    outcome, server = attempt(script)
    assert outcome.delivered == (status == "200 OK")
    assert outcome.duration_s < 0.5
    assert len(outcome.answer) == (0 if outcome.delivered else ANSWER_BYTES)
    assert server.sent_bytes < 32 * 1024 * 1024


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_a_compressed_answer_is_never_unpacked(coding: str) -> None:
    """A bomb stays the small thing it was on the wire."""
    bomb = gzip.compress(b"\0" * 10_000_000)
    outcome, server = attempt(answering(response("500 Oops", bomb, content_encoding=coding)))
    assert outcome.answer == bomb[:ANSWER_BYTES]
    assert "accept-encoding" not in server.requests[0].headers


# --- never raises -----------------------------------------------------------------------------------------------------


def test_a_defect_of_ours_is_an_outcome_too() -> None:
    """Whatever goes wrong inside, the lane gets an outcome; the error's class is named, its text is not."""

    async def scenario() -> None:
        async with serving(answering(OK)) as server, sending(f"http://{HOST}:{server.port}/") as sender:
            outcome = await sender.send("evt_\n", BODY, attempt=1, attempts_left=9)
            assert (outcome.cause, outcome.delivered, server.requests) == ("internal", False, [])
            assert (await post(sender)).delivered

    asyncio.run(scenario())


def test_a_cancelled_attempt_is_cancelled() -> None:
    """Cancelling ends an attempt at once, and the sender goes on working."""

    async def scenario() -> None:
        started = asyncio.Event()

        async def script(connection: Connection) -> None:
            await connection.request()
            started.set()
            await connection.gone()

        async with serving(script) as server, sending(f"http://{HOST}:{server.port}/", timeout_s=30.0) as sender:
            task = asyncio.create_task(post(sender))
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(scenario())


def test_closing_ends_a_look_up_too() -> None:
    """An attempt that waits for a name server ends as ``closed``, not as if somebody had cancelled it."""

    async def scenario() -> None:
        asked = asyncio.Event()

        async def never(host: str, port: int) -> list[Address]:
            asked.set()
            await asyncio.Event().wait()
            return []

        sender = Sender(
            SubscriberSettings(name="crm", url="https://crm.example/", secrets=(SECRET,)),
            Guard(resolve=never),
            wall_ms=lambda: WALL_MS,
            monotonic=time.monotonic,
        )
        task = asyncio.create_task(post(sender))
        await asked.wait()
        await sender.close()
        assert (await task).cause == "closed"

    asyncio.run(scenario())


def test_a_closed_sender_sends_no_more() -> None:
    """Closing ends attempts on the wire as ``closed``, and later ones before they start."""

    async def scenario() -> None:
        started = asyncio.Event()

        async def script(connection: Connection) -> None:
            await connection.request()
            started.set()
            await connection.gone()

        async with serving(script) as server, sending(f"http://{HOST}:{server.port}/", timeout_s=30.0) as sender:
            task = asyncio.create_task(post(sender))
            await started.wait()
            await sender.close()
            assert (await task).cause == "closed"
            assert (await post(sender)).cause == "closed"
            assert server.connections == 1
        async with serving(answering(OK)) as server, sending(f"http://{HOST}:{server.port}/") as sender:
            await sender.close()
            assert (await post(sender)).cause == "closed"
            assert server.connections == 0

    asyncio.run(scenario())
