"""Who may ask what: one table for every route there is, and each route asked as nobody, with read and with operate."""

import asyncio
from pathlib import Path

import httpx
import pytest
from litestar.routes import HTTPRoute

from gateway.app import Gateway
from gateway.operate import tries
from gateway.operate.access import Identity
from gateway.operate.gate import COOKIE, CSRF_HEADER
from tests.operate.staff import Staff, staff

OPEN, READ, OPERATE = "open", "read", "operate"

RULES = {
    "GET /healthz": OPEN,
    "GET /readyz": OPEN,
    "HEAD /healthz": OPEN,
    "HEAD /readyz": OPEN,
    "GET /login": OPEN,
    "POST /login": OPEN,
    "GET /login/{nonce}": OPEN,
    "POST /login/{nonce}": OPEN,
    "GET /login/style.css": OPEN,
    "POST /logout": READ,
    "GET /metrics": READ,
    "GET /schema": READ,
    "GET /schema/{path}": READ,
    "GET /schema/openapi.json": READ,
    "GET /schema/openapi.yaml": READ,
    "GET /schema/openapi.yml": READ,
    "GET /static/page.js": READ,
    "GET /": READ,
    "GET /events": READ,
    "GET /events/{event_id}": READ,
    "GET /dead": READ,
    "POST /dead/retry": OPERATE,
    "POST /dead/drop": OPERATE,
    "GET /replays": READ,
    "POST /replays/cancel": OPERATE,
    "POST /replays/resume": OPERATE,
    "GET /changes": READ,
    "GET /quarantine": OPERATE,
    "GET /rejected": OPERATE,
    "GET /api/ledger": READ,
    "GET /api/status": READ,
    "GET /api/audit": READ,
    "GET /api/events": READ,
    "GET /api/events/stream": READ,
    "GET /api/events/{event_id}": READ,
    "GET /api/events/{event_id}/trace": READ,
    "GET /api/dead": READ,
    "GET /api/dead/causes": READ,
    "POST /api/dead/retry": OPERATE,
    "POST /api/dead/drop": OPERATE,
    "GET /api/deliveries": READ,
    "GET /api/quarantine": OPERATE,
    "GET /api/rejected": OPERATE,
    "GET /api/changes": READ,
    "GET /api/subscribers": READ,
    "POST /api/subscribers": OPERATE,
    "GET /api/subscribers/{name}": READ,
    "PATCH /api/subscribers/{name}": OPERATE,
    "DELETE /api/subscribers/{name}": OPERATE,
    "POST /api/subscribers/{name}/pause": OPERATE,
    "POST /api/subscribers/{name}/resume": OPERATE,
    "POST /api/subscribers/{name}/test": OPERATE,
    "GET /api/replays": READ,
    "POST /api/replays": OPERATE,
    "GET /api/replays/{replay_id}": READ,
    "POST /api/replays/{replay_id}/cancel": OPERATE,
    "POST /api/replays/{replay_id}/resume": OPERATE,
    "POST /api/reload": OPERATE,
    "POST /api/alerts/test": OPERATE,
}
"""Method and path → who may. ``OPTIONS`` needs the role read wherever a path is not open, and says nothing."""

ENDLESS = ("/api/events/stream",)
"""What has no end is asked with something that is refused before it begins."""


def routes_of(gateway: Gateway) -> list[tuple[str, str]]:
    """Every method of every path, but that of the intake."""
    return sorted(
        (method, route.path_format)
        for route in gateway.app.routes
        if isinstance(route, HTTPRoute)
        for method in route.methods - {"OPTIONS"}
    )


def test_every_route_has_a_rule_and_every_rule_a_route(tmp_path: Path) -> None:
    """Who adds a route says here who may ask it; the whole app is looked at, as ``app.py`` wires it."""

    async def run() -> None:
        async with staff(tmp_path, {}) as at:
            found = {f"{method} {path}" for method, path in routes_of(at.gateway)}
            assert found == set(RULES)

    asyncio.run(run())


