"""The parent of several workers, alone: what the machine refuses it."""

import asyncio
import signal
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.workers import parent
from gateway.workers.parent import Parent, Worker


class Process:
    """A worker's process, which ends when the test says so."""

    def __init__(self, pid: int, *, serves: bool = True) -> None:
        self.pid = pid
        self.ended = asyncio.Event()
        self.stdout = asyncio.StreamReader()
        if serves:
            self.serve()
        self.told: list[int] = []
        """The signals it was sent."""

    def serve(self) -> None:
        """Say that it serves."""
        self.stdout.feed_data(b"{}\n")

    def send_signal(self, number: int) -> None:
        """Take note; it ends at SIGKILL."""
        self.told.append(number)
        if number == signal.SIGKILL:
            self.ended.set()

    async def wait(self) -> int:
        """Wait until it has ended."""
        await self.ended.wait()
        return -9


def make_parent(*workers: Process) -> Parent:
    """A parent of such workers."""
    config: Any = SimpleNamespace(store=SimpleNamespace(data_dir=None))
    with socket.socket() as bound:
        made = Parent(config, "all", bound, len(workers))
    made._serving = [Worker(number, each) for number, each in enumerate(workers)]  # type: ignore[arg-type]  # enough of one
    made._started = list(made._serving)
    return made


def test_a_worker_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without memory for one more process must not cost those that serve."""
    monkeypatch.setattr(parent, "FIRST_PAUSE_S", 0.001)
    tries: list[int] = []

    async def check() -> None:
        dead, next_one = Process(1), Process(2)
        dead.ended.set()
        made = make_parent(dead)

        async def spawn(_number: int) -> Worker:
            tries.append(1)
            if len(tries) < 3:
                raise OSError(11, "Resource temporarily unavailable")
            return Worker(0, next_one)  # type: ignore[arg-type]  # as much of a process as it uses

        monkeypatch.setattr(made, "_spawn", spawn)
        keeping = asyncio.create_task(made._keep(0))
        async with asyncio.timeout(5):
            while len(tries) < 3 and not keeping.done():
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        assert not keeping.done()
        assert made._serving[0].pid == next_one.pid == 2
        keeping.cancel()

    asyncio.run(check())


def test_a_reload_waits_for_a_worker_that_only_starts() -> None:
    """SIGHUP before it listens for it would be its end; when it serves it is told, once, for it may have read the file
    before it was changed. One that serves is told at once."""

    async def check() -> None:
        serving, starting = Process(1), Process(2, serves=False)
        made = make_parent(serving, starting)
        assert await made._serving[0].ready()
        waiting = asyncio.create_task(made._serving[1].ready())
        made._reload()
        made._reload()
        await asyncio.sleep(0)
        assert (serving.told, starting.told) == ([signal.SIGHUP] * 2, [])
        starting.serve()
        assert await waiting
        assert starting.told == [signal.SIGHUP]
        made._reload()
        assert starting.told == [signal.SIGHUP] * 2

    asyncio.run(check())


def test_a_new_worker_that_hangs_does_not_hold_the_place_of_the_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended and told, the old one serves on, and the next SIGUSR2 finds nothing in its way."""
    monkeypatch.setattr(parent, "READY_S", 0.01)
    logged: list[tuple[str, str]] = []
    monkeypatch.setattr(parent.log, "error", lambda event, **fields: logged.append((event, fields["why"])))

    async def check() -> None:
        old, hanging, new = Process(1), Process(2, serves=False), Process(3)
        made = make_parent(old)
        spawned = iter([hanging, new])

        async def spawn(number: int) -> Worker:
            return Worker(number, next(spawned))  # type: ignore[arg-type]  # enough of one

        monkeypatch.setattr(made, "_spawn", spawn)
        async with asyncio.timeout(10):
            await made._replace_all()
        assert hanging.told == [signal.SIGKILL]
        assert (made._serving[0].pid, old.told) == (1, [])
        assert logged == [
            ("workers.killed", "it did not serve within 0.01 s"),
            ("workers.not_replaced", "the new one ended"),
        ]
        monkeypatch.setattr(parent, "READY_S", 60)
        old.ended.set()
        async with asyncio.timeout(10):
            await made._replace_all()
        assert (made._serving[0].pid, old.told) == (3, [signal.SIGTERM])

    asyncio.run(check())
