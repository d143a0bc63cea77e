"""Following the log: server-sent events, driven at the ASGI level, because the answer has no end."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.config import StoreSettings
from gateway.operate import desk, search
from tests.operate.office import READ_TOKEN, Office, office
from tests.operate.test_events_api import log_credential


class Line:
    """One open stream: what came in, and the way to hang up."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.text = ""
        self.ended = False
        self._gone = asyncio.Event()
        self._came = asyncio.Condition()

    async def receive(self) -> dict[str, Any]:
        """A request without a body, then nothing until the follower hangs up."""
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """Take what the app answers."""
        async with self._came:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                self.text += message["body"].decode()
                self.ended = not message.get("more_body", False)
            self._came.notify_all()

    async def until(self, wanted: Any) -> None:
        """Wait until ``wanted()`` holds, for five seconds at most."""
        async with asyncio.timeout(5), self._came:
            await self._came.wait_for(wanted)

    def hang_up(self) -> None:
        """Close the connection from the follower's side."""
        self._gone.set()

    @property
    def messages(self) -> list[dict[str, str]]:
        """Every whole message as its fields; comments and ``retry`` are left out."""
        blocks = [block for block in self.text.split("\n\n")[:-1] if "data: " in block]
        return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]

    @property
    def ids(self) -> list[str]:
        """Event ids in the order they came."""
        return [json.loads(each["data"])["id"] for each in self.messages if "event" not in each]


@contextlib.asynccontextmanager
async def listening(at: Office, query: str = "", **headers: str) -> AsyncIterator[Line]:
    """A follower of the log."""
    line = Line()
    sent = {"authorization": f"Bearer {READ_TOKEN}"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    scope: Any = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": "/api/events/stream", "raw_path": b"/api/events/stream", "query_string": query.encode(),
        "root_path": "", "server": ("gateway.test", 80), "client": ("127.0.0.1", 1), "state": {},
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
    }  # fmt: skip
    task = asyncio.create_task(at.app(scope, line.receive, line.send))  # type: ignore[arg-type]  # same ASGI, another alias
    try:
        await line.until(lambda: line.text)
        yield line
    finally:
        line.hang_up()
        async with asyncio.timeout(5):
            await task


def test_a_follower_gets_what_comes_and_goes_on_where_it_was(store_settings: StoreSettings) -> None:
    """From now without a cursor; with ``Last-Event-ID`` behind that event, nothing twice and nothing missed."""

    async def run() -> None:
        async with office(store_settings) as at:
            await at.log_event(0)
            async with listening(at) as line:
                assert line.status == 200
                assert line.headers["content-type"].startswith("text/event-stream")
                assert line.text.startswith("retry: ")
                ids = [(await at.log_event(number)).id for number in (1, 2)]
                await line.until(lambda: len(line.messages) == 2)
                assert line.ids == ids
                cursor = line.messages[0]["id"]
                event = json.loads(line.messages[0]["data"])
                assert event["raw"] == {"number": 1, "from": "5511999999999"}
            third = (await at.log_event(3)).id
            async with listening(at, last_event_id=cursor) as line:
                await line.until(lambda: len(line.messages) == 2)
                assert line.ids == [ids[1], third]
            same = (await at.reader.get("/api/events", params={"after": cursor})).json()
            assert [item["id"] for item in same["items"]] == [ids[1], third]

    asyncio.run(run())


def test_a_follower_may_ask_for_some_types_only(store_settings: StoreSettings) -> None:
    """Filters are those of the list; login credentials are masked here too."""

    async def run() -> None:
        async with office(store_settings) as at, listening(at, "type=channel.*,booking.*") as line:
            await at.log_event(1)
            await log_credential(at)
            wanted = await at.log_event(2, "booking.created")
            await line.until(lambda: len(line.messages) == 2)
            assert line.ids[1] == wanted.id
            assert "THE-CREDENTIAL" not in line.text
            assert "[credential]" in line.text

    asyncio.run(run())


def test_what_retention_removed_is_told_as_a_gap(store_settings: StoreSettings) -> None:
    """A follower that was away too long hears how many it missed, not nothing."""

    async def run() -> None:
        async with office(store_settings) as at:
            await at.log_event(0)
            cursor = (await at.reader.get("/api/events")).json()["next"]
            for number in range(1, 5):
                await at.log_event(number)
            for seq in (2, 3):
                await at.store.call("XDEL", at.keys[0].log, f"{seq}-0")
            async with listening(at, last_event_id=cursor) as line:
                await line.until(lambda: len(line.messages) == 3)
                assert line.messages[0]["event"] == "gap"
                assert json.loads(line.messages[0]["data"]) == {"missed": 2}
                assert len(line.ids) == 2

    asyncio.run(run())


def test_a_quiet_line_is_kept_open(store_settings: StoreSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies close what is silent for long, so a comment comes now and then."""

    async def run() -> None:
        async with office(store_settings) as at, listening(at) as line:
            await line.until(lambda: ": still here" in line.text)
            assert line.messages == []

    monkeypatch.setattr(search, "QUIET_S", 0.02)
    monkeypatch.setattr(search, "POLL_S", 0.01)
    asyncio.run(run())


def test_followers_are_bounded_and_make_room_when_they_go(
    store_settings: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One too many is a 503 with Retry-After; after one has hung up there is room."""

    async def run() -> None:
        async with office(store_settings) as at:
            async with listening(at), listening(at):
                async with asyncio.timeout(5):
                    answer = await at.reader.get("/api/events/stream")
                assert answer.status_code == 503
                assert answer.headers["retry-after"] == "5"
            async with listening(at) as line:
                assert line.status == 200

    monkeypatch.setattr(desk, "MAX_FOLLOWERS", 2)
    asyncio.run(run())


def test_closing_the_desk_ends_every_stream(store_settings: StoreSettings) -> None:
    """So that a server that stops does not wait for followers who never go."""

    async def run() -> None:
        async with office(store_settings) as at, listening(at) as line:
            assert not line.ended
            at.desk.close()
            await line.until(lambda: line.ended)

    asyncio.run(run())


def test_a_stream_asks_for_a_token_and_a_good_cursor_first(store_settings: StoreSettings) -> None:
    """401 and 400 are ordinary problems, before anything is streamed."""

    async def run() -> None:
        async with office(store_settings) as at:
            assert (await at.nobody.get("/api/events/stream")).status_code == 401
            answer = await at.reader.get("/api/events/stream", headers={"last-event-id": "zzz"})
            assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
        async with office(store_settings, away=True) as at:
            assert (await at.reader.get("/api/events/stream")).status_code == 503

    asyncio.run(run())
