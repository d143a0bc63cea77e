"""Subscribers through the API: made, changed, deleted, tried; what is refused; and that no secret is kept or shown."""

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from tests.operate.staff import Staff, delivered, line, settings, staff
from tests.support.servers import OK, answering, response, serving

URL = "/api/subscribers"


def test_one_that_is_made_is_delivered_to_with_the_secret_told_once(tmp_path: Path) -> None:
    """The secret verifies what comes, lies in a file for its owner alone, and stands in no answer and no key."""

    async def run() -> None:
        async with serving(answering(OK)) as server, staff(tmp_path, {}) as at:
            body = {"name": "crm", **settings(server.port), "secrets": None}
            answer = await at.operator.post(URL, json=body)
            assert answer.status_code == 201, answer.text
            secret = answer.json()["secret"]
            (reference,) = answer.json()["subscriber"]["settings"]["secrets"]
            path = tmp_path / "data" / reference.removeprefix("file:")
            assert path.read_text().strip() == secret
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            await at.log()
            await delivered(at, "crm", 1)
            got = server.requests[0]
            Webhook(secret).verify(got.body, got.headers)
            shown = (await at.reader.get(URL)).text + (await at.reader.get(f"{URL}/crm")).text
            store = await everything(at)
            for told in (secret, secret.partition("_")[2]):
                assert told not in shown
                assert told.encode() not in store
            assert b"file:secrets/" in store, "the look into the store can find something"

    asyncio.run(run())


async def everything(at: Staff) -> bytes:
    """All that the store holds, as it would lie on disk."""
    store = at.gateway.store
    found = [str(at.gateway.config.path).encode()]
    for key in await store.call("KEYS", "*"):
        kind = await store.call("TYPE", key)
        commands: dict[Any, tuple[Any, ...]] = {
            b"hash": ("HGETALL", key),
            b"stream": ("XRANGE", key, "-", "+"),
            b"string": ("GET", key),
            b"set": ("SMEMBERS", key),
            b"zset": ("ZRANGE", key, 0, -1),
            b"list": ("LRANGE", key, 0, -1),
        }
        found.append(repr(await store.call(*commands[kind])).encode())
    return b"\n".join(found)


def test_a_change_merges_and_takes_effect_and_null_is_the_default(tmp_path: Path) -> None:
    """The next delivery goes where the change says, from where the cursor stood."""

    async def run() -> None:
        async with serving(answering(OK)) as one, serving(answering(OK)) as other, staff(tmp_path, {}) as at:
            await at.operator.post(URL, json={"name": "crm", **settings(one.port, concurrency=2, headers={"x-a": "1"})})
            await at.log()
            await delivered(at, "crm", 1)
            patch = {"url": f"http://127.0.0.1:{other.port}/", "concurrency": None, "headers": {"x-b": "2"}}
            answer = await at.operator.patch(f"{URL}/crm", json=patch)
            assert answer.status_code == 200, answer.text
            now = answer.json()["subscriber"]["settings"]
            assert (now["concurrency"], sorted(now["headers"])) == (32, ["x-a", "x-b"])
            assert answer.json()["secret"] is None
            await at.log()
            await delivered(at, "crm", 2)
            assert (len(one.requests), len(other.requests)) == (1, 1)
            assert (other.requests[0].headers["x-a"], other.requests[0].headers["x-b"]) == ("1", "2")
            wrong = await at.operator.patch(f"{URL}/crm", json={"types": ["nothing"], "name": "other"})
            assert wrong.status_code == 400
            renewed = await at.operator.patch(f"{URL}/crm", json={"secrets": None})
            assert renewed.json()["secret"].startswith("whsec_")
            assert len(list((tmp_path / "data" / "secrets").iterdir())) == 1
            again = await at.operator.patch(f"{URL}/crm", json={"secrets": ["env:W"]})
            assert again.status_code == 200
            assert list((tmp_path / "data" / "secrets").iterdir()) == [], "what signs no more is not kept"

    asyncio.run(run())


def test_deleted_is_kept_until_it_is_forgotten(tmp_path: Path) -> None:
    """Its cursor outlives a delete, shown as not configured; made again it goes on; forgotten it begins anew."""

    async def run() -> None:
        async with serving(answering(OK)) as server, staff(tmp_path, {}) as at:
            made = {"name": "crm", **settings(server.port)}
            await at.operator.post(URL, json=made)
            await at.log()
            await delivered(at, "crm", 1)
            assert (await at.operator.delete(f"{URL}/crm")).json()["forgotten"] is False
            (kept,) = (await at.operator.get(URL)).json()["items"]
            assert (kept["origin"], kept["state"]) == ("none", "not_configured")
            assert kept["words"].endswith("or: gateway subscribers delete crm --forget"), "the way out is told"
            assert (await at.operator.delete(f"{URL}/crm")).status_code == 409
            await at.log()
            await at.operator.post(URL, json=made)
            await delivered(at, "crm", 2)
            assert len(server.requests) == 2
            assert (await at.operator.delete(f"{URL}/crm?forget=true")).json()["forgotten"] is True
            assert (await at.operator.get(URL)).json()["items"] == []
            assert await line(at, "crm") == {}
            await at.operator.post(URL, json=made)
            await delivered(at, "crm", 2)
            assert len(server.requests) == 4, "from the beginning once more"

    asyncio.run(run())


