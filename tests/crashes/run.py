"""One run: everything started, killed again and again, drained, and looked at."""

import asyncio
import random
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from gateway.config import StoreSettings
from gateway.errors import StoreUnavailable
from gateway.store.connection import Store
from gateway.store.embedded import socket_path
from gateway.store.layout import Keys
from gateway.store.log import PartitionLog
from tests.crashes.killer import SERVING_MOST_S, Kill, kill_store, plan
from tests.crashes.provider import SOURCE, Provider
from tests.crashes.subscribers import Subscriber, subscribing
from tests.crashes.verdict import Facts, Logged
from tests.support.gateways import GatewayProcess

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DRAIN_S = 120.0
SAMPLE = 200
"""So many acknowledged requests are sent once more at the end."""
FAILING = 0.03

CONFIG = """
[gateway]
log_level = "warning"
[store]
url = "embedded:./data"
retention_bytes = "64GiB"
{store}
[sources.{source}]
adapter = "enviaai"
secrets = ["env:PROVIDER"]
[subscribers.plain]
url = "http://127.0.0.1:{plain}/"
secrets = ["env:SUBSCRIBER"]
allow_networks = ["127.0.0.0/8"]
start = "beginning"
timeout = "3s"
retry = [{retry}]
[subscribers.ordered]
url = "http://127.0.0.1:{ordered}/"
secrets = ["env:SUBSCRIBER"]
allow_networks = ["127.0.0.0/8"]
start = "beginning"
timeout = "3s"
order = "key"
retry = [{retry}]
"""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do."""

    kills: int
    store_kills: int
    rate: float
    seed: int
    serving_most_s: float = SERVING_MOST_S
    """A gateway serves at most so long until the next kill."""


class Done(msgspec.Struct, kw_only=True):
    """What came of it."""

    facts: Facts
    took_s: float
    refused: int
    """Requests that were not answered 200, and sent again."""
    serving_s: float
    """How long a gateway was there under load."""
    log: str
    """What the gateways logged."""


class Run:
    """A run under way. Power cuts (``tests/power``) are another kind of it."""

    def __init__(
        self,
        wanted: Plan,
        folder: Path,
        say: Callable[[str], None],
        *,
        env: Mapping[str, str] | None = None,
        store: str = "",
    ) -> None:
        """``env``: more of the environment of the gateways; ``store``: more lines under ``[store]``."""
        self._wanted = wanted
        self._say = say
        self._folder = folder
        chance = random.Random(wanted.seed)
        self._kills = plan(wanted.kills, wanted.store_kills, chance, serving_most_s=wanted.serving_most_s)
        self._chance = chance
        self._plain = Subscriber(0.0, chance)
        self._ordered = Subscriber(FAILING, random.Random(wanted.seed + 1))
        self._gateway = GatewayProcess(
            folder, {"PROVIDER": SOURCE.secrets[0].decode(), "SUBSCRIBER": SECRET, **(env or {})}, name="gateway"
        )
        self._store_lines = store
        self._port: int | None = None
        self._provider = Provider(rate=wanted.rate, first=wanted.seed * 10_000_000, port=lambda: self._port)
        self._kills_s: list[float] = []
        self._exits: list[int] = []
        self._ready: asyncio.Task[None] | None = None
        self._ready_s = 0.0
        self._serving_s = 0.0

    async def run(self) -> Done:
        started_s = time.monotonic()
        async with AsyncExitStack() as stack:
            stack.callback(self._gateway.close)
            for each in (self._plain, self._ordered):
                await stack.enter_async_context(subscribing(each))
            retry = ", ".join(['"200ms"'] * 50)
            (self._folder / "gateway.toml").write_text(
                CONFIG.format(
                    source=SOURCE.name,
                    plain=self._plain.port,
                    ordered=self._ordered.port,
                    retry=retry,
                    store=self._store_lines,
                )
            )
            self._start()
            await self._serving()
            self._provider.start()
            try:
                await self._strikes()
                await self._serving()
                self._say("draining")
            finally:
                await self._provider.stop(DRAIN_S)
            pending = await self._drain()
            facts = await self._look(pending)
        return Done(
            facts=facts,
            took_s=time.monotonic() - started_s,
            refused=self._provider.refused,
            serving_s=self._serving_s,
            log=self._gateway.words(),
        )

    def _start(self) -> None:
        self._gateway.spawn()
        self._ready = asyncio.create_task(self._read_ready(self._gateway))

    async def _read_ready(self, gateway: GatewayProcess) -> None:
        process = gateway.process
        assert process is not None
        assert process.stdout is not None
        line = await asyncio.to_thread(process.stdout.readline)
        if line:
            gateway.ready = msgspec.json.decode(line)
            self._port = gateway.port
            self._ready_s = time.monotonic()

    async def _serving(self) -> None:
        """Wait until the gateway is ready; one that ended by itself is noted and started again."""
        while True:
            assert self._ready is not None
            await self._ready
            if self._port is not None:
                return
            assert self._gateway.process is not None
            self._exits.append(self._gateway.process.wait())
            if len(self._exits) > 20:
                raise RuntimeError(f"the gateway does not start: {self._gateway.words()[-2_000:]}")
            self._start()

    async def _strikes(self) -> None:
        for number, kill in enumerate(self._kills, 1):
            await self._strike(kill)
            self._progress(number, len(self._kills))

    async def _strike(self, kill: Kill) -> None:
        process = self._gateway.process
        assert process is not None
        if not kill.starting:
            await self._serving()
        await asyncio.sleep(kill.after_s)
        if process.poll() is not None:  # it was to be killed, but ended before
            self._port = None
            await self._serving()
        if kill.victim == "store":
            deadline_s = time.monotonic() + 10
            while not kill_store(self._folder / "data"):  # killed a moment ago, and not there again yet
                if time.monotonic() > deadline_s:
                    raise RuntimeError("there is no store to kill")
                await asyncio.sleep(0.005)
            self._kills_s.append(time.monotonic())
            return
        await self._end(self._gateway.kill)
        self._start()

    async def _end(self, kill: Callable[[], None]) -> None:
        """End the gateway, and forget where it was."""
        if self._port is not None:
            self._serving_s += time.monotonic() - self._ready_s
        self._port = None
        kill()
        self._kills_s.append(time.monotonic())
        assert self._ready is not None
        await self._ready
        self._port = None

    def _progress(self, number: int, total: int) -> None:
        if number == total or number % max(1, total // 20) == 0:
            acknowledged = len(self._provider.acknowledged)
            self._say(f"{number} of {total} kills, {acknowledged} acknowledged, {self._provider.waiting} under way")

    async def _drain(self) -> int:
        """Wait until nothing is pending; how many deliveries still are."""
        deadline_s = time.monotonic() + DRAIN_S
        while True:
            ledger = await asyncio.to_thread(self._gateway.ledger)
            pending = sum(int(line["pending"]) for line in ledger["subscribers"].values())
            pending += int(ledger["events"]["spooled"])
            if not pending or time.monotonic() > deadline_s:
                return pending
            await asyncio.sleep(0.1)

    async def _look(self, pending: int) -> Facts:
        store = Store(StoreSettings(url="embedded:"), f"unix://{socket_path(self._folder / 'data')}")
        try:
            log = await read_log(store, Keys("0"))
            acknowledged = sorted(self._provider.acknowledged)
            chosen = self._chance.sample(acknowledged, min(SAMPLE, len(acknowledged)))
            resent = await self._provider.resend(chosen)
            audits = []
            for _ in range(2):
                _, (ledger,) = await asyncio.to_thread(self._gateway.verb, "audit")
                audits.append(int(ledger["unaccounted"]))
                await store.call("XDEL", Keys("0").log, f"{self._chance.randint(1, max(1, len(log)))}-0")
        finally:
            await store.close()
        return Facts(
            sent=set(self._provider.messages),
            acknowledged=self._provider.acknowledged,
            log=log,
            delivered={"plain": self._plain.delivered, "ordered": self._ordered.delivered},
            in_order={"ordered"},
            kills_s=self._kills_s,
            resent=resent,
            exits=self._exits,
            pending=pending,
            unaccounted=audits[0],
            unaccounted_after_deletion=audits[1],
        )


async def read_log(store: Store, keys: Keys) -> list[Logged]:
    """The whole log of a partition."""
    log, after = PartitionLog(store, keys), 0
    found: list[Logged] = []
    while True:
        try:
            entries = await log.read(after, 2_000)
        except StoreUnavailable:
            await asyncio.sleep(0.05)
            continue
        if not entries:
            return found
        after = entries[-1].seq
        heads = [msgspec.json.decode(entry.event_json, type=_Head) for entry in entries]
        found += [Logged(head.id, head.ordering_key) for head in heads]


class _Head(msgspec.Struct):
    id: str
    ordering_key: str | None


def run(wanted: Plan, say: Callable[[str], None]) -> Done:
    """Run it in a directory of its own, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="gateway-crashes-") as folder:
        return asyncio.run(Run(wanted, Path(folder), say).run())
