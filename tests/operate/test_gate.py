"""Deny by default: every route but the open ones, with every way of asking."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute

from gateway.config import StoreSettings
from gateway.operate.access import Identity, Session
from gateway.operate.gate import COOKIE, CSRF_HEADER
from tests.operate.office import OPERATE_TOKEN, Office, office

OPEN = ("/healthz", "/readyz", "/login")


def routes_of(app: Litestar) -> Iterator[tuple[str, str]]:
    """Method and path of every route, with something in the place of parameters."""
    for route in app.routes:
        assert isinstance(route, HTTPRoute)
        path = "/".join("x" if part.startswith("{") else part for part in route.path.split("/"))
        for method in sorted(route.methods):
            yield method, path


def is_open(path: str) -> bool:
    """Whether a path needs no token."""
    return path in OPEN or path.startswith("/login/")


async def log_in(at: Office, role: Any = "operate") -> tuple[httpx.AsyncClient, Session]:
    """A browser with a session of this role."""
    secret = await at.access.open_session(Identity(name="browser", role=role))
    identity = await at.access.by_session(secret)
    assert identity is not None
    assert identity.session is not None
    browser = at.client(None)
    browser.cookies.set(COOKIE, secret)
    return browser, identity.session


def test_every_route_but_the_open_ones_is_401_without_a_token(store_settings: StoreSettings) -> None:
    """All routes of the app are tried with every method; the positive control is that with a token none is 401."""

    async def run() -> None:
        async with office(store_settings) as at:
            closed = [(method, path) for method, path in routes_of(at.app) if not is_open(path)]
            assert len(closed) > 40
            for method, path in closed:
                if path == "/api/events/stream" and method == "GET":
                    continue  # has no end; test_stream.py asks it
                at.clock_s += 60  # who is wrong all the time is made to wait: test_tries.py
                for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic b3BzOm9wcw=="}):
                    answer = await at.nobody.request(method, path, headers=headers)
                    assert answer.status_code == 401, (method, path, headers)
                answer = await at.operator.request(method, path)
                assert answer.status_code != 401, (method, path)
            for path in ("/healthz", "/readyz", "/login"):
                assert (await at.nobody.get(path)).status_code == 200

    asyncio.run(run())


def test_the_role_read_changes_nothing_and_sees_no_bodies(store_settings: StoreSettings) -> None:
    """Every route that is not a GET, and the lists of bodies, are 403 for it; the same asked with operate are not."""

    async def run() -> None:
        async with office(store_settings) as at:
            forbidden = [
                (method, path)
                for method, path in routes_of(at.app)
                if not is_open(path) and method not in ("GET", "OPTIONS", "HEAD") and path != "/logout"
            ]
            assert len(forbidden) >= 4
            forbidden += [("GET", path) for path in ("/api/quarantine", "/api/rejected", "/quarantine", "/rejected")]
            for method, path in forbidden:
                answer = await at.reader.request(method, path, json={"all": True})
                assert answer.status_code == 403, (method, path)
                answer = await at.operator.request(method, path, json={"all": True})
                assert answer.status_code != 403, (method, path)
            problem = (await at.reader.post("/api/dead/retry", json={"all": True})).json()
            assert problem["code"] == "forbidden"
            assert problem["detail"] == "this needs the role operate; the token grafana has the role read"

    asyncio.run(run())


def test_a_wrong_token_is_not_made_good_by_a_cookie(store_settings: StoreSettings) -> None:
    """Who sends a token is judged by it; the same browser without one gets in."""

    async def run() -> None:
        async with office(store_settings) as at:
            browser, _ = await log_in(at)
            async with browser:
                assert (await browser.get("/api/ledger")).status_code == 200
                answer = await browser.get("/api/ledger", headers={"authorization": "Bearer wrong"})
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == 'Bearer realm="gateway"'

    asyncio.run(run())


@pytest.mark.parametrize("sent", [None, "", "guessed", "other"])
def test_a_browser_changes_nothing_without_its_csrf_token(store_settings: StoreSettings, sent: str | None) -> None:
    """A cookie alone is not enough, nor is another session's token; the session's own is, in a header or a form."""

    async def run() -> None:
        async with office(store_settings) as at:
            _, other = await log_in(at)
            browser, session = await log_in(at)
            given = other.csrf_token if sent == "other" else sent
            async with browser:
                headers = {} if given is None else {CSRF_HEADER: given}
                order = {"all": True, "dry_run": True}
                refused = await browser.post("/api/dead/retry", json=order, headers=headers)
                assert refused.status_code == 403
                form = {"cause": "x"} if given is None else {"cause": "x", "csrf_token": given}
                assert (await browser.post("/dead/retry", data=form)).status_code == 403
                own = {CSRF_HEADER: session.csrf_token}
                assert (await browser.post("/api/dead/retry", json=order, headers=own)).status_code == 200
                form["csrf_token"] = session.csrf_token
                assert (await browser.post("/dead/retry", data=form)).status_code == 200

    asyncio.run(run())


def test_a_token_in_the_url_is_no_token(store_settings: StoreSettings) -> None:
    """URLs last in logs and histories: nothing in a query lets anybody in."""

    async def run() -> None:
        async with office(store_settings) as at:
            for name in ("token", "access_token", "key", "authorization"):
                assert (await at.nobody.get("/api/ledger", params={name: OPERATE_TOKEN})).status_code == 401

    asyncio.run(run())


def test_health_is_open_and_readiness_names_parts_but_not_reasons(store_settings: StoreSettings) -> None:
    """``/readyz`` is 503 only where nothing can be stored; reasons, which hold paths, are for those with a token."""

    async def run() -> None:
        async with office(store_settings) as at:
            assert (await at.nobody.get("/healthz")).json() == {"status": "ok"}
            assert (await at.nobody.get("/readyz")).json() == {"status": "ready", "degraded": {}}
            at.degraded = {"sources.chat": "adapters/chat.py: ImportError"}
            answer = await at.nobody.get("/readyz")
            assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
            assert answer.json()["degraded"] == {"sources.chat": "out of order"}
            at.degraded = {"store": "no socket at some/path"}
            answer = await at.nobody.get("/readyz")
            assert (answer.status_code, answer.json()["status"]) == (503, "unready")
            assert answer.headers["retry-after"] == "5"
            assert "path" not in answer.text

    asyncio.run(run())


def test_load_balancers_ask_with_head(store_settings: StoreSettings) -> None:
    """As with GET, without a body."""

    async def run() -> None:
        async with office(store_settings) as at:
            for degraded in ({}, {"store": "no socket"}):
                at.degraded = degraded
                for path in ("/healthz", "/readyz"):
                    asked, told = await at.nobody.get(path), await at.nobody.head(path)
                    assert (told.status_code, told.content) == (asked.status_code, b"")
                    for name in ("retry-after", "content-length"):
                        assert told.headers.get(name) == asked.headers.get(name)

    asyncio.run(run())


def test_unknown_paths_and_methods_are_problems(store_settings: StoreSettings) -> None:
    """404 and 405 have the same shape as every other refusal."""

    async def run() -> None:
        async with office(store_settings) as at:
            for method, path, status, code in (
                ("GET", "/nowhere", 404, "not_found"),
                ("GET", "/api/nowhere", 404, "not_found"),
                ("DELETE", "/api/ledger", 405, "method_not_allowed"),
            ):
                answer = await at.operator.request(method, path)
                assert (answer.status_code, answer.json()["code"]) == (status, code)
                assert answer.headers["content-type"] == "application/problem+json"
                assert set(answer.json()) == {"type", "title", "status", "detail", "code"}

    asyncio.run(run())