def test_those_of_the_file_are_read_only_but_can_be_paused_and_tried(tmp_path: Path) -> None:
    """409 names the file; pause, resume and test work; a name that is taken is a conflict."""

    async def run() -> None:
        async with serving(answering(OK)) as server, staff(tmp_path, {"crm": settings(server.port)}) as at:
            for answer in (
                await at.operator.patch(f"{URL}/crm", json={"raw": False}),
                await at.operator.delete(f"{URL}/crm"),
                await at.operator.post(URL, json={"name": "crm", **settings(server.port)}),
            ):
                assert answer.status_code == 409, answer.text
                assert "defined in gateway.toml" in answer.json()["detail"]
            pause = f"{URL}/crm/pause"
            assert (await at.operator.post(pause)).json()["paused"] == "by admin_token"
            assert (await at.operator.post(pause, json={"reason": "new version"})).json()["paused"] == "new version"
            assert (await at.operator.post(pause)).json()["paused"] == "new version", "kept, where none is given"
            assert (await at.operator.post(f"{URL}/crm/resume")).json()["paused"] is None
            tried = (await at.operator.post(f"{URL}/crm/test", json={"type": "booking.created"})).json()
            assert (tried["delivered"], tried["status"], tried["event_type"]) == (True, 200, "booking.created")
            got = server.requests[0]
            assert got.headers["webhook-id"] == tried["event_id"]
            assert b'"origin":"test"' in got.body
            assert (await line(at, "crm"))["offered"] == 0, "it is in no account"

    asyncio.run(run())


def test_a_test_event_says_how_it_failed(tmp_path: Path) -> None:
    """The status and the answer, a secret in it masked; and where deliveries may not go, that."""

    async def run() -> None:
        echo = response("418 I'm a teapot", b"you sent MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        async with serving(answering(echo)) as server, staff(tmp_path, {"crm": settings(server.port)}) as at:
            tried = (await at.operator.post(f"{URL}/crm/test")).json()
            assert (tried["delivered"], tried["status"], tried["cause"]) == (False, 418, "http_418")
            assert tried["answer"] == "you sent [credential]"
            metadata = {"name": "bad", **settings(server.port), "url": "http://169.254.169.254/"}
            metadata["allow_networks"] = ["169.254.0.0/16"]
            assert (await at.operator.post(URL, json=metadata)).status_code == 400
            inside = {**metadata, "url": "https://localhost/", "allow_networks": []}
            assert (await at.operator.post(URL, json=inside)).status_code == 201
            assert (await at.operator.post(f"{URL}/bad/test")).json()["cause"] == "refused_target"
            for wrong in ({"type": "channel.qr_updated"}, {"type": "x"}, {"nothing": 1}, {"type": 3}):
                assert (await at.operator.post(f"{URL}/crm/test", json=wrong)).status_code == 400

    asyncio.run(run())


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"\xff", b"[" * 60_000, b'{"name":1}', b'{"name":"../x"}', b'{"name":"crm","url":["x"]}']
)
def test_a_body_that_is_none_is_a_mistake_and_nothing_else(tmp_path: Path, body: bytes) -> None:
    """400 in words, never our fault, and no file is written for it."""

    async def run() -> None:
        async with staff(tmp_path, {}) as at:
            answer = await at.operator.post(URL, content=body)
            assert answer.status_code == 400, answer.text
            assert answer.headers["content-type"] == "application/problem+json"
            assert not list((tmp_path / "data").rglob("secrets/*"))
            assert [path.name for path in tmp_path.iterdir() if path.name.startswith("x")] == []

    asyncio.run(run())


def test_every_mistake_is_told_at_once_with_its_field(tmp_path: Path) -> None:
    """A problem with a list: the field, and what to write instead."""

    async def run() -> None:
        async with staff(tmp_path, {}) as at:
            body = {
                "name": "crm",
                "url": "http://user:hunter2@x/",
                "types": ["*", "nope"],
                "where": "event.nothing == 1",
                "secrets": ["env:ABSENT", "whsec_AAAA"],
                "colour": "red",
            }
            answer = await at.operator.post(URL, json=body)
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
            fields = {each["at"] for each in answer.json()["mistakes"]}
            assert {"url", "types[1]", "where", "secrets[0]", "secrets[1]", "colour"} <= fields
            assert "hunter2" not in answer.text
            assert "whsec_AAAA" not in answer.text

    asyncio.run(run())


def test_reading_is_not_operating(tmp_path: Path) -> None:
    """With a token of role read all can be looked at and nothing changed; without one, neither."""

    async def run() -> None:
        async with staff(tmp_path, {"crm": settings(9)}) as at:
            nobody = at.client(None)
            assert (await at.reader.get(URL)).status_code == 200
            for client, status in ((at.reader, 403), (nobody, 401)):
                for method, path in (
                    ("POST", URL),
                    ("PATCH", f"{URL}/crm"),
                    ("DELETE", f"{URL}/crm"),
                    ("POST", f"{URL}/crm/pause"),
                    ("POST", f"{URL}/crm/resume"),
                    ("POST", f"{URL}/crm/test"),
                    ("POST", "/api/reload"),
                ):
                    assert (await client.request(method, path, json={})).status_code == status, (method, path)
            await nobody.aclose()

    asyncio.run(run())
