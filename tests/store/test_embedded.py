"""The store inside: one server a directory, whoever starts it and however anyone ends."""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.config import StoreSettings
from gateway.errors import StoreUnavailable
from gateway.store import embedded as embedded_module
from gateway.store.connection import Store
from gateway.store.embedded import MAX_SOCKET_PATH_BYTES, EmbeddedStore, socket_path
from gateway.store.opening import open_store
from tests.store.partition import Partition, event
from tests.support.processes import alive, store_pids

DEADLINE_S = 20.0

HOLDER = """
import asyncio, sys
from pathlib import Path
from gateway.config import StoreSettings
from gateway.store.embedded import EmbeddedStore
async def main():
    embedded = EmbeddedStore(StoreSettings(url="embedded:" + sys.argv[1]))
    await embedded.start()
    print(embedded.child.pid if embedded.child else 0, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await embedded.stop()
asyncio.run(main())
"""
"""A process that uses a directory until a line, or the end, of its standard input."""


@pytest.fixture
def data() -> Iterator[Path]:
    """A directory with a short path, as sockets want it."""
    with tempfile.TemporaryDirectory(prefix="gateway-data-") as directory:
        yield Path(directory) / "data"


def settings(directory: Path) -> StoreSettings:
    """Durable, on this directory."""
    return StoreSettings(url=f"embedded:{directory}")


@asynccontextmanager
async def using(directory: Path) -> AsyncIterator[EmbeddedStore]:
    """Use the directory's server."""
    embedded = EmbeddedStore(settings(directory))
    try:
        await embedded.start()
        yield embedded
    finally:
        await embedded.stop()


@asynccontextmanager
async def partition_of(embedded: EmbeddedStore) -> AsyncIterator[Partition]:
    """A partition on its server."""
    store = Store(embedded.settings, embedded.url)
    try:
        yield Partition(store)
    finally:
        await store.close()


def holder(directory: Path) -> "subprocess.Popen[bytes]":
    """Another process that uses the directory."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def pid_of(process: "subprocess.Popen[bytes]") -> int:
    """The server it started; 0 if it attached to one."""
    assert process.stdout is not None
    return int(process.stdout.readline())


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            await asyncio.sleep(0.01)


async def eventually(work: Callable[[], Awaitable[object]]) -> object:
    """Repeat what the store may be away for."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await work()
            except StoreUnavailable:
                await asyncio.sleep(0.01)


def test_keeps_what_it_acknowledged(data: Path) -> None:
    """It starts in an empty directory that others may not look into, is durable, and ends with its only user."""

    async def check() -> None:
        async with using(data) as embedded:
            assert data.stat().st_mode & 0o777 == 0o700
            async with partition_of(embedded) as partition:
                await partition.store.ping()
                await partition.commit(event("a"))
            (pid,) = store_pids(data)
        await until(lambda: not alive(pid))
        async with using(data) as embedded, partition_of(embedded) as partition:
            assert await partition.names() == ["a"]

    asyncio.run(check())


def test_a_second_user_attaches(data: Path) -> None:
    """Two of them on one directory are one server; it stays until the last of them leaves, whichever started it."""

    async def check() -> None:
        async with using(data) as first:
            async with using(data) as second, partition_of(second) as partition:
                assert (first.child is not None, second.child) == (True, None)
                assert store_pids(data) == [first.child.pid if first.child else 0]
                await partition.commit(event("a"))
            async with partition_of(first) as partition:
                assert await partition.names() == ["a"]
        await until(lambda: store_pids(data) == [])

    asyncio.run(check())


def test_never_two_servers(data: Path) -> None:
    """Eight that start at the same moment end up on one server: both would write one file, and lose."""

    async def check() -> None:
        users = [EmbeddedStore(settings(data)) for _ in range(8)]
        try:
            await asyncio.gather(*[user.start() for user in users])
            assert len(store_pids(data)) == 1
            assert sum(user.child is not None and user.child.poll() is None for user in users) == 1
            for number, user in enumerate(users):
                async with partition_of(user) as partition:
                    assert await partition.commit(event(f"{number}")) == [number + 1]
        finally:
            for user in sorted(users, key=lambda user: user.child is not None):  # the starter last
                await user.stop()
        await until(lambda: store_pids(data) == [])

    asyncio.run(check())


