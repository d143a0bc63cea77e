"""The pages in a real browser: logging in by keyboard, living on, on a narrow and on a wide screen, light and dark."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Never

import msgspec
import pytest
import uvicorn

from gateway.config import StoreSettings
from gateway.errors import StoreUnavailable
from gateway.intake.spool_database import Held
from gateway.intake.spool_folder import FolderView
from gateway.operate.sight import Away
from tests.operate.browser import CHROMIUM, Browser, browser
from tests.operate.office import Office, office
from tests.operate.test_pages import fill

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: chromium)")


@contextlib.asynccontextmanager
async def served(at: Office) -> AsyncIterator[str]:
    """The office's app on a free loopback port."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        config = uvicorn.Config(at.app, lifespan="off", ws="none", log_config=None, access_log=False)
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[bound]))
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


def log_in(page: Browser, link: str) -> None:
    """Open a login link and press the key that people press."""
    page.open(link)
    page.until("document.activeElement.tagName === 'BUTTON'")
    page.press("Enter")
    page.until("document.querySelector('.verdict')")


def received(page: Browser) -> str:
    """The number of requests as the page shows it."""
    return str(page.evaluate("document.querySelector('[data-value=\"q.received\"]').textContent"))


def test_a_link_and_the_enter_key_lead_to_a_page_that_lives(store_settings: StoreSettings, tmp_path: Path) -> None:
    """No mouse, no reload: the number rises when a request comes; no script reads the cookie; the console is silent."""

    async def run() -> None:
        async with office(store_settings) as at, served(at) as base:
            await at.log_event(0)
            link = await at.access.new_login(base)
            with browser(tmp_path) as page:

                def enter() -> None:
                    log_in(page, link)
                    assert page.evaluate("location.pathname") == "/"
                    assert page.evaluate("document.cookie") == ""
                    assert received(page) == "1"

                await asyncio.to_thread(enter)
                await at.log_event(1)
                at.now_ms += 2_000
                wanted = "document.querySelector('[data-value=\"q.received\"]').textContent === '2'"
                await asyncio.to_thread(page.until, wanted)
                assert page.complaints == []

    asyncio.run(run())


def test_every_page_fits_a_phone_and_takes_the_colours_asked_for(store_settings: StoreSettings, tmp_path: Path) -> None:
    """At 360 pixels nothing has to be scrolled sideways, hostile text included; dark is dark and light is light."""

    async def run() -> None:
        async with office(store_settings) as at, served(at) as base:
            paths = await fill(at)
            link = await at.access.new_login(base)
            with browser(tmp_path) as page:

                def look() -> None:
                    log_in(page, link)
                    page.look(360, 740)
                    for path in paths:
                        page.open(base + path)
                        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true })")
                        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
                    brightness = []
                    for dark in (False, True):
                        page.look(1280, 800, dark=dark)
                        page.open(base + "/")
                        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
                        brightness.append(sum(int(part) for part in colour.strip("rgb()").split(",")))
                    assert brightness[0] > 700 > 100 > brightness[1]
                    page.press("Tab")
                    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
                    assert [each for each in page.complaints if "410" not in each] == []  # /login/used is 410

                await asyncio.to_thread(look)

    asyncio.run(run())


def test_home_without_the_store_says_what_is_true_and_comes_back(store_settings: StoreSettings, tmp_path: Path) -> None:
    """An open page turns from green to amber by itself, with what is in the spool; back, it needs nobody to reload."""

    async def run() -> None:
        async with office(store_settings) as at, served(at) as base:
            await at.log_event(0)
            link = await at.access.new_login(base)
            sight, call = at.desk.sight, at.store.call
            store = msgspec.structs.replace(at.config.store, spool=Path("spool"))
            sight.config = msgspec.structs.replace(at.config, store=store)
            held = Held(rows=1, requests=12, events=12, bytes=2048)

            async def spooled(recount: bool = False, held_only: bool = False) -> FolderView:
                return FolderView(held=held)

            async def away(*_args: object, **_named: object) -> Never:
                raise StoreUnavailable("the store did not answer")

            with browser(tmp_path) as page:
                await asyncio.to_thread(log_in, page, link)
                assert page.evaluate("document.querySelector('.verdict').className") == "verdict good"
                sight.spooled, sight.away = spooled, lambda: Away("2026-02-03T12:00:00.000Z", "a test says so")
                at.store.call, at.now_ms = away, at.now_ms + 2_000  # type: ignore[method-assign]  # away for the office
                await asyncio.to_thread(page.until, "document.querySelector('.verdict.warn')")
                words = str(page.evaluate("document.querySelector('[data-live=verdict]').innerText"))
                assert "since 2026-02-03T12:00:00.000Z (a test says so)" in words
                assert "12 requests, 2.0 KiB of 512.0 MiB" in words
                assert "What is dimmed below was so before." in words
                assert page.evaluate("document.querySelector('.equation').classList.contains('stale')")
                held = Held()
                at.store.call, at.now_ms = call, at.now_ms + 2_000  # type: ignore[method-assign]  # back
                await asyncio.to_thread(page.until, "document.querySelector('.verdict.good')")
                assert not page.evaluate("document.querySelector('.stale')")

    asyncio.run(run())
