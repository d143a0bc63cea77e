"""Who may well be back is tried at once: after a test event that was answered 2xx, and with another URL or secret."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.config import Config, SubscriberSettings, load
from gateway.config_file.written import read_written
from gateway.delivery import roster
from gateway.delivery.breaker import BreakerState
from gateway.errors import StoreUnavailable
from gateway.store.subscribers import StoredSubscribers, Written
from schemas.timestamps import format_ms
from tests.operate.staff import Staff, delivered, settings, staff
from tests.support.delivering import until, wall_ms
from tests.support.servers import Connection, response, serving


class Mended:
    """A subscriber that answers 500 until it is mended."""

    def __init__(self) -> None:
        self.well = False
        self.took: list[str] = []

    async def script(self, connection: Connection) -> None:
        """Answer one connection."""
        while True:
            request = await connection.request()
            if self.well and request.headers.get("webhook-id"):
                self.took.append(request.headers["webhook-id"])
            await connection.write(response("204 No Content" if self.well else "500 Internal Server Error"))


async def log_now(at: Staff, **fields: Any) -> str:
    """Log an event that is too young for ``max_lag``; its id."""
    return (await at.log(received_at=format_ms(wall_ms()), **fields)).id


async def breaker_waits(at: Staff) -> None:
    """Wait until the breaker is open, and let its next probe be far away."""
    sub, store = at.gateway.keys[0].subscriber("crm").sub, at.gateway.store

    async def is_open() -> bool:
        saved = await store.call("HGET", sub, "breaker")
        return bool(saved) and msgspec.json.decode(saved, type=BreakerState).open

    await until(is_open)
    now_ms = wall_ms()
    asked_s = 3_600.0
    far = BreakerState(open=True, since_ms=now_ms, probe_ms=now_ms + 3_600_000, wait_s=300, asked_s=asked_s, cause="x")
    await store.call("HSET", sub, "breaker", msgspec.json.encode(far))
    lane = at.gateway.dispatchers[0]
    await until(lambda: (lane.lane_status("crm") or {})["breaker"]["asked_s"] == asked_s)


@pytest.mark.parametrize(("how", "opens"), [("test", False), ("test", True), ("url", True), ("secret", False)])
def test_what_waits_for_hours_goes_at_once_and_in_order(tmp_path: Path, how: str, opens: bool) -> None:
    """Parked for an hour, others of its key held behind it, the breaker closed or open: all arrive once, in order."""

    async def run() -> None:
        crm = Mended()
        async with (
            serving(crm.script) as server,
            staff(tmp_path, {"crm": settings(server.port, retry=["1h", "1h"], order="key")}, partitions=2) as at,
        ):
            chats = [f"chat {number}" for number in range(12 if opens else 2)]
            logged = {chat: [await log_now(at, ordering_key=chat) for _ in range(2)] for chat in chats}
            if opens:
                await breaker_waits(at)
            else:

                async def all_wait() -> bool:
                    (item,) = (await at.operator.get("/api/subscribers")).json()["items"]
                    return "2 failed and wait for another attempt" in item["words"]

                await until(all_wait)
            crm.well = True
            if how == "test":
                tried = (await at.operator.post("/api/subscribers/crm/test")).json()
                assert tried["delivered"]
            elif how == "url":
                file = tmp_path / "gateway.toml"
                file.write_text(file.read_text().replace("/hooks", "/new"))
                assert (await at.operator.post("/api/reload")).is_success
            else:
                (tmp_path / ".env").write_text((tmp_path / ".env").read_text().replace("W=whsec_M", "W=whsec_N"))
                assert (await at.operator.post("/api/reload")).is_success
            await delivered(at, "crm", 2 * len(chats))
            took = [name for name in crm.took if any(name in ids for ids in logged.values())]
            for ids in logged.values():
                assert [name for name in took if name in ids] == ids
            assert (await at.operator.get("/api/ledger")).json()["unaccounted"] == 0

    asyncio.run(run())


def test_one_that_fails_its_test_goes_on_waiting(tmp_path: Path) -> None:
    """Only 2xx is a reason to hurry: its breaker and what is parked keep their times."""

    async def run() -> None:
        crm = Mended()
        async with (
            serving(crm.script) as server,
            staff(tmp_path, {"crm": settings(server.port, retry=["1h", "1h"])}) as at,
        ):
            for _ in range(12):
                await log_now(at)
            await breaker_waits(at)
            keys, store = at.gateway.keys[0].subscriber("crm"), at.gateway.store
            times = [("HGET", keys.sub, "breaker"), ("ZRANGE", keys.due, 0, -1, "WITHSCORES")]
            before = await store.many(times)
            assert not (await at.operator.post("/api/subscribers/crm/test")).json()["delivered"]
            assert await store.many(times) == before

    asyncio.run(run())


class Empty(StoredSubscribers):
    """A store without subscribers of its own."""

    def __init__(self) -> None:
        super().__init__(None, [])  # type: ignore[arg-type]  # neither is used by what stands here

    async def version(self) -> int:
        """Never another."""
        return 0

    async def read(self) -> Written:
        """None."""
        return Written(0, {}, frozenset())


def test_only_another_url_or_secret_is_a_reason_and_it_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the first list, a new subscriber or other settings; and once more if the store was away just then."""
    monkeypatch.setattr(roster, "LOOK_S", 0.01)
    (tmp_path / "gateway.toml").write_text("")
    config = load(tmp_path / "gateway.toml", {})
    tried: list[tuple[str, int]] = []
    applied: list[int] = []

    def having(*subscribers: SubscriberSettings) -> Config:
        return msgspec.structs.replace(config, subscribers={each.name: each for each in subscribers})

    async def apply(_: Sequence[SubscriberSettings]) -> None:
        applied.append(1)

    async def hurry(name: str) -> None:
        tried.append((name, len(applied)))
        if len(tried) == 1:
            raise StoreUnavailable("away for a moment")

    async def run() -> None:
        crm = SubscriberSettings(name="crm", url="https://one.example/", secrets=("whsec_x",))
        other = msgspec.structs.replace(crm, name="other")
        followed = roster.Roster(
            having(crm),
            Empty(),
            read=lambda name, written: read_written(name, written, tmp_path, {}, {}),
            apply=apply,
            changed=lambda _: None,
            hurry=hurry,
        )
        await followed.start()
        try:
            await followed.use_file(having(crm, other))
            await followed.use_file(having(msgspec.structs.replace(crm, types=("booking.*",)), other))
            await followed.use_file(having(crm, msgspec.structs.replace(other, url="https://two.example/")))
            await until(lambda: len(tried) == 2)
            await followed.use_file(having(msgspec.structs.replace(crm, secrets=("whsec_y",)), other))
            await until(lambda: len(tried) == 4)
        finally:
            await followed.stop()

    asyncio.run(run())
    assert tried[:2] == [("other", 4)] * 2, "after the new list is in force"
    assert sorted(tried[2:]) == [("crm", 5), ("other", 5)]
