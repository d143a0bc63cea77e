"""Whatever is sent to the API and the pages, the answer is a refusal that says why, never our fault."""

import asyncio
import random
from typing import Any

from gateway.config import StoreSettings
from gateway.operate.cursor import write_dead_cursor, write_kept_cursor, write_log_cursor
from tests.operate.office import office
from tests.operate.test_gate import log_in

NASTY = [
    "", " ", "\x00", "\r\nset-cookie: a=b", "..", "../../etc/passwd", "%", "%00", "%2e%2e%2f", "ä", "\u202e",
    "\U0001f600", "*", "message.*", "null", "true", "-1", "0", "1e9", "9" * 400, "evt_", "evt_" + "a" * 26,
    "'\"<>&", "{{7*7}}", "[]",
    write_log_cursor([0]), write_log_cursor([10**17]), write_dead_cursor(0, "crm", 0, 0), write_kept_cursor("0-0", 0),
]  # fmt: skip
PATHS = ("/api/events", "/api/dead", "/api/quarantine", "/api/rejected", "/events", "/dead", "/quarantine", "/rejected")
NAMES = ("after", "limit", "type", "source", "since", "until", "order", "raw", "subscriber", "cause", "unknown")


def test_no_parameter_brings_down_anything(store_settings: StoreSettings) -> None:
    """Nasty values in every place: 2xx or 4xx, always an answer of ours; 503 never."""

    async def run() -> None:
        chance = random.Random(7)
        async with office(store_settings) as at:
            await at.log_event(0)
            await at.keep("quarantined", 1, b"x")
            for _ in range(150):
                wanted = {name: chance.choice(NASTY) for name in chance.sample(NAMES, 3)}
                path = chance.choice(PATHS)
                answer = await at.operator.get(path, params=wanted)
                assert answer.status_code in (200, 400, 404), (path, wanted)
            for value in NASTY:
                for base in ("/api/events/", "/events/", "/login/", "/schema/"):
                    answer = await at.operator.get(base + value.replace("\r\n", "%0d%0a").replace("\x00", "%00"))
                    wanted_status = (410, 429) if base == "/login/" else ()  # the wrong links of one address add up
                    assert answer.status_code in (200, 400, 404, 409, *wanted_status), (base, value)
                    assert "set-cookie" not in answer.headers

    asyncio.run(run())


BODIES: list[tuple[bytes, str]] = [
    (b"", "application/json"),
    (b"null", "application/json"),
    (b"[]", "application/json"),
    (b'"x"', "application/json"),
    (b"[" * 10_000, "application/json"),
    (b"\xff\xfe", "application/json"),
    (b'{"ids":[1]}', "application/json"),
    (b'{"ids":["' + b"x" * 65 + b'"]}', "application/json"),
    (b'{"all":true,"all":false,"ids":null,"x":' + b"1" * 400 + b"}", "application/json"),
    (b"all=true", "application/x-www-form-urlencoded"),
    (b"--x--", "multipart/form-data; boundary=x"),
    (b"\xc1", "application/msgpack"),
]


def test_no_body_brings_down_an_order(store_settings: StoreSettings) -> None:
    """A 400 that says why, to a token and to a browser; and nothing is moved."""

    async def run() -> None:
        async with office(store_settings) as at:
            browser, session = await log_in(at)
            async with browser:
                for body, kind in BODIES:
                    headers: dict[str, Any] = {"content-type": kind}
                    for path in ("/api/dead/retry", "/api/dead/drop"):
                        answer = await at.operator.post(path, content=body, headers=headers)
                        assert (answer.status_code, answer.json()["code"]) == (400, "bad_request"), answer.text
                    headers["x-csrf-token"] = session.csrf_token
                    for path in ("/dead/retry", "/login/"):
                        answer = await browser.post(path, content=body, headers=headers)
                        assert answer.status_code in (400, 401), answer.text

    asyncio.run(run())


def test_an_order_too_large_to_be_one_is_refused(store_settings: StoreSettings) -> None:
    """More than 64 KiB is a 413 problem; just under it is read."""

    async def run() -> None:
        async with office(store_settings) as at:
            headers = {"content-type": "application/json"}
            for size, status in ((70_000, 413), (60_000, 400)):
                body = b'{"cause":"%b"' % (b"x" * size)
                answer = await at.operator.post("/api/dead/drop", content=body, headers=headers)
                assert answer.status_code == status
                assert answer.headers["content-type"] == "application/problem+json"

    asyncio.run(run())
