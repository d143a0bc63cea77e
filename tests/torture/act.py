"""One act: everything started, kept running whatever happens to it, drained, and looked at."""

import asyncio
import contextlib
import datetime as dt
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any, Literal

import httpx
import msgspec

from gateway.config import StoreSettings
from gateway.simulator import key_host, scene
from gateway.store.connection import Store
from gateway.store.embedded import socket_path
from gateway.store.layout import Keys, tags
from tests.crashes.provider import Provider
from tests.crashes.run import read_log
from tests.crashes.subscribers import Subscriber, subscribing
from tests.crashes.verdict import Facts, Logged
from tests.support.gateways import GatewayProcess
from tests.support.proxy import Proxy, proxied
from tests.support.stores import DURABLE, StoreServer
from tests.torture.machine import Machine
from tests.torture.world import SUBSCRIBERS, Senders, write_config

Kind = Literal["embedded", "workers", "external"]
DRAIN_S = 180.0
NORMAL_S = 20.0
"""The longest that a strike waits for the gateway to be as before."""
SAMPLE = 200
HOUR_S = 3_600
DRAIN_AHEAD_S = HOUR_S + 60
"""At the end the clock is so far ahead: more than it ever was while something was parked that is not due today."""
DEDUPE_WINDOW_S = 7 * 24 * HOUR_S
"""The default: so long the store knows what it has."""
FAILING = {"plain": 0.0, "ordered": 0.03, "filtered": 0.01, "picky": 0.05}


class Done(msgspec.Struct, kw_only=True):
    """What came of an act."""

    kind: Kind
    facts: Facts
    strikes: Counter[str]
    normal_s: list[tuple[float, str]]
    """How long it took, and after which strike: from when the store was back, until a new request was logged and not
    spooled."""
    spooled: int
    replayed: int
    dead_retried: int
    refused: int
    failed_stops: list[int]
    findings: list[str]
    took_s: float
    lacks: list[str]
    """What could not be done to it on this system, and why."""
    ledger: dict[str, Any]
    log: str


