"""Subscribers through the API where several have a part: two who make one, two processes, a file that is gone."""

import asyncio
import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Never

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.app import Gateway
from gateway.config import load
from gateway.config_file.written import Read
from gateway.delivery import roster
from gateway.operate import subscribers
from gateway.store.changes import Change
from gateway.store.parked import SubscriberStore
from gateway.store.subscribers import FORGETTING, StoredSubscribers
from tests.operate.staff import delivered, line, settings, staff
from tests.support.delivering import until
from tests.support.servers import OK, answering, serving

URL = "/api/subscribers"


def test_a_whsk_key_shows_its_public_half(tmp_path: Path) -> None:
    """What verifies v1a signatures is shown, the key itself is not."""

    async def run() -> None:
        seed = bytes(range(32))
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        (tmp_path / "data" / "secrets").mkdir(parents=True)
        private = base64.b64encode(seed + public).decode()
        (tmp_path / "data" / "secrets" / "k").write_text(f"whsk_{private}")
        async with staff(tmp_path, {}) as at:
            made = {"name": "crm", **settings(9), "secrets": ["file:secrets/k"]}
            answer = await at.operator.post(URL, json=made)
            assert answer.json()["subscriber"]["public_keys"] == ["whpk_" + base64.b64encode(public).decode()]
            assert private not in answer.text

    asyncio.run(run())


def test_two_who_make_one_at_once_do_not_overwrite_each_other(tmp_path: Path) -> None:
    """One gets 201 and the secret in force, the others 409 and leave no file."""

    async def run() -> None:
        async with staff(tmp_path, {}) as at:
            body = {"name": "crm", **settings(9), "secrets": None}
            answers = await asyncio.gather(*[at.operator.post(URL, json=body) for _ in range(8)])
            assert sorted(answer.status_code for answer in answers) == [201, *[409] * 7]
            (made,) = [answer.json() for answer in answers if answer.status_code == 201]
            (path,) = (tmp_path / "data" / "secrets").iterdir()
            assert path.read_text().strip() == made["secret"]
            assert made["subscriber"]["settings"]["secrets"] == [f"file:secrets/{path.name}"]

    asyncio.run(run())


def test_what_this_machine_cannot_read_is_left_out_and_says_why(tmp_path: Path) -> None:
    """A reference that was there when it was made and is gone: no delivery, the reason, and nothing lost."""

    async def run() -> None:
        async with serving(answering(OK)) as server, staff(tmp_path, {}) as at:
            await at.operator.post(URL, json={"name": "crm", **settings(server.port), "secrets": None})
            await at.log()
            await delivered(at, "crm", 1)
            (path,) = (tmp_path / "data" / "secrets").iterdir()
            path.rename(tmp_path / "away")
            await at.operator.post("/api/reload")
            shown = (await at.operator.get(f"{URL}/crm")).json()
            assert [each["at"] for each in shown["mistakes"]] == ["secrets[0]"]
            await at.log()
            (tmp_path / "away").rename(path)
            assert (await line(at, "crm"))["pending"] == 1
            await at.operator.post("/api/reload")
            await delivered(at, "crm", 2)

    asyncio.run(run())


