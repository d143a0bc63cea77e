"""A store with a dispatcher that delivers and an API that steers it, in one process, as ``app.py`` wires them."""

import itertools
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from gateway.app import Gateway
from gateway.config import load
from gateway.store.layout import partition_of
from gateway.store.log import Batch, NewEvent
from schemas.event import Event
from tests.operate.office import make_event
from tests.support.delivering import until

WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
READ = "read-token-of-these-tests-0000"


class Staff:
    """A gateway without its socket: its API is called as an ASGI app."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        token = (gateway.config.path.parent / "data" / "admin_token").read_text().strip()
        self.operator = self.client(token)
        self.reader = self.client(READ)
        self._numbers = itertools.count(1)

    def client(self, token: str | None) -> httpx.AsyncClient:
        """A client with or without a token."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(app=self.gateway.app, raise_app_exceptions=False)  # type: ignore[arg-type]  # same ASGI, another alias
        return httpx.AsyncClient(transport=transport, base_url="http://gateway.test", headers=headers)

    async def log(
        self,
        event_type: str = "message.received",
        *,
        event: Event | None = None,
        raw: bytes = b'{"raw":1}',
        **fields: Any,
    ) -> Event:
        """Log one event: a new one, unless it is given."""
        event = event or make_event(next(self._numbers), event_type, **fields)
        logs = self.gateway.logs
        at = logs[partition_of(event.source, event.ordering_key, event.id, len(logs))]
        config = self.gateway.config
        remembered_s = config.remembered_s(event.source) if event.source in config.sources else 3_600
        new = NewEvent(event.id, event.source, remembered_s, msgspec.json.encode(event), raw)
        await at.commit(at.next_batch(), Batch([new], [(event.source, "accepted", 1)], [], []))
        return event

    async def trace(self, event: Event, subscriber: str = "crm") -> dict[str, Any]:
        """One subscriber's part of an event's trace."""
        answer = await self.operator.get(f"/api/events/{event.id}/trace")
        assert answer.status_code == 200, answer.text
        (found,) = [each for each in answer.json()["subscribers"] if each["subscriber"] == subscriber]
        part: dict[str, Any] = found
        return part

    async def comes_to(self, event: Event, state: str, subscriber: str = "crm") -> dict[str, Any]:
        """Wait until the trace says that the event is in this state."""
        found: dict[str, Any] = {}

        async def there() -> bool:
            nonlocal found
            found = await self.trace(event, subscriber)
            return bool(found["state"] == state)

        await until(there)
        return found


async def line(at: Staff, name: str) -> dict[str, int]:
    """One line of the account; empty before it has a cursor."""
    found: dict[str, int] = (await at.operator.get("/api/ledger")).json()["subscribers"].get(name, {})
    return found


async def delivered(at: Staff, name: str, number: int) -> None:
    """Wait until so many are delivered."""

    async def done() -> bool:
        return (await line(at, name)).get("delivered") == number

    await until(done)


def settings(port: int, **more: Any) -> dict[str, Any]:
    """A subscriber on the loopback address, as one writes it."""
    return {
        "url": f"http://127.0.0.1:{port}/hooks",
        "secrets": ["env:W"],
        "allow_networks": ["127.0.0.0/8"],
        "retry": ["50ms", "50ms"],
        "timeout": "3s",
        "start": "beginning",
        **more,
    }


@asynccontextmanager
async def staff(
    folder: Path, subscribers: Mapping[str, dict[str, Any]], *, partitions: int = 1, tables: str = ""
) -> AsyncIterator[Staff]:
    """A gateway that delivers while the block runs. ``subscribers`` are those of the file, ``tables`` what else is."""
    text = (
        f'[[gateway.tokens]]\nname = "grafana"\nrole = "read"\nsecret = "env:R"\n[store]\npartitions = {partitions}\n'
    )
    for name, given in subscribers.items():
        text += f"[subscribers.{name}]\n"
        text += "".join(f"{key} = {msgspec.json.encode(value).decode()}\n" for key, value in given.items())
    (folder / "gateway.toml").write_text(text + tables)
    (folder / ".env").write_text(f"W={WHSEC}\nR={READ}\n")
    (folder / ".env").chmod(0o600)
    gateway = Gateway(load(folder / "gateway.toml", os.environ), role="all", listen=("127.0.0.1", 1))
    await gateway.start()
    at = Staff(gateway)
    await until(lambda: all(dispatcher.holds for dispatcher in gateway.dispatchers))
    try:
        yield at
    finally:
        await at.operator.aclose()
        await at.reader.aclose()
        await gateway.stop()
