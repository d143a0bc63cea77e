"""Connections of one subscriber: kept and shared, to the pinned address, and to the next where one is dead."""

import asyncio
import os
from ipaddress import ip_address

import pytest

from gateway.delivery import attempt as attempt_module
from gateway.delivery.addresses import Address
from gateway.delivery.guard import Guard
from tests.support.attempting import HOST, hang, post, reset_before, sending
from tests.support.servers import OK, Connection, answering, full_backlog, response, serving


def moving(names: list[str], now_s: list[float]) -> Guard:
    """A guard whose one name leads wherever the list says by then, on a clock of the test's."""

    async def resolve(host: str, port: int) -> list[Address]:
        return [ip_address(name) for name in names]

    return Guard(resolve=resolve, monotonic=lambda: now_s[0])


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
        guard = moving(names, now_s)
        async with serving(answering(OK)) as server, sending(f"http://{HOST}:{server.port}/", guard=guard) as sender:
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
        guard = moving(names, now_s)
        async with serving(answering(OK)) as server, sending(f"http://{HOST}:{server.port}/", guard=guard) as sender:
            assert (await post(sender)).cause == "connect"
            names[:] = ["127.0.0.1"]
            now_s[0] += 2
            assert (await post(sender)).cause == "connect"  # still pinned; its failure asks for the look-up
            assert (await post(sender)).delivered

    asyncio.run(scenario())