@pytest.mark.parametrize("role", ["all", "intake"])
def test_a_subscriber_only_another_gateway_knows_begins_when_that_one_starts(
    tmp_path: Path, role: Literal["all", "intake"]
) -> None:
    """Without the lease too: ``now`` is its own start, not a later takeover, in every partition. A reload as well."""

    async def run() -> None:
        ours, theirs = tmp_path / "ours", tmp_path / "theirs"
        ours.mkdir()
        theirs.mkdir()
        text = f'[store]\nurl = "embedded:{ours / "data"}"\npartitions = 2\n'
        one = "[subscribers.{}]\nurl = 'https://crm.example.com/'\nsecrets = ['env:W']\nstart = 'now'\n"
        (theirs / "gateway.toml").write_text(text + one.format("late"))
        (theirs / ".env").write_text("W=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
        (theirs / ".env").chmod(0o600)
        async with staff(ours, {}, partitions=2) as at:
            await at.log()
            other = Gateway(load(theirs / "gateway.toml", os.environ), role=role, listen=("127.0.0.1", 1))
            await other.start()
            try:
                assert not any(dispatcher.holds for dispatcher in other.dispatchers)
                for number in range(6):
                    await at.log(ordering_key=f"chat-{number}")
                assert (await line(at, "late")) == {
                    **dict.fromkeys(("delivered", "filtered", "dead", "discarded", "unaccounted"), 0),
                    "offered": 6,
                    "pending": 6,
                }
                (theirs / "gateway.toml").write_text(text + one.format("late") + one.format("later"))
                await other.reloader.reload_quietly("test")
                await at.log()
                assert [(await line(at, name))["offered"] for name in ("late", "later")] == [7, 1]
            finally:
                await other.stop()

    asyncio.run(run())


def test_another_process_learns_of_a_change_by_itself(tmp_path: Path) -> None:
    """A change in the store alone, as another gateway makes it, is delivered to within a second or two."""

    async def run() -> None:
        async with serving(answering(OK)) as server, staff(tmp_path, {}, partitions=2) as at:
            await at.operator.post(URL, json={"name": "crm", **settings(server.port)})
            stored = at.gateway.roster.members["crm"].stored
            assert stored is not None
            store = at.gateway.store
            told = Change(at_ms=1, who="elsewhere", role="operate", what="subscriber.create", subject="two")
            assert await StoredSubscribers(store, at.gateway.keys).swap("two", None, stored, told)
            await until(lambda: "two" in at.gateway.config.subscribers)
            for _ in range(6):
                await at.log()
            await delivered(at, "two", 6)
            cursor = await SubscriberStore(store, at.gateway.keys[1], "two").subscribe(0, 1)
            assert not cursor.new

    asyncio.run(run())


@pytest.mark.parametrize(
    "record",
    [b"", b"[1]", b'{"url": "\xff"}', b'{"url": ' + b"[" * 100_000, b'{"url": 5, "secrets": 7, "a": []}'],
    ids=["empty", "a list", "no UTF-8", "too deep", "other types"],
)
def test_a_record_that_cannot_be_read_stops_no_other(tmp_path: Path, record: bytes) -> None:
    """It is shown with why, whoever comes after it is delivered to, and it can be mended or deleted."""

    async def run() -> None:
        async with serving(answering(OK)) as server, staff(tmp_path, {}) as at:
            store, key = at.gateway.store, at.gateway.keys[0].subscribers
            for name in ("bad", "worse"):
                await store.call("HSET", key, name, record)
            made = await at.operator.post(URL, json={"name": "good", **settings(server.port)})
            assert made.status_code == 201
            await at.log()
            await delivered(at, "good", 1)
            shown = (await at.operator.get(f"{URL}/bad")).json()
            assert shown["mistakes"] != []
            assert "cannot be read" in shown["words"]
            assert (await at.operator.patch(f"{URL}/bad", json={"retry": ["1h"]})).status_code == 400
            mended = await at.operator.patch(f"{URL}/bad", json=settings(server.port) | {"a": None})
            assert mended.status_code == 200, mended.text
            assert (await at.operator.delete(f"{URL}/worse")).status_code == 200
            assert set(at.gateway.config.subscribers) == {"bad", "good"}

    asyncio.run(run())


def test_a_look_that_ends_in_a_defect_is_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it did not come to is read by a later one."""
    monkeypatch.setattr(roster, "LOOK_S", 0.01)

    async def run() -> None:
        async with staff(tmp_path, {}) as at:
            await at.operator.post(URL, json={"name": "crm", **settings(9)})
            stored = at.gateway.roster.members["crm"].stored
            read, failed = at.gateway.roster._read, 0

            def failing(name: str, written: Mapping[str, Any]) -> Read:
                nonlocal failed
                failed += 1
                if failed < 5:
                    raise RuntimeError("a defect")
                return read(name, written)

            monkeypatch.setattr(at.gateway.roster, "_read", failing)
            told = Change(at_ms=1, who="elsewhere", role="operate", what="subscriber.create", subject="two")
            assert await StoredSubscribers(at.gateway.store, at.gateway.keys).swap("two", None, stored, told)
            await until(lambda: "two" in at.gateway.config.subscribers)

    asyncio.run(run())


@pytest.mark.parametrize("named_by_file", [False, True])
def test_what_was_to_be_forgotten_is_forgotten_though_its_process_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named_by_file: bool
) -> None:
    """The next gateway goes on by itself, and nothing of it is left; one that the file names by now is kept."""

    async def run() -> None:
        monkeypatch.setattr(roster, "LOOK_S", 0.05)
        given = settings(9, retry=["1h"])
        async with staff(tmp_path, {}, partitions=2) as at:
            await at.operator.post(URL, json={"name": "crm", **given, "secrets": None})
            await at.log()

            async def killed(name: str) -> Never:
                raise RuntimeError(f"killed before anything of {name} was forgotten")

            at.gateway.subscribers._stored.forget = killed  # type: ignore[method-assign]  # for this process alone
            assert (await at.operator.delete(f"{URL}/crm?forget=true")).status_code == 503
            answer = await at.operator.post(URL, json={"name": "crm", **given, "secrets": None})
            assert (answer.status_code, "is being forgotten" in answer.text) == (409, True)
        async with staff(tmp_path, {"crm": given} if named_by_file else {}, partitions=2) as at:
            store, keys = at.gateway.store, at.gateway.keys

            async def done() -> bool:
                return not await store.call("EXISTS", keys[0].subscribers)

            await until(done)
            left = {key for each in keys for key in await store.call("KEYS", f"{each.subscriber('crm').sub}*")}
            assert bool(left) is named_by_file
            assert [name for each in keys for name in await store.call("SMEMBERS", each.subs)] == [b"crm"] * (
                2 * named_by_file
            )

    asyncio.run(run())


def test_what_another_gateway_takes_back_is_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that its file names: whoever asked to forget it is told so, and its cursor stays."""

    async def run() -> None:
        async with staff(tmp_path, {}) as at:
            store, keys = at.gateway.store, at.gateway.keys
            await SubscriberStore(store, keys[0], "theirs").subscribe(0, 1)
            monkeypatch.setattr(at.gateway.subscribers, "_delivers_alone", lambda: False)
            monkeypatch.setattr(subscribers, "LOOK_S", 0.2)
            other = StoredSubscribers(store, keys)

            async def taken_back() -> bool:
                return await other.swap("theirs", FORGETTING, None, None)

            asked = asyncio.create_task(at.operator.delete(f"{URL}/theirs?forget=true"))
            await until(taken_back)
            answer = await asked
            assert (answer.status_code, "took it back" in answer.text) == (409, True)
            assert await store.call("SMEMBERS", keys[0].subs) == [b"theirs"]

    asyncio.run(run())
