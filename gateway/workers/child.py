"""A worker as a process: ``python -P -m gateway.workers.child``, started by ``parent.py`` and by nobody else.

Its orders are the first line of its standard input, which then stays open for as long as the parent lives; on its
standard output it says once that it serves. The listening socket it inherits.
"""

import asyncio
import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import uvloop

from gateway import lifeline, wide_log
from gateway.app import Role
from gateway.cli.common import exit_code_of, load_config
from gateway.errors import ConfigError, GatewayError
from gateway.workers.early import Early
from gateway.workers.exchange import Place
from gateway.workers.running import Ready, run

LAST_S = 15.0
"""A worker whose parent is gone ends within this time, even if its loop hangs."""


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker must know to begin."""

    config_path: str
    role: Role
    socket_fd: int
    worker: int
    workers: int
    folder: str


def main() -> int:
    """Run until told to stop; the exit code says why it could not."""
    early = Early()
    parent = os.getppid()
    orders = lifeline.instructions(Orders)
    try:
        place = Place(worker=orders.worker, workers=orders.workers, folder=Path(orders.folder))
        config = load_config(Path(orders.config_path))
        wide_log.set_up(config.gateway.log_level, config.gateway.log_format, worker=place.worker)
        with socket.socket(fileno=orders.socket_fd) as bound:
            bound.setblocking(False)
            uvloop.run(run(config, orders.role, bound, early, place=place, ready=_say, told=_end_with_parent))
    except ConfigError as error:
        sys.stderr.write("".join(f"{line}\n" for line in error.problems))
        return exit_code_of(error)
    except GatewayError as error:
        sys.stderr.write(f"{error}\n")
        return exit_code_of(error)
    finally:
        if os.getppid() != parent:  # then nobody else takes the folder away
            with contextlib.suppress(OSError):
                Path(orders.folder).rmdir()
    return 0


def _say(ready: Ready) -> None:
    with contextlib.suppress(BrokenPipeError):  # the parent is gone; the lifeline says so too
        sys.stdout.buffer.write(msgspec.json.encode(ready) + b"\n")
        sys.stdout.buffer.flush()


def _end_with_parent(stop: Callable[[], None]) -> None:
    cut = lifeline.watch()
    loop = asyncio.get_running_loop()

    def wait() -> None:
        cut.wait()
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(stop)
        time.sleep(LAST_S)
        os._exit(1)

    threading.Thread(target=wait, name="orphan", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