def test_two_gateways_in_a_race_of_crashes(data: Path) -> None:
    """Of two processes on one directory one, or the server, or both, are killed at any moment while the other and a
    newcomer want it. Never are there two servers, and nothing acknowledged is lost.

    Eight rounds here; twenty, which take 13 s, were seen to hold."""
    chance = random.Random(20)

    async def check() -> None:
        acknowledged: list[str] = []
        async with using(data) as staying, partition_of(staying) as partition:
            for number in range(8):
                with holder(data) as other:
                    if chance.random() < 0.5:  # it has the store, or has said that it attaches
                        assert other.stdout is not None
                        other.stdout.readline()
                    await asyncio.sleep(chance.uniform(0, 0.1))
                    await eventually(lambda number=number: partition.commit(event(f"{number}")))  # type: ignore[misc]  # bound now
                    acknowledged.append(f"{number}")
                    victim = chance.choice(["other", "server", "both"])
                    if victim != "server":
                        other.kill()
                    if victim != "other":
                        for pid in store_pids(data):
                            with contextlib.suppress(ProcessLookupError):
                                os.kill(pid, signal.SIGKILL)
                    assert len(store_pids(data)) <= 1
                    await eventually(partition.store.ping)
                    assert len(store_pids(data)) == 1
                    other.kill()
            names = await eventually(partition.names)
            assert names == acknowledged

    asyncio.run(check())


def test_a_killed_server_is_started_again_with_its_data(data: Path) -> None:
    """kill -9 of the server costs nothing that was acknowledged: its user starts the next one by itself."""

    async def check() -> None:
        async with using(data) as embedded, partition_of(embedded) as partition:
            for number in range(3):
                await partition.commit(event(f"{number}"))
                (pid,) = store_pids(data)
                os.kill(pid, signal.SIGKILL)
                await eventually(partition.store.ping)
                (successor,) = store_pids(data)
                assert successor != pid
            assert await partition.names() == ["0", "1", "2"]

    asyncio.run(check())


def test_half_written_copies_of_the_log_go_with_the_next_start(data: Path) -> None:
    """A server that is killed while it writes one leaves it, as large as the log. Who only attaches removes none: that
    may be the running server's."""

    async def check() -> None:
        data.mkdir()
        left = data / "temp-rewriteaof-bg-4711.aof"
        left.write_bytes(b"half")
        async with using(data):
            assert not left.exists()
            left.write_bytes(b"being written")
            async with using(data):
                assert left.exists()

    asyncio.run(check())


def test_an_attached_user_takes_over_when_the_starter_is_killed(data: Path) -> None:
    """The server ends with the process that started it, and the other process starts the next one."""

    async def check() -> None:
        with holder(data) as starter:
            pid = pid_of(starter)
            assert pid
            async with using(data) as embedded, partition_of(embedded) as partition:
                assert embedded.child is None
                await partition.commit(event("a"))
                starter.kill()
                await until(lambda: store_pids(data) not in ([], [pid]))
                await eventually(lambda: partition.commit(event("b")))
                assert await partition.names() == ["a", "b"]
                assert len(store_pids(data)) == 1

    asyncio.run(check())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a server outlives a killed starter, and is attached to")
def test_the_server_ends_with_a_killed_starter(data: Path) -> None:
    """No server is left behind by a gateway that was killed, and its data are whole."""

    async def check() -> None:
        with holder(data) as starter:
            pid = pid_of(starter)
            starter.kill()
            await until(lambda: not alive(pid))
        async with using(data) as embedded, partition_of(embedded) as partition:
            assert await partition.commit(event("a")) == [1]

    asyncio.run(check())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a server outlives a killed starter, and is attached to")
def test_starting_where_a_server_is_just_ending(data: Path) -> None:
    """Story: a gateway restarted at once after kill -9 met its predecessor's server, which still answered, and then
    found the store gone in the middle of opening it. Opening waits for the next server."""

    async def check() -> None:
        for number in range(8):
            with holder(data) as starter:
                pid_of(starter)
                await asyncio.sleep(0.013 * number)  # kills fall at different moments of the server's own cycle
                starter.kill()
                async with using(data) as embedded, partition_of(embedded) as partition:
                    await open_store(partition.store, [partition.keys], patience_s=DEADLINE_S)
                    await eventually(partition.names)

    asyncio.run(check())


