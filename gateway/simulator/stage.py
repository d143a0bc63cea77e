"""Raises the curtain: key host, subscriber, gateway and store, provider, each a process of its own; and lowers it."""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec

from gateway.simulator import key_host, lines, provider, scene, subscriber
from gateway.simulator.children import Child, Failed, Stopwatch, python_module, start

START_WITHIN_S = 30.0
"""How long a player may take to be ready, on a slow machine."""
GATEWAY_WITHIN_S = 30.0
"""The same for the gateway with its store: to say that it is up, and then to answer that it is ready."""
_HOST = "127.0.0.1"
_ANY_PORT = f"{_HOST}:0"


class _Banner(msgspec.Struct):
    """What ``gateway serve --json`` says when it is up."""

    listen: str
    dashboard: str


class Stage:
    """Everything that runs, and where to reach it."""

    def __init__(self, directory: Path, drawn: scene.Secrets) -> None:
        self.directory = directory
        self.drawn = drawn
        self.children: list[Child] = []
        self.base_url = ""
        self.dashboard_url = ""
        self.config = directory / "gateway.toml"

    def child(self, name: str) -> Child:
        """The running process of that name."""
        return next(child for child in self.children if child.name == name)

    def fallen(self) -> Child | None:
        """A process that ended though nobody asked it to."""
        return next((child for child in self.children if not child.running), None)

    async def start_provider(self, *, once: bool, rate_per_s: float, seed: int) -> Child:
        """Let the providers send."""
        child = await start(
            "provider",
            python_module("gateway.simulator.provider"),
            self.directory / "provider.log",
            instructions=provider.Instructions(
                accounts=tuple(scene.accounts(self.drawn, self.base_url)), once=once, rate_per_s=rate_per_s, seed=seed
            ),
        )
        self.children.append(child)
        return child


@asynccontextmanager
async def raised(*, fail_every: int, started: Callable[[str, int, float], None]) -> AsyncIterator[Stage]:
    """Start key host, subscriber and gateway; stop everything afterwards, whatever happens.

    ``started(name, pid, after_s)`` is called as each gets ready. Raises ``Failed`` with the last words of the one that
    does not.
    """
    with tempfile.TemporaryDirectory(prefix="gateway-demo-", ignore_cleanup_errors=True) as name:
        stage = Stage(Path(name), scene.draw_secrets())
        try:
            await _start_all(stage, fail_every, started)
            yield stage
        finally:
            # Against the order of the start, which is that of the flow: each may finish what is on its way to the next.
            for child in reversed(stage.children):
                await child.stop()


async def _start_all(stage: Stage, fail_every: int, started: Callable[[str, int, float], None]) -> None:
    drawn, directory = stage.drawn, stage.directory
    watch = Stopwatch()

    keys = await start(
        "key host",
        python_module("gateway.simulator.key_host"),
        directory / "key-host.log",
        instructions=key_host.Instructions(host=scene.KEY_HOST, keys={scene.KEY_PATH: drawn.flexengage_public_pem}),
    )
    stage.children.append(keys)
    app = await start(
        "subscriber",
        python_module("gateway.simulator.subscriber"),
        directory / "subscriber.log",
        instructions=subscriber.Instructions(secrets=(drawn.subscriber,), fail_every=fail_every),
    )
    stage.children.append(app)
    keys_ready = await _ready(keys)
    started(keys.name, keys.process.pid, watch())
    app_ready = await _ready(app)
    started(app.name, app.process.pid, watch())

    ca_path = directory / "key-host-ca.pem"
    ca_path.write_text(keys_ready.ca_pem)
    scene.write(directory, drawn, listen=_ANY_PORT, subscriber_port=app_ready.port)
    gateway = await start(
        "gateway",
        [
            *python_module("gateway.simulator.tether", "--sweep", str(directory)),
            *("--", *gateway_command(), "serve", "--config", str(stage.config), "--json"),
        ],
        directory / "gateway.log",
        environment={
            **dict.fromkeys(drawn.environment()),  # or such a variable of the user's would win over .env
            "GATEWAY_KEY_HOST_RESOLVE": f"{scene.KEY_HOST}={_HOST}:{keys_ready.port}",
            "GATEWAY_KEY_HOST_CA": str(ca_path),
        },
    )
    stage.children.append(gateway)
    banner = msgspec.json.decode(await gateway.first(GATEWAY_WITHIN_S), type=_Banner)
    stage.base_url, stage.dashboard_url = f"http://{banner.listen}", banner.dashboard
    # The gateway took whatever port was free; whoever reads its file now (`gateway send`) finds it there.
    scene.write(directory, drawn, listen=banner.listen, subscriber_port=app_ready.port)
    await _answers(gateway, f"{stage.base_url}/readyz")
    started("gateway", gateway.process.pid, watch())


def gateway_command() -> list[str]:
    """The command ``gateway``, run by our own interpreter, wherever it is installed."""
    return [sys.executable, "-P", "-c", "from gateway.cli import main; main()"]


async def _ready(child: Child) -> lines.Ready:
    line = lines.parse(await child.first(START_WITHIN_S))
    if not isinstance(line, lines.Ready):
        raise Failed(child.words("began with another line than that it is ready"))
    return line


async def _answers(child: Child, url: str) -> None:
    """Wait until ``url`` answers 200. Raises ``Failed`` if the child ends, or after ``GATEWAY_WITHIN_S``."""
    last = "no answer"
    async with httpx.AsyncClient(trust_env=False, timeout=2.0) as client:
        watch = Stopwatch()
        while watch() < GATEWAY_WITHIN_S:
            if not child.running:
                raise Failed(child.words(f"ended with exit code {child.process.returncode}"))
            try:
                response = await client.get(url)
            except httpx.HTTPError as error:
                last = type(error).__name__
            else:
                if response.status_code == 200:
                    return
                last = f"{response.status_code}: {response.text[:300]}"
            await asyncio.sleep(0.02)
    raise Failed(child.words(f"was not ready within {GATEWAY_WITHIN_S:g} s (readyz: {last})"))
