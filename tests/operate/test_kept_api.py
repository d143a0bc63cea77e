"""Quarantine and the rejected over HTTP."""

import asyncio

from gateway.config import StoreSettings
from tests.operate.office import SOURCE_SECRET, office


def test_kept_requests_are_listed_newest_first_with_what_may_prove_something_masked(
    store_settings: StoreSettings,
) -> None:
    """Reason, body and telling headers are shown; signatures, and secrets of the configuration, are not."""

    async def run() -> None:
        async with office(store_settings) as at:
            await at.keep("quarantined", 1, b"[1,2]")
            await at.keep("quarantined", 2, b'{"leaked":"%s"}' % SOURCE_SECRET.encode(), reason="data is not an object")
            items = (await at.operator.get("/api/quarantine")).json()["items"]
            assert [item["reason"] for item in items] == ["data is not an object", "the body is not JSON"]
            assert items[0]["body"] == '{"leaked":"[credential]"}'
            assert items[1]["body"] == "[1,2]"
            assert dict(items[0]["headers"]) == {
                "content-type": "application/json",
                "x-enviaai-signature": "[masked, 71 characters]",
            }

    asyncio.run(run())


def test_every_kept_request_is_on_one_page(store_settings: StoreSettings) -> None:
    """Following ``next`` gives each once, also where several came in the same millisecond."""

    async def run() -> None:
        async with office(store_settings) as at:
            for number in range(9):
                await at.keep("rejected", number, b"nope")
            found: list[str] = []
            parameters: dict[str, str] = {"limit": "2"}
            while True:
                answer = (await at.operator.get("/api/rejected", params=parameters)).json()
                found += [item["request"] for item in answer["items"]]
                if answer["next"] is None:
                    break
                parameters["after"] = answer["next"]
            assert found == [f"req_{number:020x}" for number in reversed(range(9))]

    asyncio.run(run())


def test_a_long_or_binary_body_is_cut_and_readable(store_settings: StoreSettings) -> None:
    """4 KiB are shown, the size is told, and bytes that are no text do no harm."""

    async def run() -> None:
        async with office(store_settings) as at:
            await at.keep("rejected", 1, b"\xff\x00" + b"x" * 100_000)
            (item,) = (await at.operator.get("/api/rejected")).json()["items"]
            assert item["body_bytes"] == 100_002
            assert len(item["body"]) < 5_000
            assert item["body"].startswith("\ufffd\x00xxx")
            assert item["body"].endswith("(100002 bytes in all)")

    asyncio.run(run())
