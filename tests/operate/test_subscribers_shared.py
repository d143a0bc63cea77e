"""Subscribers through the API where several have a part: two who make one, two processes, a file that is gone."""

import asyncio
import base64
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.store.parked import SubscriberStore
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


def test_another_process_learns_of_a_change_by_itself(tmp_path: Path) -> None:
    """A change in the store alone, as another gateway makes it, is delivered to within a second or two."""

    async def run() -> None:
        async with serving(answering(OK)) as server, staff(tmp_path, {}, partitions=2) as at:
            await at.operator.post(URL, json={"name": "crm", **settings(server.port)})
            stored = at.gateway.roster.members["crm"].stored
            assert stored is not None
            store = at.gateway.store
            await store.script(
                "subscribers", [at.gateway.keys[0].state, at.gateway.keys[0].subscribers], ["two", "", stored]
            )
            await until(lambda: "two" in at.gateway.config.subscribers)
            for _ in range(6):
                await at.log()
            await delivered(at, "two", 6)
            cursor = await SubscriberStore(store, at.gateway.keys[1], "two").subscribe(0, 1)
            assert not cursor.new

    asyncio.run(run())