class Act:
    """An act under way."""

    def __init__(
        self,
        kind: Kind,
        folder: Path,
        *,
        seed: int,
        rate: float,
        say: Callable[[str], None],
        machine: Machine | None = None,
    ) -> None:
        """With a ``machine`` its clock can be set and its disk be filled."""
        self.kind: Kind = kind
        self.machine = machine or Machine()
        self._has_machine = machine is not None
        self.folder = folder
        self.disk = folder / "disk"
        self.data = self.disk / "data"
        """Of the embedded store."""
        self.say = say
        self.chance = random.Random(f"{seed}/{kind}")
        self.strikes: Counter[str] = Counter()
        self.kills_s: list[float] = []
        self.spans_s: list[tuple[float, float]] = []
        self.forgotten = 0
        """Of so many first messages the store may have forgotten by now that it has them."""
        self.subscribers = {
            name: Subscriber(FAILING[name], random.Random(f"{seed}/{kind}/{name}")) for name in SUBSCRIBERS
        }
        self.proxy: Proxy | None = None
        self.server: StoreServer | None = None
        self.findings: list[list[str]] = []
        """Of the audits at the end."""
        self.failed_stops: list[int] = []
        """Exit codes of gateways that were told to stop."""
        self.heard: Counter[str] = Counter()
        """Status of an event → how often it was answered."""
        self.turns = 0
        self.dead_retried = 0
        self._drawn = scene.draw_secrets()
        self._senders = Senders(self._drawn)
        self.gateway = GatewayProcess(
            folder,
            self._drawn.environment(),
            name="gateway",
            arguments=("--workers", "2") if kind == "workers" else (),
        )
        self._port: int | None = None
        self.provider = Provider(
            rate=rate, first=seed * 10_000_000, port=lambda: self._port, make=self._senders.make, heard=self._heard
        )
        self._exits: list[int] = []
        self.is_kept = True
        """Whether a gateway that ends by itself is started again."""
        self.retention = "64GiB"
        """``retention_bytes``: so much that nothing is trimmed; where it is less, the log cannot be compared."""
        self._expected = False
        """Whether the end of the gateway that runs is the doing of a strike."""
        self._back_s: float | None = None
        self._normal_s: list[tuple[float, str]] = []
        self.striking = ""
        """What is being done to it."""
        self._normal = asyncio.Event()

    async def play(self, strikes: "Callable[[Act], AsyncIterator[None]]") -> Done:
        """Do all the strikes; then drain and look."""
        started_s = time.monotonic()
        async with AsyncExitStack() as stack:
            stack.callback(self.gateway.close)
            await self._set_up(stack)
            await self.start()
            if self._port is None:
                raise RuntimeError(f"the gateway does not start: {self.gateway.words()[-2_000:]}")
            keeper = asyncio.create_task(self._keep())
            stack.push_async_callback(_cancel, keeper)
            self.provider.start()
            try:
                async for _ in strikes(self):
                    if keeper.done():
                        keeper.result()
                    await self.serving()
                    self.say(
                        f"{self.kind}: {self.strikes.total()} strikes, {len(self.provider.acknowledged)} acknowledged"
                    )
            finally:
                await self.provider.stop(DRAIN_S)
            await self.serving()
            pending, ledger = await self._drain()
            self._set_clock(0)
            facts = await self._look(pending)
        return Done(
            kind=self.kind,
            facts=facts,
            strikes=self.strikes,
            normal_s=self._normal_s,
            spooled=sum("spooled" in each for each in self.provider.acknowledged.values()),
            replayed=sum(each.replayed for each in self.subscribers.values()),
            dead_retried=self.dead_retried,
            refused=self.provider.refused,
            failed_stops=self.failed_stops,
            findings=self.findings[0],
            took_s=time.monotonic() - started_s,
            lacks=self.machine.lacks,
            ledger=ledger,
            log=self.gateway.words(),
        )

    async def _set_up(self, stack: AsyncExitStack) -> None:
        for each in self.subscribers.values():
            await stack.enter_async_context(subscribing(each))
        keys, ca_pem = key_host.make_server(
            scene.KEY_HOST, {scene.KEY_PATH: self._drawn.flexengage_public_pem}, dt.datetime.now(dt.UTC)
        )
        threading.Thread(target=keys.serve_forever, daemon=True).start()
        stack.callback(keys.server_close)
        stack.callback(keys.shutdown)
        (self.folder / "ca.pem").write_bytes(ca_pem)
        self.gateway.env |= {
            "GATEWAY_KEY_HOST_RESOLVE": f"{scene.KEY_HOST}=127.0.0.1:{keys.server_address[1]}",
            "GATEWAY_KEY_HOST_CA": str(self.folder / "ca.pem"),
        }
        self.disk.mkdir()
        if self._has_machine:
            self.machine.set_up(stack.enter_context(ExitStack()), self.folder, self.disk)
        clock = self.machine.clock.env if self.machine.clock else {}
        self.gateway.env |= clock
        if self.kind == "external":
            self.server = StoreServer("valkey", self.disk, DURABLE, clock)
            stack.callback(self.server.stop)
            self.server.start()
            self.proxy = await stack.enter_async_context(proxied(self.server.socket))
        self.configure()

    def configure(self) -> None:
        """Write the configuration, a little changed each time."""
        write_config(
            self.folder,
            store=self.proxy.url if self.proxy else "embedded:./disk/data",
            ports={name: each.port for name, each in self.subscribers.items()},
            turn=self.turns,
            retention=self.retention,
            # On the disk that may be filled; in the other acts on another, and it takes over then.
            spool="./disk/spool" if self.kind == "embedded" else "./spool",
        )
        self.turns += 1

    # --- the gateway's processes

    async def start(self, faults: str = "") -> None:
        """Start a gateway, and wait until it serves or has ended."""
        self.gateway.env["GATEWAY_FAULTS"] = faults
        process = self.gateway.spawn()
        self._expected = False
        assert process.stdout is not None
        line = await asyncio.to_thread(process.stdout.readline)
        if line:
            self.gateway.ready = msgspec.json.decode(line)
            self._port = self.gateway.port

    async def end(self, how: Callable[[], Any]) -> None:
        """End the gateway on purpose: kill it, or tell it to stop."""
        self._expected = True
        self._port = None
        await asyncio.to_thread(how)
        self.kills_s.append(time.monotonic())

    async def _keep(self) -> None:
        """Start a gateway again that ended by itself; unless a fault was armed, that is noted as wrong."""
        while True:
            await asyncio.sleep(0.02)
            process = self.gateway.process
            if not self.is_kept or process is None or self._expected or process.poll() is None:
                continue
            self._port = None
            if self.gateway.env["GATEWAY_FAULTS"]:
                self.strikes["fault struck"] += 1
                self.kills_s.append(time.monotonic())
            else:
                self._exits.append(process.returncode)
                if len(self._exits) > 20:
                    raise RuntimeError(f"the gateway does not start: {self.gateway.words()[-2_000:]}")
            await self.start()

    @property
    def runs(self) -> bool:
        """Whether the gateway's process does."""
        return self.gateway.process is not None and self.gateway.process.poll() is None

    async def serving(self) -> None:
        """Wait until there is a gateway."""
        deadline_s = time.monotonic() + 60
        while self._port is None:
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"no gateway within 60 s: {self.gateway.words()[-2_000:]}")
            await asyncio.sleep(0.01)

    async def ask(self, method: str, path: str, json: Any = None) -> Any:
        """Ask the API as an operator; ``None`` where it has no answer now."""
        headers = {"authorization": f"Bearer {self._drawn.admin_token}"}
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=30, headers=headers) as client:
                answer = await client.request(method, f"{self.gateway.url}/api/{path}", json=json)
        except httpx.HTTPError:
            return None
        return answer.json() if answer.is_success else None

    # --- the store

    async def normal_again(self) -> None:
        """The store is back now: wait until a new request is logged again, and note how long that took."""
        self._normal.clear()
        self._back_s = time.monotonic()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._normal.wait(), NORMAL_S)
        if self._back_s is not None:
            self._normal_s.append((NORMAL_S, self.striking))
            self._back_s = None

    def _heard(self, sent_s: float, status: str) -> None:
        self.heard[status] += 1
        if status == "logged" and self._back_s is not None and sent_s >= self._back_s:
            self._normal_s.append((time.monotonic() - self._back_s, self.striking))
            self._back_s = None
            self._normal.set()

    # --- its machine

    def _set_clock(self, ahead_s: int) -> None:
        if self.machine.clock:
            self.machine.clock.set(ahead_s)
            now_s = time.monotonic()
            self.spans_s.append((now_s, now_s))  # leases end by it, and who takes over sends again what was in hand

    async def jump(self, places: Sequence[tuple[int, float]]) -> None:
        """The clock of gateway and store is set so many seconds ahead (or behind), for so long; then it is set right.

        What was parked while it was ahead waits for a time that is still to come: the drain lets it come."""
        began_s = time.monotonic()
        before_s = 0
        for ahead_s, for_s in (*places, (0, 0.0)):
            self._set_clock(ahead_s)
            if ahead_s - before_s > DEDUPE_WINDOW_S:
                self.forgotten = len(self.provider.messages)
            before_s = ahead_s
            await asyncio.sleep(for_s)
        self.spans_s.append((began_s, time.monotonic()))

    # --- the end

    async def _drain(self) -> tuple[int, dict[str, Any]]:
        """Wait until nothing is pending, dead letters tried again; how many deliveries still are."""
        self.say(f"{self.kind}: draining")
        for each in self.subscribers.values():
            each.mood = "good"
        self.subscribers["picky"].failing = 0.0
        for name in SUBSCRIBERS:
            await self.ask("POST", f"subscribers/{name}/resume")
        self._set_clock(DRAIN_AHEAD_S)
        deadline_s = time.monotonic() + DRAIN_S
        while True:
            ledger = await self.ask("GET", "ledger")
            if ledger is not None:
                lines = ledger["subscribers"].values()
                waiting = sum(int(line["pending"]) + int(line["dead"]) for line in lines)
                waiting += int(ledger["events"]["spooled"])
                if not waiting or time.monotonic() > deadline_s:
                    return waiting, ledger
                if not any(int(line["pending"]) for line in lines):
                    moved = await self.ask("POST", "dead/retry", {"all": True})
                    self.dead_retried += moved["moved"] if moved else 0
            await asyncio.sleep(0.1)

    async def _look(self, pending: int) -> Facts:
        url = self.server.url if self.server else f"unix://{socket_path(self.data)}"
        store = Store(StoreSettings(url="embedded:"), url)
        try:
            log = [entry for tag in tags(2) for entry in await read_log(store, Keys(tag))]
            if (
                self.retention != "64GiB"
            ):  # what is trimmed was in the log once; whether it was delivered is asked below
                there = {entry.event_id for entry in log}
                log = [Logged(each, None) for each in self.provider.acknowledged if each not in there] + log
            forgotten = set(itertools.islice(self.provider.messages, self.forgotten))
            acknowledged = sorted(self.provider.acknowledged.keys() - forgotten)
            resent = await self.provider.resend(self.chance.sample(acknowledged, min(SAMPLE, len(acknowledged))))
            audits = []
            for _ in range(2):
                found = await self.ask("GET", "audit")
                audits.append(int(found["ledger"]["unaccounted"]) if found else -1)
                self.findings.append(found["findings"] if found else ["there was no answer"])
                first = await store.call("XRANGE", Keys("0").log, "-", "+", "COUNT", 1)
                await store.call("XDEL", Keys("0").log, first[0][0])
        finally:
            await store.close()
        return Facts(
            sent=set(self.provider.messages),
            acknowledged=self.provider.acknowledged,
            log=log,
            delivered={name: each.delivered for name, each in self.subscribers.items()},
            in_order={"ordered"},
            kills_s=self.kills_s,
            resent=resent,
            exits=self._exits,
            pending=pending,
            unaccounted=audits[0],
            unaccounted_after_deletion=audits[1],
            unwanted=self._senders.unwanted,
            spans_s=self.spans_s,
            forgotten=forgotten,
        )


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
