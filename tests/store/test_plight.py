"""What the machine tells of an embedded store that does not answer."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from structlog.testing import capture_logs

from gateway.config import StoreSettings
from gateway.errors import StoreUnavailable
from gateway.store import embedded as embedded_module
from gateway.store.embedded import EmbeddedStore
from gateway.store.plight import LOW_BYTES, Plight, no_room

DEADLINE_S = 20.0


@pytest.fixture
def data() -> Iterator[Path]:
    """A directory with a short path, as sockets want it."""
    with tempfile.TemporaryDirectory(prefix="gateway-data-") as directory:
        yield Path(directory) / "data"


@asynccontextmanager
async def using(data: Path, durability: Literal["fsync", "memory"] = "fsync") -> AsyncIterator[EmbeddedStore]:
    """Use the directory's server; a stopped one is let go on before the end."""
    embedded = EmbeddedStore(StoreSettings(url=f"embedded:{data}", durability=durability))
    try:
        await embedded.start()
        yield embedded
    finally:
        if embedded.child is not None and embedded.child.poll() is None:
            embedded.child.send_signal(signal.SIGCONT)
        await embedded.stop()


async def until(holds: Callable[[], Any]) -> None:
    """Wait for it."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            await asyncio.sleep(0.02)


def child_of(embedded: EmbeddedStore) -> int:
    """The server's process."""
    assert embedded.child is not None
    return embedded.child.pid


def fill(monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
    """Have the disk say so."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free_bytes))


@pytest.mark.skipif(sys.platform != "linux", reason="the pid comes from SO_PEERCRED")
def test_a_silent_server_is_told_from_one_that_ended(data: Path) -> None:
    """The first is named with its process and what to do; the second is started again, and says nothing of that."""

    async def run() -> None:
        async with using(data) as embedded:
            pid = child_of(embedded)
            beside = Plight(embedded.settings, embedded.socket)
            assert (beside.look(), beside.words()) == ("answers", "")
            os.kill(pid, signal.SIGSTOP)
            words = beside.words()
            assert f"its process {pid} is there and silent" in words
            assert f"kill -9 {pid}: it is started again, and nothing acknowledged is lost" in words
            asked = beside._asked
            assert beside.words() == words
            assert beside._asked is asked, "each look would take a place in the queue of a server that hangs"
            os.kill(pid, signal.SIGCONT)
            await until(lambda: beside.look() == "answers")
            os.kill(pid, signal.SIGSTOP)
            assert beside.look() == "silent"
            os.kill(pid, signal.SIGKILL)  # what the words advise
            await until(lambda: beside.look() == "answers")
            assert child_of(embedded) != pid
            beside.close()
        assert (beside.look(), beside.words()) == ("gone", "")

    asyncio.run(run())


def test_of_a_store_in_memory_it_is_not_said_that_nothing_is_lost(data: Path) -> None:
    """What to do is the same, what it costs is not."""

    async def run() -> None:
        async with using(data, "memory") as embedded:
            os.kill(child_of(embedded), signal.SIGSTOP)
            assert "all it holds is lost" in embedded.plight.words()

    asyncio.run(run())


def test_an_attached_gateway_takes_a_silent_server_for_no_ended_one(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits, and its log says once what to do. Story: it said "ended", and tried to start one."""
    monkeypatch.setattr(embedded_module, "LOOK_S", 0.05)

    async def run() -> None:
        async with using(data) as starter:
            with capture_logs() as lines:
                async with using(data) as attached:
                    assert attached.child is None
                    os.kill(child_of(starter), signal.SIGSTOP)
                    await until(lambda: [each for each in lines if each["event"] == "store.silent"][1:])
                    os.kill(child_of(starter), signal.SIGCONT)
                    await until(lambda: [each for each in lines if each["event"] == "store.not_silent"][1:])
        events = [each["event"] for each in lines]
        assert events.count("store.silent") == 2  # each of the two gateways once
        assert "store.restart" not in events
        assert all("kill -9" in each["why"] for each in lines if each["event"] == "store.silent")

    asyncio.run(run())


def test_a_full_disk_is_said_as_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the place and what to do, and as one sentence however the bytes come and go."""
    fill(monkeypatch, LOW_BYTES)
    assert no_room(tmp_path) == ""
    fill(monkeypatch, LOW_BYTES - 1)
    words = no_room(tmp_path)
    assert f"the disk of {tmp_path} is as good as full" in words
    assert "make room there" in words
    beside = Plight(StoreSettings(url=f"embedded:{tmp_path}"), tmp_path / "valkey.sock")
    assert beside.words() == words
    fill(monkeypatch, 0)
    assert no_room(tmp_path) == words


def test_a_server_that_ends_again_and_again_is_told_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a full disk as the reason; again when the disk is another matter. Story: 76 lines in 40 s, without a reason
    but the end of an older log."""
    monkeypatch.setattr(embedded_module, "LONGEST_PAUSE_S", 0.02)
    launched: list[None] = []

    def broken() -> str:
        launched.append(None)
        return shutil.which("false") or ""

    async def run() -> None:
        async with using(data) as embedded:
            binary = embedded_module.server_binary
            monkeypatch.setattr(embedded_module, "server_binary", broken)
            fill(monkeypatch, 0)
            with capture_logs() as lines:
                os.kill(child_of(embedded), signal.SIGKILL)
                await until(lambda: len(launched) >= 6)
                fill(monkeypatch, LOW_BYTES)
                await until(lambda: len([each for each in lines if each["event"] == "store.down"]) == 2)
            full, other = (each["why"] for each in lines if each["event"] == "store.down")
            assert full.startswith("the embedded store ended with code 1: the disk of")
            assert other == "the embedded store ended with code 1: it wrote nothing in its log"
            restarts = [each for each in lines if each["event"] == "store.restart"]
            assert [each["code"] for each in restarts] == [-signal.SIGKILL, 1, 1]
            monkeypatch.setattr(embedded_module, "server_binary", binary)
            await until(lambda: embedded.plight.look() == "answers")

    asyncio.run(run())


def test_a_start_on_a_full_disk_says_so(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the server itself could not write a word."""
    fill(monkeypatch, 0)
    monkeypatch.setattr(embedded_module, "server_binary", lambda: shutil.which("false"))

    async def run() -> None:
        with pytest.raises(StoreUnavailable, match=r"ended with code 1: the disk of .* is as good as full"):
            async with using(data):
                pass

    asyncio.run(run())
