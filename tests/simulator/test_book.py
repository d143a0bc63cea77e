"""The ledger, read over a gateway's API that may be away for a while."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import msgspec
import pytest

from gateway.simulator import book, loopback
from gateway.simulator.children import Failed
from tests.simulator.test_story import ledger


@contextmanager
def answering(*answers: tuple[int, bytes]) -> Iterator[str]:
    left = list(answers)

    class ApiHandler(loopback.Handler):
        def do_GET(self) -> None:  # noqa: N802  http.server looks it up by this name
            self.reply(*(left.pop(0) if len(left) > 1 else left[0]))

    server = loopback.Server(ApiHandler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_store_that_is_away_is_said_once_and_waited_for() -> None:
    """Two unreadable answers, then a ledger: one sentence at the start, one at the end, settled only at the end."""
    said: list[str] = []
    settled: list[bool] = []

    async def read(url: str) -> None:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as api:
            reading = book.Book(api, lambda text, _style: said.append(text))
            for _ in range(4):
                await reading.read(now=True)
                settled.append(reading.settled)
            await reading.read()  # too soon to ask again: the last answer stands

    whole = msgspec.json.encode(ledger())
    with answering((200, whole), (503, b"{}"), (200, b"not json"), (200, whole), (500, b"")) as url:
        asyncio.run(read(url))
    assert settled == [True, False, False, True]
    assert [text.split(" (")[0] for text in said] == ["the ledger cannot be read", "the ledger can be read again"]


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that never answers again ends the demo with the reason."""
    monkeypatch.setattr(book, "PATIENCE_S", 0.0)

    async def read(url: str) -> None:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as api:
            reading = book.Book(api, lambda text, _style: None)
            await reading.read(now=True)
            await reading.read(now=True)

    with (
        answering((503, b"{}")) as url,
        pytest.raises(Failed, match="could not be read for 0 s: HTTPStatusError: Server error '503"),
    ):
        asyncio.run(read(url))


def test_pending_deliveries_are_not_settled() -> None:
    """One pending delivery anywhere keeps the demo waiting."""

    async def read(url: str) -> bool:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as api:
            reading = book.Book(api, lambda text, _style: None)
            await reading.read()
            return reading.settled

    with answering((200, msgspec.json.encode(ledger(delivered=0, pending=1)))) as url:
        assert not asyncio.run(read(url))
