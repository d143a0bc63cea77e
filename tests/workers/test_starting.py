"""What comes while a gateway starts, and while it ends: signals, and the end of a worker."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.crashes.provider import SOURCE
from tests.support.delivering import until
from tests.support.gateways import GatewayProcess
from tests.workers.test_workers import CONFIG, ENV, WITHIN_S

TEXT = CONFIG.format(source=SOURCE.name, port=9)


@asynccontextmanager
async def starting(folder: Path, *arguments: str) -> AsyncIterator[GatewayProcess]:
    """A gateway that has been started and is not waited for."""
    gateway = GatewayProcess(folder, ENV, arguments=arguments)
    gateway.spawn()
    try:
        yield gateway
    finally:
        await asyncio.to_thread(gateway.close)


def children(pid: int) -> list[int]:
    """The workers of a parent, ready or not."""
    found = []
    for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            if b"gateway.workers.child" in Path(f"/proc/{each}/cmdline").read_bytes():
                found.append(int(each))
    return found


async def ready(gateway: GatewayProcess) -> None:
    """Wait until it says that it serves."""
    assert gateway.process is not None
    assert gateway.process.stdout is not None
    async with asyncio.timeout(WITHIN_S):
        assert await asyncio.to_thread(gateway.process.stdout.readline), gateway.words()[-2_000:]


def logged(gateway: GatewayProcess, *words: str) -> Callable[[], bool]:
    """Whether its log has all of these."""
    return lambda: all(each in gateway.words() for each in words)


def test_signals_that_come_before_the_file_is_read_are_acted_on_later(tmp_path: Path) -> None:
    """Neither SIGHUP nor SIGUSR2 is the end of a gateway that has not even read its configuration yet."""
    fifo = tmp_path / "gateway.toml"
    os.mkfifo(fifo)

    async def story() -> None:
        async with starting(tmp_path) as gateway:
            assert gateway.process is not None
            opened: list[int] = []

            def is_read() -> bool:
                with contextlib.suppress(OSError):  # ENXIO: nobody reads it yet
                    opened.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
                return bool(opened)

            await until(is_read, within_s=WITHIN_S)
            gateway.process.send_signal(signal.SIGHUP)
            gateway.process.send_signal(signal.SIGUSR2)
            (tmp_path / "new").write_text(TEXT)
            (tmp_path / "new").replace(fifo)  # for whoever reads it from now on
            os.write(opened[0], TEXT.encode())
            os.close(opened[0])
            await ready(gateway)
            await until(logged(gateway, '"workers.no_roll"', '"who":"SIGHUP"'), within_s=WITHIN_S)
            assert await asyncio.to_thread(gateway.terminate) == 0

    asyncio.run(story())


def test_a_start_survives_signals_and_a_killed_worker_and_an_end_survives_signals(tmp_path: Path) -> None:
    """A worker that is killed before it serves is started again, and all are replaced once all serve. When it ends, no
    signal makes it start another."""
    (tmp_path / "gateway.toml").write_text(TEXT)

    async def story() -> None:
        async with starting(tmp_path, "--workers", "2") as gateway:
            assert gateway.process is not None
            parent = gateway.process
            await until(lambda: len(children(parent.pid)) == 2, within_s=WITHIN_S)
            held, killed = children(parent.pid)
            os.kill(held, signal.SIGSTOP)  # so that the start lasts
            os.kill(killed, signal.SIGKILL)
            parent.send_signal(signal.SIGUSR2)
            parent.send_signal(signal.SIGHUP)
            await until(logged(gateway, '"workers.ended"'), within_s=WITHIN_S)
            os.kill(held, signal.SIGCONT)
            await ready(gateway)
            await until(logged(gateway, '"workers.rolled"'), within_s=WITHIN_S)
            parent.send_signal(signal.SIGTERM)
            while parent.poll() is None:
                parent.send_signal(signal.SIGUSR2)
                parent.send_signal(signal.SIGHUP)
                await asyncio.sleep(0.01)
            assert parent.returncode == 0
            assert "Traceback" not in gateway.words()

    asyncio.run(story())
