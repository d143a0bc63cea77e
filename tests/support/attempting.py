"""Attempts of a sender at servers of ours: how one is made, and what it is told to send."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from typing import Any

from gateway.config import SubscriberSettings
from gateway.delivery.addresses import Address
from gateway.delivery.attempt import Outcome, Sender
from gateway.delivery.guard import Guard
from tests.support.servers import Connection, Script, Server, serving

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
async def sending(
    url: str, *addresses: str, guard: Guard | None = None, ca_pem: bytes | None = None, **settings: Any
) -> AsyncIterator[Sender]:
    """A sender to ``url``, whose name leads to ``addresses`` (127.0.0.1), unless ``guard`` knows better."""
    values: dict[str, Any] = {
        "name": "crm",
        "url": url,
        "secrets": (SECRET,),
        "timeout_s": 1.0,
        "allow_networks": LOOPBACK,
    } | settings
    sender = Sender(
        SubscriberSettings(**values),
        guard or Guard(resolve=resolver(*(addresses or ("127.0.0.1",)))),
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


async def reset_before(connection: Connection) -> None:
    """Resets instead of answering."""
    await connection.request()
    connection.reset()


async def hang(connection: Connection) -> None:
    """Reads and says nothing."""
    await connection.request()
    await connection.gone()
