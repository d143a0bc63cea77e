"""An office: desk, access and the app on a real, empty store, with what tests put into it."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Literal

import httpx
import msgspec
from litestar import Litestar

from adapters.contract import Source
from gateway.config import (
    AlertSettings,
    Config,
    GatewaySettings,
    SourceSettings,
    StoreSettings,
    SubscriberSettings,
    Token,
    hash_token,
)
from gateway.config_file.written import read_written
from gateway.delivery.guard import Guard
from gateway.operate.access import Access
from gateway.operate.api import api_routes, exception_handlers, openapi_config
from gateway.operate.dashboard import page_routes
from gateway.operate.desk import Desk
from gateway.operate.gate import Door
from gateway.operate.health import health_routes
from gateway.operate.metrics import metrics_routes
from gateway.operate.processes import Process, resources
from gateway.operate.refusals import count_refused
from gateway.operate.replaying import ReplayDesk
from gateway.store.connection import Store
from gateway.store.embedded import EmbeddedStore
from gateway.store.firsts import First
from gateway.store.layout import Keys, partition_of, tags
from gateway.store.log import Batch, Kept, KeptRequest, NewEvent, PartitionLog
from gateway.store.parked import Change, SubscriberStore
from gateway.store.visits import VisitBook
from schemas.event import FAMILY_OF, SCHEMA_VERSION, Event, Provenance, event_id
from schemas.timestamps import format_ms

READ_TOKEN = "read-token-for-tests-000000"
OPERATE_TOKEN = "operate-token-for-tests-0000"
SOURCE_SECRET = "the-secret-of-enviaai-br"
SUBSCRIBER_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW_MS = 1_770_120_000_000


class Deliveries:
    """A process that delivers nothing and says so."""

    def __init__(self) -> None:
        self.lanes: dict[str, Any] = {}


class Stats(msgspec.Struct):
    """As the endpoint's."""

    answers: dict[int, int]
    bytes: int = 0


