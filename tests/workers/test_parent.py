"""The parent of several workers, alone: what the machine refuses it."""

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.workers import parent
from gateway.workers.parent import Parent, Worker


class Process:
    """A worker's process, which ends when the test says so."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.ended = asyncio.Event()
        self.stdout = asyncio.StreamReader()
        self.stdout.feed_data(b"{}\n")

    async def wait(self) -> int:
        """Wait until it has ended."""
        await self.ended.wait()
        return -9


def test_a_worker_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without memory for one more process must not cost those that serve."""
    monkeypatch.setattr(parent, "FIRST_PAUSE_S", 0.001)
    tries: list[int] = []

    async def check() -> None:
        config: Any = SimpleNamespace(store=SimpleNamespace(data_dir=None))
        with socket.socket() as bound:
            made = Parent(config, "all", bound, 1)
        dead, next_one = Process(1), Process(2)
        dead.ended.set()
        made._serving = [Worker(0, dead)]  # type: ignore[arg-type]  # as much of a process as it uses

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
