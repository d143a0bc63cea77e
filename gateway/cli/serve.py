"""``gateway serve``: run."""

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from pathlib import Path
from typing import Any, Literal

import click
import rich_click

from gateway.cli.common import Exit, Refusal, config_option, console, json_option, load_config, print_json


@click.command(cls=rich_click.RichCommand)
@config_option
@click.option("--listen", help="Address and port, instead of the file's; port 0 takes a free one.")
@click.option(
    "--role",
    type=click.Choice(["all", "intake", "delivery"]),
    default="all",
    show_default=True,
    help="all; only take requests; or only deliver.",
)
@json_option
def serve(config_path: Path, listen: str | None, role: Literal["all", "intake", "delivery"], as_json: bool) -> None:
    """Run the gateway until it is told to stop (Ctrl-C or SIGTERM).

    Without a configuration it says how to make one. The banner tells the store, its durability, the sources, the
    subscribers, and the dashboard with a link that logs you in once.
    """
    if not config_path.exists():
        raise Refusal(f"there is no {config_path}\nwrite one with: gateway init", Exit.CONFIG)
    config = load_config(config_path)
    from gateway import wide_log  # the web stack takes 300 ms that --help must not wait for

    wide_log.set_up(config.gateway.log_level, config.gateway.log_format)
    host, port = _address(listen) if listen else (config.gateway.host, config.gateway.port)
    try:
        bound = _bind(host, port)
    except OSError as error:
        raise Refusal(
            f"cannot listen on {host}:{port}: {error.strerror}\nchoose another with --listen {host}:<port>",
            Exit.UNREACHABLE,
        ) from None
    import uvloop

    with bound:
        uvloop.run(_serve(config, role, bound, as_json=as_json))


def _address(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65_535:
        raise Refusal(f"--listen {listen}: write an address and a port, such as 127.0.0.1:8080", Exit.USAGE)
    return host.strip("[]") or "127.0.0.1", int(port)


def _bind(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(2048)
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


async def _serve(
    config: Any, role: Literal["all", "intake", "delivery"], bound: socket.socket, *, as_json: bool
) -> None:
    import uvicorn

    from gateway.app import Gateway

    address: tuple[str, int] = bound.getsockname()[:2]
    gateway = Gateway(config, role=role, listen=address)

    class Server(uvicorn.Server):
        """Without uvicorn's own signal handling, which ends the process before the gateway has handed over."""

        @contextlib.contextmanager
        def capture_signals(self) -> Any:
            yield

    server = Server(
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
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = loop.create_task(gateway.reload_quietly("SIGHUP"))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    # A terminal that is closed sends it as well, and there it means the end.
    loop.add_signal_handler(signal.SIGHUP, stop if sys.stdin and sys.stdin.isatty() else reload)
    try:
        await _until(gateway.start(), stopping)
        if stopping.is_set():
            return
        # What has been made by now stays: the collector need not look at it again, nor look often at what comes and
        # goes without cycles (4 % of the intake's time, measured).
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 50, 100)
        await _banner(gateway, address, as_json=as_json)
        await server.serve(sockets=[bound])
    finally:
        await gateway.stop()


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


async def _banner(gateway: Any, address: tuple[str, int], *, as_json: bool) -> None:
    config = gateway.config
    host, port = address
    base = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{port}"  # noqa: S104  # compared, not bound
    dashboard = await gateway.access.new_login(base)
    fsync = gateway.store.live_settings.get("appendfsync")
    if as_json:
        print_json(
            {
                "event": "ready",
                "listen": f"{host}:{port}",
                "dashboard": dashboard,
                "role": gateway.role,
                "durability": config.store.durability,
                "appendfsync": fsync,
                "sources": list(config.sources),
                "subscribers": list(config.subscribers),
            }
        )
        return
    where = "embedded Valkey" if gateway.embedded else "external store"
    kept = f"fsync before every 200 (appendfsync {fsync})" if fsync else config.store.durability
    rows = [
        ("listening", base if gateway.role == "delivery" else f"{base}/in/<source>"),
        ("store", f"{where} · {kept} · {config.store.partitions} partition(s)"),
        ("sources", ", ".join(config.sources) or "none yet: gateway init"),
        ("subscribers", ", ".join(config.subscribers) or "none: events are kept, nothing is delivered"),
        ("dashboard", f"{dashboard}  (opens once)"),
    ]
    out = console()
    out.print(f"gateway · role {gateway.role}", style="bold")
    for name, text in rows:
        out.print(f"  {name:<12}{text}", soft_wrap=True)
