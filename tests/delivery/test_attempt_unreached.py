"""Attempts that reach nobody: no secure connection, no connection, no address, or a guard that says no."""

import asyncio
import datetime as dt

import pytest

from gateway.delivery.addresses import Address
from gateway.delivery.attempt import Outcome
from gateway.delivery.guard import Guard
from gateway.simulator.certificates import issue
from tests.support.attempting import HOST, attempt, post, sending
from tests.support.servers import OK, Connection, answering, full_backlog, refusing, serving


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
        async with sending("https://nowhere.example/?token=hunter2", guard=Guard(resolve=fail)) as sender:
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