async def ask(client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    """Ask with nothing in the place of parameters, and a body that changes nothing if it comes through."""
    path = path.replace("{", "none-").replace("}", "")
    query = {"after": "no cursor"} if path in ENDLESS else {}
    if path.startswith("/api/"):
        return await client.request(method, path, params=query, json={"dry_run": True}, headers=headers)
    return await client.request(method, path, params=query, data={"id": "none"}, headers=headers)


def test_each_route_lets_in_whom_its_rule_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every route with each of eight ways to ask: nobody, a wrong token, the roles by token and by session, and a
    session without its CSRF token. Every single answer has the headers that keep browsers safe."""
    monkeypatch.setattr(tries, "BURST", 10_000)  # all these come from one address; test_tries.py has the bound

    async def run() -> None:
        async with staff(tmp_path, {}) as at:
            browsers = {role: await log_in(at, role) for role in (READ, OPERATE)}
            nobody = at.client(None)
            asked = 0
            for rule, allowed in RULES.items():
                method, path = rule.split(" ")
                if path == "/logout":
                    continue  # would end the sessions of this test; the next one asks it
                changes = method not in ("GET", "HEAD")
                ways = [
                    ("nobody", nobody, {}, False, 401),
                    ("wrong", nobody, {"authorization": "Basic eA=="}, False, 401),
                ]
                ways += [
                    ("read token", at.reader, {}, allowed != OPERATE, 403),
                    ("operate token", at.operator, {}, True, 0),
                ]
                for role, (browser, csrf) in browsers.items():
                    may = role == OPERATE or allowed != OPERATE
                    ways.append((f"{role} session", browser, {CSRF_HEADER: csrf}, may, 403))
                    ways.append((f"{role} session alone", browser, {}, may and not changes, 403))
                for who, client, headers, may, refusal in ways:
                    answer = await ask(client, method, path, headers)
                    asked += 1
                    safe(answer)
                    if allowed == OPEN:
                        assert answer.status_code not in (403,), (rule, who)
                    elif may:
                        assert answer.status_code not in (401, 403), (rule, who, answer.text)
                    else:
                        assert answer.status_code == refusal, (rule, who, answer.text)
                        assert answer.headers.get("x-csrf-token") is None
            assert asked > 8 * 50
            for browser, _ in browsers.values():
                await browser.aclose()
            await nobody.aclose()

    asyncio.run(run())


async def log_in(at: Staff, role: str) -> tuple[httpx.AsyncClient, str]:
    """A browser with a session of this role, and what its pages send along."""
    secret = await at.gateway.access.open_session(Identity(name="browser", role=role))  # type: ignore[arg-type]  # one of two
    identity = await at.gateway.access.by_session(secret)
    assert identity is not None
    assert identity.session is not None
    browser = at.client(None)
    browser.cookies.set(COOKIE, secret)
    return browser, identity.session.csrf_token


def safe(answer: httpx.Response) -> None:
    """No frame, no script of others, nothing inline, nothing kept by caches, no guess at the kind of content."""
    policy = answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "*" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    if answer.request.url.path != "/login/style.css":
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/nowhere", "/api/nowhere", "/api/ledger", "/login/x/y", "/dead/retry", "/%2e%2e/x"])
def test_what_is_not_there_is_answered_as_safely(tmp_path: Path, path: str) -> None:
    """404, 405, 413 and what cannot be read: the same headers on each, whoever asks."""

    async def run() -> None:
        async with staff(tmp_path, {}) as at:
            for client in (at.operator, at.client(None)):
                for method, body in (("PUT", b""), ("POST", b"{" * 70_000), ("GET", b""), ("TRACE", b"")):
                    answer = await client.request(method, path, content=body)
                    if answer.status_code >= 400:
                        safe(answer)

    asyncio.run(run())


def test_the_cookie_cannot_be_read_sent_elsewhere_or_fixed(tmp_path: Path) -> None:
    """Its attributes; over https its name too; a session somebody brings along is never taken over, and ends."""

    async def run(folder: Path, url: str, name: str) -> None:
        folder.mkdir()
        async with staff(folder, {}, tables=f'[gateway]\npublic_url = "{url}"\n') as at:
            token = (folder / "data" / "admin_token").read_text().strip()
            browser = at.client(None)
            brought, _ = await log_in(at, READ)
            before = brought.cookies[COOKIE]
            browser.cookies.set(name, before)
            answer = await browser.post("/login/", data={"token": token})
            assert answer.status_code == 303
            cookie = answer.headers["set-cookie"]
            attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
            assert cookie.startswith(f"{name}=")
            assert {"httponly", "samesite=strict", "path=/"} <= attributes
            assert ("secure" in attributes) == url.startswith("https")
            assert not any(each.startswith("domain") for each in attributes)
            secret = cookie.partition("=")[2].partition(";")[0]
            assert secret != before
            assert await at.gateway.access.by_session(before) is None, "one browser, one session"
            identity = await at.gateway.access.by_session(secret)
            assert identity is not None
            assert identity.session is not None
            browser.cookies.clear()
            out = await browser.post(
                "/logout", headers={"cookie": f"{name}={secret}", CSRF_HEADER: identity.session.csrf_token}
            )
            assert (out.status_code, out.headers["location"]) == (303, "/login")
            gone = out.headers["set-cookie"].lower()
            assert gone.startswith(f'{name}=""'.lower())
            assert "max-age=0" in gone
            assert ("secure" in gone) == url.startswith("https"), "a browser keeps it if the attributes differ"
            assert await at.gateway.access.by_session(secret) is None
            await browser.aclose()
            await brought.aclose()

    asyncio.run(run(tmp_path / "http", "http://hooks.test", COOKIE))
    asyncio.run(run(tmp_path / "https", "https://hooks.test", f"__Host-{COOKIE}"))