class Office:
    """Everything an operator meets, on one store."""

    def __init__(self, settings: StoreSettings, config: Config, url: str) -> None:
        self.config = config
        self.now_ms = NOW_MS
        self.clock_s = 0.0
        self.store = Store(settings, url)
        self.keys = [Keys(tag) for tag in tags(settings.partitions)]
        self.logs = [PartitionLog(self.store, keys) for keys in self.keys]
        self.deliveries = Deliveries()
        self.stats = Stats({200: 3, 401: 1}, 1_234)
        self.degraded: dict[str, str] = {}
        self.desk = Desk(
            config=config,
            store=self.store,
            keys=self.keys,
            logs=self.logs,
            wall_ms=lambda: self.now_ms,
            here=lambda: Process(
                pid=1,
                answers=self.stats.answers,
                received_bytes=self.stats.bytes,
                refused_changes=self.desk.sight.refused_changes,
                lanes=self.deliveries.lanes,
                resources=resources(),
            ),
        )
        self.replay_desk = ReplayDesk(
            sight=self.desk.sight,
            guard=Guard(),
            read=lambda name, written: read_written(name, written, Path(), {}, {}),
            data_dir=Path(),
            monotonic=lambda: self.clock_s,
            random_bytes=bytes,
        )
        self.access = Access(
            [
                Token(name="grafana", role="read", secret_sha256=hash_token(READ_TOKEN)),
                Token(name="ops", role="operate", secret_sha256=hash_token(OPERATE_TOKEN)),
            ],
            VisitBook(self.store, self.keys[0]),
            wall_ms=lambda: self.now_ms,
            secure_cookie=False,
        )
        self.door = Door(self.access, monotonic=lambda: self.clock_s)
        self.app = Litestar(
            [
                *health_routes(self.readiness),
                *api_routes(self.desk, self.door),
                *metrics_routes(self.desk, self.door),
                *page_routes(self.desk, self.door, self.replay_desk),
            ],
            openapi_config=openapi_config(self.door),
            exception_handlers=exception_handlers(),
            after_exception=[count_refused(self.desk.sight.refused_changes)],
        )
        self.nobody = self.client(None)
        self.reader = self.client(READ_TOKEN)
        self.operator = self.client(OPERATE_TOKEN)

    async def readiness(self) -> dict[str, str]:
        """What a test put there."""
        return self.degraded

    def client(self, token: str | None) -> httpx.AsyncClient:
        """A client of the app, with or without a token."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)  # type: ignore[arg-type]  # same ASGI, another alias
        return httpx.AsyncClient(transport=transport, base_url="http://gateway.test", headers=headers)

    async def log_event(self, number: int, event_type: str = "message.received", **fields: Any) -> Event:
        """Log one event, as the intake would."""
        event = make_event(number, event_type, **fields)
        return await self.log_made(event, {"number": number, "from": "5511999999999"})

    async def log_made(self, event: Event, raw: Any) -> Event:
        """Log an event that was made elsewhere."""
        partition = partition_of(event.source, event.ordering_key, event.id, len(self.logs))
        new = NewEvent(event.id, event.source, 3_600, msgspec.json.encode(event), msgspec.json.encode(raw))
        log = self.logs[partition]
        await log.commit(log.next_batch(), Batch([new], [(event.source, "accepted", 1)], [], []))
        return event

    async def keep(self, shelf: Literal["quarantined", "rejected"], number: int, body: bytes, **fields: Any) -> None:
        """Keep one request with its bytes, as the intake would."""
        meta = Kept(
            **{
                "request": f"req_{number:020x}",
                "source": "enviaai-br",
                "adapter": "enviaai",
                "received_at": format_ms(self.now_ms),
                "reason": "the body is not JSON",
                "headers": (("content-type", "application/json"), ("x-enviaai-signature", "sha256=" + "ab" * 32)),
                "client_ip": "192.0.2.7",
                "verified": "hmac-sha256" if shelf == "quarantined" else None,
                **fields,
            }
        )
        kept = [KeptRequest(meta, body)]
        batch = Batch([], [("enviaai-br", shelf, 1)], [], [])
        if shelf == "quarantined":
            batch.quarantined = kept
        else:
            batch.rejected = kept
        await self.logs[0].commit(self.logs[0].next_batch(), batch)

    async def subscribe(self, name: str, start: str | int = 0) -> None:
        """Give a subscriber its cursor in every partition."""
        for keys in self.keys:
            await SubscriberStore(self.store, keys, name).subscribe(start, self.now_ms)

    async def settle(
        self,
        name: str,
        to: int,
        *changes: Change,
        delivered: int = 0,
        filtered: int = 0,
        partition: int = 0,
        firsts: Sequence[First] = (),
    ) -> None:
        """Settle as the delivering process would, with a lease of its own."""
        keys = self.keys[partition]
        state = await self.store.script("lease", [keys.state], ["test/host/0/1/1/x", 10_000, ""])
        subscriber = SubscriberStore(self.store, keys, name)
        cursor = int(await self.store.call("HGET", subscriber.keys.sub, "cursor"))
        await self.store.call("HDEL", subscriber.keys.sub, "settle")  # each call here numbers its settles anew
        await subscriber.settle(
            1,
            int(state[1]),
            cursor,
            to,
            delivered=delivered,
            filtered=filtered,
            discarded=0,
            changes=changes,
            now_ms=self.now_ms,
            firsts=firsts,
        )


def make_event(number: int, event_type: str = "message.received", **fields: Any) -> Event:
    """A canonical event, complete."""
    received_ms = NOW_MS - 60_000 + number * 10
    family: Any = FAMILY_OF[event_type]
    data = fields.pop("data", None) or family()
    source = fields.pop("source", "enviaai-br")
    return Event(
        **{
            "id": event_id([source, event_type, str(number)]),
            "type": event_type,
            "schema": SCHEMA_VERSION,
            "occurred_at": None,
            "received_at": format_ms(received_ms),
            "provider": "enviaai",
            "source": source,
            "account": "inst_xyz789",
            "channel": "whatsapp",
            "ordering_key": None,
            "origin": "live",
            "data": data,
            "provenance": Provenance(
                provider_type=event_type,
                provider_id=None,
                adapter="enviaai/1",
                verified="hmac-sha256",
                raw_sha256="0" * 64,
            ),
            **fields,
        }
    )


def make_config(settings: StoreSettings, **subscribers: dict[str, Any]) -> Config:
    """One source, and the subscribers given (``crm`` without)."""
    wanted = subscribers or {"crm": {}}
    return Config(
        path=Path("gateway.toml"),
        gateway=GatewaySettings(),
        store=settings,
        sources={
            "enviaai-br": SourceSettings(
                adapter="enviaai", source=Source(name="enviaai-br", secrets=(SOURCE_SECRET.encode(),))
            )
        },
        subscribers={
            name: SubscriberSettings(
                name=name, url="https://crm.example.com/hooks?key=hidden", secrets=(SUBSCRIBER_SECRET,), **given
            )
            for name, given in wanted.items()
        },
        alerts=AlertSettings(),
    )


@contextlib.asynccontextmanager
async def office(
    settings: StoreSettings, *, partitions: int = 1, away: bool = False, **subscribers: dict[str, Any]
) -> AsyncIterator[Office]:
    """An office on an empty store, or on one that is ``away``."""
    url = "unix:///nowhere/valkey.sock" if away else EmbeddedStore(settings).url
    settings = msgspec.structs.replace(settings, partitions=partitions)
    made = Office(settings, make_config(settings, **subscribers), url)
    try:
        if not away:
            await made.store.call("FLUSHALL")
        yield made
    finally:
        for client in (made.nobody, made.reader, made.operator):
            await client.aclose()
        await made.store.close()
