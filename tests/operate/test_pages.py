"""The pages as a browser gets them: safe, escaped, linked, and useful when empty."""

import asyncio
import html.parser
import re
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from gateway.config import StoreSettings
from gateway.operate.dashboard.rendering import pretty
from gateway.operate.gate import COOKIE
from gateway.store.replays import Replay, Replays, ReplaySpec
from schemas.event import Content, Message, Party
from tests.operate.office import OPERATE_TOKEN, Office, office
from tests.operate.test_dead_api import bury
from tests.operate.test_gate import log_in

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"


class Page(html.parser.HTMLParser):
    """What a page contains, as far as these tests look."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self._inside: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else None

    def handle_data(self, data: str) -> None:
        """Note what stands in scripts and styles."""
        if self._inside and data.strip():
            self.inline.append(data)

    def handle_endtag(self, tag: str) -> None:
        """Outside again."""
        self._inside = None

    def values(self, *names: str) -> list[str]:
        """All values of these attributes."""
        return [value for _, attrs in self.tags for name, value in attrs.items() if name in names and value]


async def fill(at: Office) -> list[str]:
    """An event with hostile text everywhere, dead letters, quarantine and rejected. Returns paths of all pages."""
    data = Message(
        message_id=HOSTILE,
        sender=Party(id=HOSTILE, name=HOSTILE),
        content=Content(type="text", text=HOSTILE),
        metadata={HOSTILE: HOSTILE},
    )
    ids = await bury(at, 2, cause="http_500")
    event = await at.log_event(9, account=HOSTILE, channel=HOSTILE, data=data)
    await at.keep("quarantined", 1, HOSTILE.encode(), reason=HOSTILE, headers=(("user-agent", HOSTILE), (HOSTILE, "x")))
    await at.keep("rejected", 2, HOSTILE.encode())
    replay = Replay(
        id="rpl_a", spec=ReplaySpec(subscriber=HOSTILE, where=HOSTILE), created_ms=at.now_ms, created_by=HOSTILE,
        starts=[0], ends=[3], positions=[1], state="paused", last_error=HOSTILE,
    )  # fmt: skip
    assert await Replays(at.store, at.keys[0]).save(replay, 0)
    return [
        "/", "/events", "/events?type=message.*&since=1h", f"/events/{event.id}", f"/events/{ids[0]}", "/dead",
        "/dead?subscriber=crm&cause=http_500", "/replays", "/changes", "/quarantine", "/rejected", "/login",
        "/login/used",
    ]  # fmt: skip


def test_no_page_lets_anything_in_from_outside(store_settings: StoreSettings) -> None:
    """Strict policy on every page; no inline script or style, no handler attribute, no address of another host."""

    async def run() -> None:
        async with office(store_settings) as at:
            browser, _ = await log_in(at)
            async with browser:
                for path in [*await fill(at), "/nowhere/at/all", "/events/evt_0"]:
                    answer = await browser.get(path)
                    policy = answer.headers["content-security-policy"]
                    assert policy.startswith("default-src 'none'"), path
                    assert "frame-ancestors 'none'" in policy
                    assert "unsafe" not in policy
                    assert answer.headers["x-content-type-options"] == "nosniff"
                    kind = answer.headers["content-type"]
                    assert kind.count("charset=utf-8") == kind.startswith("text/"), path  # said once
                    assert answer.headers["referrer-policy"] == "no-referrer"
                    assert answer.headers["cache-control"] == "no-store"
                    if not answer.headers["content-type"].startswith("text/html"):
                        continue
                    page = Page(answer.text)
                    assert page.inline == [], path
                    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")], path
                    assert page.values("style") == []
                    for address in page.values("href", "src", "action", "formaction"):
                        assert re.match(r"(/(?!/)|#|data:,)", address), (path, address)

    asyncio.run(run())


def test_a_replay_is_resumed_and_cancelled_from_its_page(store_settings: StoreSettings) -> None:
    """The page says how far it is; a button changes it once, a second click is refused in words, and who may only look
    has no button."""

    async def run() -> None:
        async with office(store_settings) as at:
            await fill(at)
            browser, session = await log_in(at)
            async with browser:
                shown = (await browser.get("/replays")).text
                assert "33 %" in shown
                assert 'action="/replays/resume"' in shown
                form = {"id": "rpl_a", "csrf_token": session.csrf_token}
                for word, state in (("resume", "planned"), ("cancel", "cancelled")):
                    answer = await browser.post(f"/replays/{word}", data=form)
                    assert (answer.status_code, answer.headers["location"]) == (303, "/replays")
                    assert (await at.replay_desk.get("rpl_a")).state == state
                again = await browser.post("/replays/cancel", data=form)
                assert (again.status_code, "rpl_a is cancelled; nothing was changed" in again.text) == (409, True)
                assert (await browser.post("/replays/resume", data={"id": "rpl_a"})).status_code == 403
            looked = await at.reader.get("/replays")
            assert "33 %" in looked.text
            assert "<button" not in looked.text

    asyncio.run(run())


def test_hostile_text_stays_text(store_settings: StoreSettings) -> None:
    """What senders and subscribers write is shown, escaped, on every page that shows it."""

    async def run() -> None:
        async with office(store_settings) as at:
            browser, _ = await log_in(at)
            async with browser:
                shown = 0
                for path in await fill(at):
                    answer = await browser.get(path)
                    assert "<script>alert" not in answer.text, path
                    assert "<img" not in answer.text, path
                    shown += "&lt;script&gt;alert" in answer.text
                assert shown >= 5
                for path in ("/events", "/dead"):
                    answer = await browser.get(
                        path, params={"source": HOSTILE, "subscriber": HOSTILE, "cause": HOSTILE}
                    )
                    assert "<script>alert" not in answer.text

    asyncio.run(run())


def test_every_link_on_every_page_leads_somewhere(store_settings: StoreSettings) -> None:
    """Following all links of the site finds no dead end."""

    async def run() -> None:
        async with office(store_settings) as at:
            browser, _ = await log_in(at)
            async with browser:
                seen: set[str] = set()
                waiting = await fill(at)
                while waiting:
                    path = waiting.pop()
                    if path in seen or path == "/login/used":
                        continue
                    seen.add(path)
                    answer = await browser.get(path)
                    assert answer.status_code == 200, path
                    if answer.headers["content-type"].startswith("text/html"):
                        links = Page(answer.text).values("href", "src")
                        waiting += [link for link in links if link.startswith("/")]
                assert {"/", "/events", "/static/page.js", "/login/style.css"} <= seen
                assert len(seen) > 12

    asyncio.run(run())


def test_the_home_page_tells_the_equation(store_settings: StoreSettings) -> None:
    """Nothing is lost, and why; with an entry gone it says how many, and the command that helps."""

    async def run() -> None:
        async with office(store_settings) as at:
            browser, _ = await log_in(at)
            async with browser:
                await bury(at, 2)
                text = (await browser.get("/")).text
                assert "Nothing is lost." in text
                assert "crm answers 500: 2 dead letters" in text
                assert "gateway dead list --subscriber crm" in text
                await at.store.call("XDEL", at.keys[0].log, "1-0")
                at.now_ms += 1_000  # a status a second old is shown again
                text = (await browser.get("/")).text
                assert "1 event is unaccounted for." in text
                assert "gateway audit" in text
                assert "Nothing is lost" not in text

    asyncio.run(run())


def test_empty_pages_carry_the_next_command(store_settings: StoreSettings) -> None:
    """An operator who finds nothing is told what to do next."""

    async def run() -> None:
        async with office(store_settings) as at:
            browser, _ = await log_in(at)
            async with browser:
                for path, command in (
                    ("/", "gateway urls"),
                    ("/", "gateway send"),
                    ("/events", "gateway send"),
                    ("/dead", "gateway status"),
                    ("/rejected", "gateway urls"),
                ):
                    assert f"<code>{command}" in (await browser.get(path)).text, path

    asyncio.run(run())


def test_one_link_one_login_however_often_it_is_previewed(store_settings: StoreSettings) -> None:
    """GET shows a button, POST sets a strict cookie once, and a used link leads to the form for a token."""

    async def run() -> None:
        async with office(store_settings) as at:
            link = await at.access.new_login("http://gateway.test")
            async with at.client(None) as browser:
                for _ in range(3):
                    preview = await browser.get(link)
                    assert preview.status_code == 200
                    assert "set-cookie" not in preview.headers
                assert (await browser.get("/")).status_code == 401
                answer = await browser.post(link)
                assert (answer.status_code, answer.headers["location"]) == (303, "/")
                cookie = answer.headers["set-cookie"]
                assert cookie.startswith(f"{COOKIE}=")
                assert {"HttpOnly", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))
                assert "Secure" not in cookie  # this office is on plain http
                assert (await browser.get("/")).status_code == 200
                for again in (await browser.get(link), await browser.post(link)):
                    assert again.status_code == 410
                    assert 'name="token"' in again.text
                    assert "set-cookie" not in again.headers

    asyncio.run(run())


def test_behind_https_the_cookie_is_secure(store_settings: StoreSettings) -> None:
    """So that it never travels in the clear."""

    async def run() -> None:
        async with office(store_settings) as at:
            at.access.secure_cookie = True
            async with at.client(None) as browser:
                answer = await browser.post(await at.access.new_login("http://gateway.test"))
                assert "; Secure" in answer.headers["set-cookie"]

    asyncio.run(run())


def test_a_token_typed_into_the_form_opens_a_session_of_its_role(store_settings: StoreSettings) -> None:
    """A wrong one does not, nor does a form on another site; logging out ends it."""

    async def run() -> None:
        async with office(store_settings) as at, at.client(None) as browser:
            wrong = await browser.post("/login/", data={"token": "wrong"})
            assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
            elsewhere = {"sec-fetch-site": "cross-site"}
            assert (await browser.post("/login/", data={"token": OPERATE_TOKEN}, headers=elsewhere)).status_code == 403
            right = await browser.post("/login/", data={"token": OPERATE_TOKEN})
            assert (right.status_code, right.headers["location"]) == (303, "/")
            home = (await browser.get("/")).text
            csrf = re.search(r'name="csrf_token" value="([^"]+)"', home)
            assert csrf is not None
            assert (await browser.post("/logout")).status_code == 403
            kept = browser.cookies[COOKIE]
            assert (await browser.post("/logout", data={"csrf_token": csrf[1]})).status_code == 303
            browser.cookies.set(COOKIE, kept)
            assert (await browser.get("/")).status_code == 401

    asyncio.run(run())


def test_dead_letters_are_retried_from_the_page_after_a_dry_run(store_settings: StoreSettings) -> None:
    """The first press says how many, the second does it; a reader has no buttons."""

    async def run() -> None:
        async with office(store_settings) as at:
            await bury(at, 3)
            browser, session = await log_in(at)
            reader, _ = await log_in(at, "read")
            async with browser, reader:
                form: dict[str, Any] = {"subscriber": "crm", "cause": "http_500", "csrf_token": session.csrf_token}
                first = await browser.post("/dead/retry", data=form)
                assert "Retry 3 dead letters?" in first.text
                assert (await at.reader.get("/api/ledger")).json()["subscribers"]["crm"]["dead"] == 3
                second = await browser.post("/dead/retry", data={**form, "sure": "yes"})
                assert (second.status_code, second.headers["location"]) == (303, "/dead")
                assert (await at.reader.get("/api/ledger")).json()["subscribers"]["crm"]["dead"] == 0
            async with office(store_settings) as other:
                await bury(other, 1)
                reader, _ = await log_in(other, "read")
                async with reader:
                    text = (await reader.get("/dead")).text
                    assert 'action="/dead/retry"' not in text
                    assert "gateway dead retry" in text

    asyncio.run(run())


def _same(value: bool | None) -> bool | None:
    return value


async def _silent() -> str:
    return "its process 4711 is silent"


def test_without_a_session_or_a_store_a_page_says_what_to_do(store_settings: StoreSettings) -> None:
    """401 is the way in, 503 a page that says so; neither is a bare error."""

    async def run() -> None:
        async with office(store_settings, away=True) as at:
            answer = await at.nobody.get("/")
            assert answer.status_code == 401
            assert "gateway serve" in answer.text
            answer = await at.operator.get("/")
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "5"
            assert "The store is away." in answer.text
            assert "answered 503: there is no spool" in answer.text
            store = msgspec.structs.replace(at.config.store, spool=Path("spool"))
            at.desk.sight.config = msgspec.structs.replace(at.config, store=store)
            for takes, told in (
                (None, "answered 200"),
                (True, "answered 200"),
                (False, "answered 503: the spool is full"),
            ):
                at.desk.sight.takes = partial(_same, takes)
                assert told in (await at.operator.get("/")).text
                detail = (await at.reader.get("/api/status")).json()["detail"]
                assert "Nothing that was answered 2xx is lost" in detail
                assert ("answered 503 (the spool is full)" in detail) is (takes is False)
            assert "silent" not in (await at.operator.get("/")).text
            at.desk.sight.plight = _silent
            assert "<strong>Its process 4711 is silent.</strong>" in (await at.operator.get("/")).text

    asyncio.run(run())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "{}"),
        ([], "[]"),
        ({"a": [1, {"b": None}], "c": "é"}, '{\n  "a": [\n    1,\n    {\n      "b": null\n    }\n  ],\n  "c": "é"\n}'),
        (True, "true"),
    ],
)
def test_json_is_shown_as_json(value: Any, text: str) -> None:
    """Without the marks for the style sheet it is the ordinary indented form."""
    assert re.sub(r"</?span[^>]*>", "", pretty(value)).replace("&#34;", '"') == text


def test_a_client_that_is_no_browser_gets_pages_with_its_token(store_settings: StoreSettings) -> None:
    """A token opens pages too; there is then no session, so no form."""

    async def run() -> None:
        async with office(store_settings) as at:
            answer: httpx.Response = await at.operator.get("/dead")
            assert answer.status_code == 200
            assert "csrf_token" not in answer.text

    asyncio.run(run())
