"""One attempt against real sockets: what is sent, and that whatever happens is an outcome."""

import asyncio
import json
import time

import pytest
from standardwebhooks.webhooks import Webhook

from gateway.config import SubscriberSettings
from gateway.delivery.addresses import Address
from gateway.delivery.attempt import Sender, encode
from gateway.delivery.guard import Guard
from gateway.errors import ConfigError
from tests.support.attempting import BODY, HOST, SECRET, attempt, post, sending
from tests.support.servers import OK, Connection, answering, serving


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

        async with sending("https://crm.example/", guard=Guard(resolve=never)) as sender:
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
