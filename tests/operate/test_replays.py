"""Replays over HTTP: what a dry run says, what an order may be, and who may do what."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar

from gateway.config import StoreSettings
from gateway.config_file.written import Read, read_written
from gateway.delivery.addresses import Address
from gateway.delivery.guard import Guard
from gateway.operate.api import api_routes, exception_handlers, replays
from gateway.operate.replaying import ReplayDesk
from gateway.store.replays import KEPT, Replay, Replays, ReplaySpec
from schemas.event import CREDENTIAL_TYPE
from tests.operate.office import NOW_MS, OPERATE_TOKEN, READ_TOKEN, Office, office

HOUR_MS = 3_600_000
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Counter:
    """An office whose API has replays, and the folder where secrets are made."""

    def __init__(self, at: Office, data_dir: Path) -> None:
        self.at = at
        self.data_dir = data_dir
        self.random = 0
        desk = ReplayDesk(
            sight=at.desk.sight,
            guard=Guard(resolve=self.resolve),
            read=self.read,
            data_dir=data_dir,
            monotonic=time.monotonic,
            random_bytes=self.random_bytes,
        )
        self.app = Litestar(api_routes(at.desk, at.door, replays.routes(desk)), exception_handlers=exception_handlers())
        self.replays = Replays(at.store, at.keys[0])

    async def resolve(self, host: str, _: int) -> list[Address]:
        """Names that begin with ``inside`` are."""
        return [ip_address("10.1.2.3" if host.startswith("inside") else "203.0.114.7")]

    def read(self, name: str, written: Mapping[str, Any]) -> Read:
        """As ``app.py`` does."""
        return read_written(name, written, self.data_dir, {"STAGING_SECRET": WHSEC, "OTHER": "no secret"}, {})

    def random_bytes(self, count: int) -> bytes:
        """New ones each time."""
        self.random += 1
        return self.random.to_bytes(count, "big")

    def client(self, token: str) -> httpx.AsyncClient:
        """A client with this token."""
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)  # type: ignore[arg-type]  # same ASGI, another alias
        return httpx.AsyncClient(
            transport=transport, base_url="http://gateway.test", headers={"authorization": f"Bearer {token}"}
        )

    async def order(self, **wanted: Any) -> httpx.Response:
        """Order a replay as an operator."""
        async with self.client(OPERATE_TOKEN) as client:
            return await client.post("/api/replays", json=wanted)

    async def plan(self, **wanted: Any) -> dict[str, Any]:
        """The plan of an order that is sound."""
        answer = await self.order(**wanted, dry_run=True)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["plan"]
        return found

    async def ask(self, method: str, path: str) -> httpx.Response:
        """Ask as an operator."""
        async with self.client(OPERATE_TOKEN) as client:
            return await client.request(method, path)

    def secrets(self) -> list[str]:
        """What lies in the folder of secrets."""
        folder = self.data_dir / "secrets"
        return [path.read_text().strip() for path in folder.iterdir()] if folder.exists() else []


@contextlib.asynccontextmanager
async def counter(settings: StoreSettings, tmp_path: Path, **given: Any) -> AsyncIterator[Counter]:
    """An office with replays."""
    async with office(settings, **given) as at:
        yield Counter(at, tmp_path)


def test_a_dry_run_counts_and_changes_nothing(store_settings: StoreSettings, tmp_path: Path) -> None:
    """By type and source, with the first and the last event and the time it takes; no record, no secret is left."""

    async def run() -> None:
        async with counter(store_settings, tmp_path, partitions=3) as c:
            for number in range(12):
                await c.at.log_event(number, "message.received" if number % 3 else "booking.created")
            last = await c.at.log_event(20, source="other", channel="sms")
            plan = await c.plan(subscriber="crm", all=True, rate="13/m")
            assert (plan["matched"], plan["complete"], plan["seconds"]) == (13, True, 60)
            assert plan["types"] == {"message.received": 9, "booking.created": 4}
            assert plan["sources"] == {"enviaai-br": 12, "other": 1}
            assert plan["last"]["event_id"] == last.id
            assert plan["first"]["event_type"] == "booking.created"
            assert (await c.plan(subscriber="crm", where='event.channel == "sms"'))["matched"] == 1
            assert (await c.plan(subscriber="crm", types=["booking.*"]))["matched"] == 4
            other = await c.plan(subscriber="crm", source="other")
            assert other["matched"] == 1
            assert "no source other is configured; the log is searched for it all the same" in other["notes"]
            (near,) = (await c.plan(to={"url": "https://staging.example.com/hook"}, source="enviaai-bt"))["notes"]
            assert "(did you mean enviaai-br?)" in near
            delivered = (await c.plan(subscriber="crm", state="delivered"))["notes"]
            assert not [note for note in delivered if "--wanted" in note], "its types and condition are asked"
            assert (await c.plan(subscriber="crm", ids=[last.id, last.id[:14]]))["matched"] == 1
            await c.plan(to={"url": "https://staging.example.com/hook"}, all=True)
            assert c.secrets() == []
            assert await c.replays.all() == []

    asyncio.run(run())


def test_times_narrow_what_is_gone_through(store_settings: StoreSettings, tmp_path: Path) -> None:
    """Since is included, until is not; far outside of them the log is not read; what retention took is said."""

    async def run() -> None:
        async with counter(store_settings, tmp_path) as c:
            for number in range(20):
                await c.at.log_event(number * 360_000)  # one an hour
            c.at.now_ms = NOW_MS + 20 * HOUR_MS
            plan = await c.plan(subscriber="crm", since="2026-02-03T15:59:00Z", until="2026-02-03T17:59:00Z")
            assert (plan["matched"], plan["notes"][1:]) == (2, [])
            assert plan["looked_at"] < 5
            assert (await c.plan(subscriber="crm", since="5h"))["matched"] == 4
            await c.at.store.call("XDEL", c.at.keys[0].log, *[f"{seq}-0" for seq in range(1, 11)])
            plan = await c.plan(subscriber="crm", since="3d")
            assert (plan["matched"], plan["expired"]) == (10, 0)
            assert "the log begins at 2026-02-03T21:59:00" in plan["notes"][1]

    asyncio.run(run())


def test_a_replay_of_dead_letters_says_that_it_retries_them(store_settings: StoreSettings, tmp_path: Path) -> None:
    """The equation will move, and the plan says so; to a URL it does not."""

    async def run() -> None:
        async with counter(store_settings, tmp_path) as c:
            plan = await c.plan(subscriber="crm", state="dead")
            assert plan["retries_dead"]
            assert "gateway dead retry" in plan["notes"][0]
            to = {"url": "https://staging.example.com/hook", "secret": "env:STAGING_SECRET"}
            plan = await c.plan(subscriber="crm", state="dead", to=to)
            assert (plan["retries_dead"], plan["notes"]) == (False, [])

    asyncio.run(run())


def test_withheld_credentials_are_said(store_settings: StoreSettings, tmp_path: Path) -> None:
    """Events that the target may not have are not matched, but not passed over in silence either."""

    async def run() -> None:
        async with counter(store_settings, tmp_path) as c:
            await c.at.log_event(0, CREDENTIAL_TYPE)
            plan = await c.plan(subscriber="crm", all=True)
            assert (plan["matched"], plan["withheld"]) == (0, 1)
            assert CREDENTIAL_TYPE in plan["notes"][1]

    asyncio.run(run())


def test_an_order_is_kept_listed_cancelled_and_resumed(store_settings: StoreSettings, tmp_path: Path) -> None:
    """A record of what was asked for, by whom; cancel and resume only where the state allows it."""

    async def run() -> None:
        async with counter(store_settings, tmp_path) as c:
            await c.at.log_event(0)
            made = [(await c.order(subscriber="crm", all=True)).json()["replay"] for _ in range(3)]
            assert {(each["state"], each["created_by"], each["subscriber"]) for each in made} == {
                ("planned", "ops", "crm")
            }
            page = (await c.ask("GET", "/api/replays?limit=2")).json()
            rest = (await c.ask("GET", f"/api/replays?limit=2&after={page['next']}")).json()
            assert {each["id"] for each in page["items"] + rest["items"]} == {each["id"] for each in made}
            assert (len(page["items"]), rest["next"]) == (2, None)
            one = made[0]["id"]
            assert (await c.ask("POST", f"/api/replays/{one}/resume")).status_code == 409
            assert (await c.ask("POST", f"/api/replays/{one}/cancel")).json()["state"] == "cancelled"
            assert one not in (await c.replays.runnable()).ids
            assert (await c.ask("POST", f"/api/replays/{one}/cancel")).status_code == 409
            assert (await c.ask("POST", f"/api/replays/{one}/resume")).json()["state"] == "planned"
            assert one in (await c.replays.runnable()).ids
            assert (await c.ask("GET", f"/api/replays/{one}")).json()["id"] == one
            assert (await c.ask("GET", "/api/replays/rpl_")).status_code == 409
            assert (await c.ask("GET", "/api/replays/rpl_zzz")).status_code == 404

    asyncio.run(run())


def test_a_secret_that_was_made_is_told_once_and_stands_in_no_key(
    store_settings: StoreSettings, tmp_path: Path
) -> None:
    """The record has a reference to a file for its owner alone; the API never shows it again."""

    async def run() -> None:
        async with counter(store_settings, tmp_path) as c:
            await c.at.log_event(0)
            answer = (await c.order(to={"url": "https://staging.example.com/h"}, all=True)).json()
            assert answer["secret"].startswith("whsec_")
            assert c.secrets() == [answer["secret"]]
            (path,) = (tmp_path / "secrets").iterdir()
            assert path.stat().st_mode & 0o777 == 0o600
            stored = await c.at.store.call("HGET", c.at.keys[0].replays, answer["replay"]["id"])
            assert answer["secret"].encode() not in stored
            again = (await c.ask("GET", f"/api/replays/{answer['replay']['id']}")).text
            assert "secret" not in again
            given = await c.order(to={"url": "https://s.example.com/h", "secret": "env:STAGING_SECRET"}, all=True)
            assert given.json()["secret"] is None
            assert WHSEC.encode() not in await c.at.store.call(
                "HGET", c.at.keys[0].replays, given.json()["replay"]["id"]
            )

    asyncio.run(run())


@pytest.mark.parametrize(
    ("wanted", "at", "words"),
    [
        ({"subscriber": "crm"}, "", "say which events"),
        ({"all": True}, "", "say where to"),
        ({"subscriber": "cmr", "all": True}, "subscriber", "crm"),
        ({"subscriber": "crm", "types": ["mesage.*"]}, "types[0]", "message.*"),
        ({"subscriber": "crm", "since": "soon"}, "since", "15m"),
        ({"subscriber": "crm", "since": "1h", "until": "2h"}, "since", "before until"),
        ({"subscriber": "crm", "all": True, "rate": "fast"}, "rate", "50/s"),
        ({"subscriber": "crm", "where": "event.chanel == 'x'"}, "where", "channel"),
        ({"to": {"url": "https://s.example.com/"}, "state": "dead"}, "subscriber", "is missing"),
        ({"to": {"url": "https://169.254.169.254/latest"}, "all": True}, "to.url", "metadata"),
        ({"to": {"url": "https://0xa9fea9fe/"}, "all": True}, "to.url", "metadata"),
        ({"to": {"url": "https://inside.example.com/"}, "all": True}, "to.url", "10.1.2.3"),
        ({"to": {"url": "http://s.example.com/"}, "all": True}, "to.url", "http"),
        ({"to": {"url": "https://s.example.com/?key=1"}, "all": True}, "to.url", "SUBSCRIBER_NAME"),
        ({"to": {"url": "https://s.example.com/", "secret": "whsec_abc"}, "all": True}, "to.secret", "reference"),
        ({"to": {"url": "https://s.example.com/", "secret": "env:OTHER"}, "all": True}, "to.secret", "whsec_"),
        ({"to": {"url": "https://s.example.com/", "secret": "file:/etc/passwd"}, "all": True}, "to.secret", "file:"),
    ],
)
def test_a_mistaken_order_is_refused_with_its_place(
    store_settings: StoreSettings, tmp_path: Path, wanted: dict[str, Any], at: str, words: str
) -> None:
    """400, the field, and what to write; nothing is kept, not even a secret that was made for it."""

    async def run() -> None:
        async with counter(store_settings, tmp_path) as c:
            answer = await c.order(**wanted)
            assert answer.status_code == 400
            assert answer.headers["content-type"] == "application/problem+json"
            (mistake,) = answer.json()["mistakes"]
            assert mistake["at"] == at
            assert words in mistake["why"]
            assert await c.replays.all() == []
            assert c.secrets() == []

    asyncio.run(run())


def test_a_private_target_is_allowed_where_it_is_named(store_settings: StoreSettings, tmp_path: Path) -> None:
    """The positive control of the refusals above; and all mistakes of an order are named at once."""

    async def run() -> None:
        async with counter(store_settings, tmp_path) as c:
            to = {"url": "http://inside.example.com/", "allow_networks": ["10.1.0.0/16"]}
            assert (await c.plan(to=to, all=True))["matched"] == 0
            answer = await c.order(types=["x"], rate="y", since="z", where="event.")
            assert len(answer.json()["mistakes"]) == 5

    asyncio.run(run())


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"al":true}', b'{"ids":[1]}', b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_order_is_a_400(store_settings: StoreSettings, tmp_path: Path, body: bytes) -> None:
    """Whatever is wrong with it."""

    async def run() -> None:
        async with counter(store_settings, tmp_path) as c, c.client(OPERATE_TOKEN) as client:
            answer = await client.post("/api/replays", content=body)
            assert (answer.status_code, answer.headers["content-type"]) in {
                (400, "application/problem+json"),
                (413, "application/problem+json"),
            }

    asyncio.run(run())


def test_who_may_only_look_cannot_order(store_settings: StoreSettings, tmp_path: Path) -> None:
    """The role read sees replays and makes none, not even a dry run; nobody sees nothing."""

    async def run() -> None:
        async with (
            counter(store_settings, tmp_path) as c,
            c.client(READ_TOKEN) as reader,
            c.client("wrong") as nobody,
        ):
            assert (await reader.get("/api/replays")).status_code == 200
            for path in ("/api/replays", "/api/replays/rpl_a/cancel", "/api/replays/rpl_a/resume"):
                assert (await reader.post(path, json={"all": True, "dry_run": True})).status_code == 403
            assert (await nobody.get("/api/replays")).status_code == 401

    asyncio.run(run())


def test_an_event_that_the_log_does_not_hold_is_named(store_settings: StoreSettings, tmp_path: Path) -> None:
    """404, with the id."""

    async def run() -> None:
        async with counter(store_settings, tmp_path) as c:
            answer = await c.order(subscriber="crm", ids=["evt_" + "a" * 26])
            assert answer.status_code == 404
            assert "evt_" + "a" * 26 in answer.json()["detail"]

    asyncio.run(run())


def test_old_records_go_and_those_that_run_stay(store_settings: StoreSettings, tmp_path: Path) -> None:
    """The store keeps 200; one that still runs is never forgotten."""

    async def run() -> None:
        async with counter(store_settings, tmp_path) as c:
            for number in range(KEPT + 5):
                replay = Replay(
                    id=f"rpl_{number}",
                    spec=ReplaySpec(subscriber="crm"),
                    created_ms=number,
                    created_by="test",
                    starts=[0],
                    ends=[0],
                    positions=[0],
                    state="running" if number == 0 else "done",
                )
                assert await c.replays.save(replay, 0)
            assert (await c.order(subscriber="crm", all=True)).status_code == 200
            kept = {each.replay.id for each in await c.replays.all()}
            assert "rpl_0" in kept
            assert "rpl_1" not in kept
            assert len(kept) == KEPT + 2

    asyncio.run(run())