def test_a_starter_that_stops_leaves_the_others_a_store(data: Path) -> None:
    """An orderly stop of one gateway of two is no more than a short pause for the other."""

    async def check() -> None:
        with holder(data) as starter:
            pid_of(starter)
            async with using(data) as embedded, partition_of(embedded) as partition:
                await partition.commit(event("a"))
                assert starter.stdin is not None
                starter.stdin.close()
                starter.wait(DEADLINE_S)
                await eventually(lambda: partition.commit(event("b")))
                assert await partition.names() == ["a", "b"]

    asyncio.run(check())


def test_a_server_that_hangs_does_not_hold_up_the_stop(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a dead disk it may never end; it keeps its lock, and the next one waits for it.

    Story: a gateway whose store hung took 46 s to stop, and is killed after 10 s by Docker."""
    monkeypatch.setattr(embedded_module, "STOP_S", 0.2)

    async def check() -> None:
        loop = asyncio.get_running_loop()
        async with using(data) as embedded, partition_of(embedded) as partition:
            await partition.commit(event("a"))
            assert embedded.child is not None
            child = embedded.child
            child.send_signal(signal.SIGSTOP)
            started_s = loop.time()
        try:
            assert loop.time() - started_s < 2
            assert alive(child.pid)
        finally:
            child.send_signal(signal.SIGCONT)
            child.wait(DEADLINE_S)
            monkeypatch.undo()  # the next one may take its time
        async with using(data) as embedded, partition_of(embedded) as partition:
            assert await eventually(partition.names) == ["a"]

    asyncio.run(check())


def test_a_long_path_gets_its_socket_elsewhere(data: Path) -> None:
    """Sockets have short names only; whoever asks for the same directory, however spelled, is told the same place."""
    deep = data / ("d" * 60) / ("e" * 60)
    path = socket_path(deep)
    assert len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES
    assert deep not in path.parents
    assert socket_path(deep) == path
    assert socket_path(deep / ".." / deep.name) == path
    assert socket_path(deep.with_name("f" * 60)) != path
    assert socket_path(data) == data / "valkey.sock"

    async def check() -> None:
        async with using(deep) as first, using(deep) as second, partition_of(second) as partition:
            assert (first.url, second.child) == (second.url, None)
            assert await partition.commit(event("a")) == [1]
        assert path.parent.stat().st_mode & 0o777 == 0o700

    try:
        asyncio.run(check())
    finally:
        shutil.rmtree(path.parent, ignore_errors=True)


def test_a_server_that_cannot_run_says_why(data: Path) -> None:
    """The refusal repeats the end of the server's own log. Story: it was started again and again, without an end or a
    word, unless it died within the millisecond in which it was looked at."""
    data.mkdir()
    directory = data / "appendonlydir"
    directory.mkdir()
    (directory / "appendonly.aof.manifest").write_text("this is no manifest\n")

    async def check() -> None:
        with pytest.raises(StoreUnavailable, match=r"the embedded store ended with code 1: .*manifest"):
            async with using(data):
                pass

    asyncio.run(check())


def test_a_directory_that_is_none_is_said_in_words(data: Path) -> None:
    """A file in its place, or one where a file of ours should be: the path and the reason, no traceback."""

    async def check(match: str) -> None:
        with pytest.raises(StoreUnavailable, match=match):
            async with using(data):
                pass

    data.write_text("a file")
    asyncio.run(check(r"cannot use .*/data: File exists"))
    data.unlink()
    (data / "users").mkdir(parents=True)
    asyncio.run(check(r"cannot use .*/data/users: Is a directory"))
    (data / "users").rmdir()
    (data / "lock").mkdir()
    asyncio.run(check(r"cannot use .*/data/lock: Is a directory"))


def test_a_full_disk_gets_its_ballast_back(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few megabytes are set aside while there is room, and given back when there is none, so that it can start."""

    class Usage:
        free = 1 << 40

    async def start_once() -> None:
        async with using(data):
            pass

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage)
    asyncio.run(start_once())
    assert (data / "ballast").stat().st_size == embedded_module.BALLAST_BYTES
    Usage.free = embedded_module.BALLAST_BYTES * 2
    asyncio.run(start_once())
    assert (data / "ballast").exists()
    Usage.free = embedded_module.BALLAST_BYTES - 1
    asyncio.run(start_once())
    assert not (data / "ballast").exists()
    Usage.free = embedded_module.BALLAST_BYTES * 2
    asyncio.run(start_once())
    assert not (data / "ballast").exists()


def test_stopping_what_never_started(data: Path) -> None:
    """A gateway that fails before its store is up can still be stopped."""
    asyncio.run(EmbeddedStore(settings(data)).stop())
