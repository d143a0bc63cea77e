"""``gateway serve``: run."""

import asyncio
import errno
import socket
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import rich_click

from gateway.cli.common import Exit, Refusal, config_option, console, json_option, load_config, print_json

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.workers.early import Early

BIND_PATIENCE_S = 3.0
"""Workers whose parent was killed let go of the address within this time."""

_NO_LINK = "(the store is not there yet: log in with a token)"

Role = Literal["all", "intake", "delivery"]


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
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="How many processes share the work."
)
@json_option
def serve(config_path: Path, listen: str | None, role: Role, workers: int, as_json: bool) -> None:
    """Run the gateway until it is told to stop (Ctrl-C or SIGTERM).

    Without a configuration it says how to make one. The banner tells the store, its durability, the sources, the
    subscribers, and the dashboard with a link that logs you in once.

    With several workers, one that dies is started again, and SIGUSR2 replaces one after the other while the rest serve.
    SIGHUP reads the configuration again, as gateway reload does. Signals are for this process, not for its workers.
    """
    from gateway.workers.early import Early

    early = Early()  # before all that takes time
    if not config_path.exists():
        raise Refusal(f"there is no {config_path}\nwrite one with: gateway init", Exit.CONFIG)
    config = load_config(config_path)
    from gateway import wide_log  # the web stack takes 300 ms that --help must not wait for

    wide_log.set_up(config.gateway.log_level, config.gateway.log_format)
    host, port = _address(listen) if listen else (config.gateway.host, config.gateway.port)
    with _listen(host, port, patience_s=BIND_PATIENCE_S if workers > 1 else 0) as bound:
        try:
            if workers > 1:
                _serve_with_workers(config, role, workers, bound, early, as_json=as_json)
            else:
                _serve_alone(config, role, bound, early, as_json=as_json)
        finally:
            early.end()


def _serve_alone(config: "Config", role: Role, bound: socket.socket, early: "Early", *, as_json: bool) -> None:
    import msgspec
    import uvloop

    from gateway.workers.running import Ready, run

    def ready(said: Ready) -> None:
        _banner(config, role, bound.getsockname(), [msgspec.to_builtins(said)], as_json=as_json)

    uvloop.run(run(config, role, bound, early, ready=ready))


def _serve_with_workers(
    config: "Config", role: Role, workers: int, bound: socket.socket, early: "Early", *, as_json: bool
) -> None:
    from gateway.workers.parent import WorkerFailed, run

    ready = partial(_banner, config, role, bound.getsockname(), as_json=as_json)
    try:
        asyncio.run(run(config, role, bound, workers, early, ready))
    except WorkerFailed as failed:  # it has said why
        sys.exit(failed.code)


def _address(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65_535:
        raise Refusal(f"--listen {listen}: write an address and a port, such as 127.0.0.1:8080", Exit.USAGE)
    return host.strip("[]") or "127.0.0.1", int(port)


def _listen(host: str, port: int, *, patience_s: float) -> socket.socket:
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            return _bind(host, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and time.monotonic() < deadline_s:
                time.sleep(0.05)
                continue
            raise Refusal(
                f"cannot listen on {host}:{port}: {error.strerror}\nchoose another with --listen {host}:<port>",
                Exit.UNREACHABLE,
            ) from None


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


def _banner(
    config: "Config", role: Role, address: tuple[Any, ...], said: list[dict[str, Any]], *, as_json: bool
) -> None:
    """``said``: by each worker (``running.Ready``)."""
    host, port = address[:2]
    first = said[0]
    fsync = first["appendfsync"]
    if as_json:
        print_json(
            {
                "event": "ready",
                "listen": f"{host}:{port}",
                "dashboard": first["dashboard"],
                "role": role,
                "durability": config.store.durability,
                "appendfsync": fsync,
                "away": first["away"] or None,
                "spool": str(config.store.spool) if config.store.spool else None,
                "sources": list(config.sources),
                "subscribers": list(config.subscribers),
                "workers": [each["pid"] for each in said],
            }
        )
        return
    base = first["dashboard"].rpartition("/login")[0]
    where = "embedded Valkey" if config.store.data_dir else "external store"
    kept = f"fsync before every 200 (appendfsync {fsync})" if fsync else config.store.durability
    if first["away"]:
        kept = f"away {first['away']}: webhooks {'are answered 503' if first['spool_broken'] else 'go into the spool'}"
    spool = config.store.spool
    takes_over = f"takes webhooks while the store cannot, up to {config.store.spool_bytes // 1024**2} MiB"
    if first["spool_broken"]:
        takes_over = f"{first['spool_broken']}; while the store is away webhooks are answered 503"
    intake = [
        ("spool", takes_over if spool else "none: while the store is away webhooks are answered 503"),
        ("sources", ", ".join(config.sources) or "none yet: gateway init"),
    ]
    if role == "delivery":
        intake = [("webhooks", "none: send them to a process with the role intake or all")]
    rows = [
        ("listening", base if role == "delivery" else f"{base}/in/<source>"),
        ("store", f"{where} · {kept} · {config.store.partitions} partition(s)"),
        *intake,
        ("subscribers", ", ".join(config.subscribers) or "none: events are kept, nothing is delivered"),
        ("dashboard", f"{first['dashboard']}  {'(opens once)' if '/login/' in first['dashboard'] else _NO_LINK}"),
    ]
    out = console()
    several = f" · {len(said)} workers" if len(said) > 1 else ""
    out.print(f"gateway · role {role}{several}", style="bold")
    for name, text in rows:
        out.print(f"  {name:<12}{text}", soft_wrap=True)
