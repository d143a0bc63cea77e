"""One process of the gateway, from start to end: serve, obey signals, hand over, stop."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import structlog
import uvicorn

from gateway.app import Gateway, Role
from gateway.config import Config
from gateway.errors import StoreError
from gateway.workers.accepting import Server, SharingServer
from gateway.workers.early import Early
from gateway.workers.exchange import ALONE, Place

log = structlog.get_logger("gateway.workers")


LINK_S = 0.5
"""Nobody waits longer for a login link: webhooks can be taken without a store."""


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What a process says once it serves."""

    pid: int
    dashboard: str
    """A link that logs in once; without a store the page that asks for a token."""
    appendfsync: str | None
    """As the store says it."""
    away: str
    """Since when and why it is not there; empty if it is."""
    spool_broken: str
    """Why the spool cannot take anything; empty if it can, or there is none."""


async def run(
    config: Config,
    role: Role,
    bound: socket.socket,
    early: Early,
    *,
    place: Place = ALONE,
    ready: Callable[[Ready], None],
    told: Callable[[Callable[[], None]], None] = lambda _stop: None,
) -> None:
    """Serve on ``bound`` until a signal. Raises what ``Gateway.start`` raises.

    ``told`` is given what stops the process, for who has other reasons than a signal.
    """
    address: tuple[str, int] = bound.getsockname()[:2]
    gateway = Gateway(config, role=role, listen=address, place=place)
    server = (SharingServer if place.folder else Server)(
        uvicorn.Config(
            gateway.asgi,
            http=gateway.edge.protocol,
            ws="none",
            lifespan="off",
            access_log=False,  # it would log paths, which may hold tokens
            server_header=False,
            proxy_headers=False,  # it believes any loopback peer; `trusted_proxies` decides, in intake/addresses.py
            date_header=False,
            log_config=None,
            timeout_graceful_shutdown=5,
            h11_max_incomplete_event_size=None,
        )
    )
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def stop() -> None:
        stopping.set()
        gateway.hand_over()  # with the last requests, not after them: each takes its seconds
        gateway.desk.close()  # who follows the log would keep the server from ending
        server.should_exit = True

    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stop)
    told(stop)
    reloads: set[asyncio.Task[None]] = set()

    serves = is_to_reload = False

    def reload() -> None:
        nonlocal is_to_reload
        if not serves or stopping.is_set():  # half of what it changes is not there yet, or no more
            is_to_reload = True
            return
        task = loop.create_task(gateway.reloader.reload_quietly("SIGHUP"))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    no_roll = partial(log.warning, "workers.no_roll", why="this process has no workers")  # meant for their parent
    early.act(stop=stop, reload=reload, roll=no_roll)
    try:
        await _until(gateway.start(), stopping)
        if stopping.is_set():
            return
        # What has been made by now stays: the collector need not look at it again, nor look often at what comes and
        # goes without cycles (4 % of the intake's time, measured); a look at 20,000 new ones was a pause of 2 ms.
        gc.collect()
        gc.freeze()
        gc.set_threshold(5_000, 200, 100)
        said = Ready(
            pid=os.getpid(),
            dashboard=await _dashboard(gateway, base_url(*address)),
            appendfsync=gateway.store.live_settings.get("appendfsync"),
            away=away.words if (away := gateway.here.away()) else "",
            spool_broken=gateway.spool.broken if gateway.spool else "",
        )
        serves = True
        if is_to_reload:
            reload()
        ready(said)  # whoever connects from now on waits in the socket's queue
        await server.serve(sockets=[bound])
    finally:
        await gateway.stop()


def base_url(host: str, port: int) -> str:
    """Where somebody on this machine finds it."""
    return f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{port}"  # noqa: S104  # compared, not bound


async def _dashboard(gateway: Gateway, base: str) -> str:
    """A link that logs in once; while the store is away there is none, only the form for a token."""
    try:
        async with asyncio.timeout(LINK_S):
            return await gateway.access.new_login(base)
    except (StoreError, TimeoutError):
        return f"{base}/login"


async def _until(work: Any, stopping: asyncio.Event) -> None:
    """Wait for ``work``, or for the signal to stop: a store that never comes up must not need a kill."""
    task, stop = asyncio.ensure_future(work), asyncio.ensure_future(stopping.wait())
    await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    else:
        task.result()
