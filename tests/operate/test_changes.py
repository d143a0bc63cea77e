"""The audit log: every change is in it, with who and from where, before and after, and never without its change."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.config import StoreSettings
from gateway.errors import StoreUnavailable
from gateway.store import changes as store_changes
from gateway.store.changes import TEXT, VALUES, Change, Changes
from tests.operate.office import OPERATE_TOKEN, office
from tests.operate.staff import WHSEC, settings, staff
from tests.operate.test_dead_api import bury
from tests.operate.test_gate import log_in


async def listed(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """All of it, the newest first."""
    answer = await client.get("/api/changes?limit=1000")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def test_every_change_of_a_subscriber_is_told_with_before_and_after(tmp_path: Path) -> None:
    """Made, changed, paused, resumed, deleted; what was refused in between is not in it. Only what differs is told."""

    async def run() -> None:
        async with staff(tmp_path, {}) as at:
            made = {"name": "crm", "url": "https://crm.example.com/", "headers": {"x-key": "SECRET-IN-HEADER"}}
            secret = (await at.operator.post("/api/subscribers", json=made)).json()["secret"]
            assert secret.startswith("whsec_")
            await at.operator.post("/api/subscribers", json=made)  # a conflict
            await at.reader.post("/api/subscribers/crm/pause", json={})
            await at.operator.patch("/api/subscribers/crm", json={"concurrency": 4, "types": ["message.*"]})
            await at.operator.post("/api/subscribers/crm/pause", json={"reason": "deploying"})
            await at.operator.post("/api/subscribers/crm/resume", json={})
            await at.operator.delete("/api/subscribers/crm?forget=true")
            found = await listed(at.reader)
            assert [each["what"] for each in reversed(found)] == [
                *("subscriber.create", "subscriber.change", "subscriber.pause", "subscriber.resume"),
                "subscriber.delete",
            ]
            for each in found:
                assert (each["who"], each["role"], each["address"]) == ("admin_token", "operate", "127.0.0.1")
                assert each["subject"] == "crm"
            deleted, resumed, paused, changed, created = found
            assert created["before"] == {}
            assert created["after"]["url"] == "https://crm.example.com/"
            assert changed["after"] == {"concurrency": 4, "types": ["message.*"]}
            assert changed["before"] == {}, "they were the defaults"
            assert (paused["before"], paused["after"]) == ({"paused": None}, {"paused": "deploying"})
            assert (resumed["before"], resumed["after"]) == ({"paused": "deploying"}, {"paused": None})
            assert deleted["before"]["concurrency"] == 4
            assert deleted["after"] == {"forgotten": True}
            assert secret not in str(found)
            assert "SECRET-IN-HEADER" not in str(found)

    asyncio.run(run())


def test_replays_dead_letters_and_reloads_are_told(tmp_path: Path) -> None:
    """Each order once, with what it was about; dry runs change nothing and are not told."""

    async def run() -> None:
        async with staff(tmp_path, {"crm": settings(9, retry=[])}) as at:
            event = await at.log()
            await at.comes_to(event, "dead_letter")
            for dry_run in (True, False):
                await at.operator.post("/api/dead/drop", json={"all": True, "dry_run": dry_run})
                replay = {"subscriber": "crm", "state": "any", "since": "1h", "dry_run": dry_run}
                answer = await at.operator.post("/api/replays", json=replay)
                assert answer.is_success, answer.text
                toml = tmp_path / "gateway.toml"
                toml.write_text(toml.read_text().replace('timeout = "3s"', 'timeout = "4s"'))
                await at.operator.post("/api/reload", json={"dry_run": dry_run})
            (tmp_path / ".env").write_text((tmp_path / ".env").read_text().replace(WHSEC, "whsec_" + "B" * 32))
            await at.gateway.reloader.reload_quietly("SIGHUP")
            rpl = answer.json()["replay"]["id"]
            await at.operator.post(f"/api/replays/{rpl}/cancel")
            found = [each for each in reversed(await listed(at.operator)) if each["what"] != "replay.cancel"]
            assert [each["what"] for each in found] == ["dead.drop", "replay.create", "reload", "reload"]
            dropped, created, reloaded, again = found
            assert dropped["after"]["matched"] == 1
            assert dropped["after"]["ids"] == [event.id]
            assert (created["subject"], created["after"]["to"]) == (rpl, "crm")
            assert reloaded["before"] == {"subscribers.crm.timeout": '"3s"'}
            assert reloaded["after"] == {"subscribers.crm.timeout": '"4s"'}
            assert (again["who"], again["address"]) == ("SIGHUP", None)
            assert again["after"] == {"subscribers.crm.secrets": "changed"}, "that it changed, never to what"

    asyncio.run(run())


def test_logins_are_told_and_the_page_shows_all(store_settings: StoreSettings) -> None:
    """By token and by link; the page has what the API has, escaped, page after page."""

    async def run() -> None:
        async with office(store_settings) as at:
            await at.nobody.post("/login/", data={"token": OPERATE_TOKEN})
            link = await at.access.new_login("http://gateway.test")
            await at.nobody.get(link)
            await at.nobody.post(link)
            found = await listed(at.operator)
            assert [(each["what"], each["who"]) for each in found] == [("login", "login link"), ("login", "ops")]
            for number in range(60):
                await Changes(at.store, at.keys[0]).add(
                    Change(at_ms=number, who="<b>x", role="operate", what="subscriber.pause", subject=f"s{number}")
                )
            browser, _ = await log_in(at)
            async with browser:
                first = (await browser.get("/changes")).text
                assert "&lt;b&gt;x" in first
                assert "<b>x" not in first
                assert "s59" in first
                assert "s9<" not in first
                following = first.partition('href="/changes?after=')[2].partition('"')[0]
                assert "s9<" in (await browser.get(f"/changes?after={following}")).text
                home = (await browser.get("/")).text
                menu = home.partition("<nav")[2].partition("</nav>")[0]
                assert 'href="/changes"' in menu
                assert '<a href="/changes" aria-current="page">Changes</a>' in first
            pages = [await at.operator.get("/api/changes?limit=50")]
            pages.append(await at.operator.get(f"/api/changes?limit=50&after={pages[0].json()['next']}"))
            assert [len(each.json()["items"]) for each in pages] == [50, 12]
            assert pages[1].json()["next"] is None
            assert (await at.operator.get("/api/changes?after=bDox")).status_code == 400

    asyncio.run(run())


def test_the_log_is_bounded_in_number_and_size(store_settings: StoreSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go; a change with endless values keeps the beginning of each."""
    monkeypatch.setattr(store_changes, "KEPT", 20)

    async def run() -> None:
        async with office(store_settings) as at:
            book = Changes(at.store, at.keys[0])
            for number in range(50):
                values = {f"k{each}": "v" * 10_000 for each in range(1_000)}
                await book.add(Change(at_ms=number, who="ops", role="operate", what="x", after=values))
            kept = await book.list(None, 100)
            assert [each.change.at_ms for each in kept] == list(range(49, 29, -1))
            assert len(kept[0].change.after) == VALUES + 1
            assert len(kept[0].change.after["k0"]) < TEXT + 40

    asyncio.run(run())


def test_no_change_without_its_entry(store_settings: StoreSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the entry cannot be written the change is not made; the positive control is that it is, when it can."""

    async def refuse(_self: Changes, _change: Change) -> None:
        raise StoreUnavailable("no")

    async def run() -> None:
        async with office(store_settings) as at:
            await bury(at, 1)
            with monkeypatch.context() as patched:
                patched.setattr(Changes, "add", refuse)
                answer = await at.operator.post("/api/dead/drop", json={"all": True})
                assert answer.status_code == 503
                login = await at.nobody.post("/login/", data={"token": OPERATE_TOKEN})
                assert login.status_code == 503
                assert "set-cookie" not in login.headers
            assert len((await at.operator.get("/api/dead")).json()["items"]) == 1
            assert (await at.operator.post("/api/dead/drop", json={"all": True})).status_code == 200
            assert (await at.operator.get("/api/dead")).json()["items"] == []

    asyncio.run(run())
