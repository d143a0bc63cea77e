"""A gateway of several workers, as processes, under load: what happens to one of them is nobody else's trouble."""

import asyncio
import os
import random
import re
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.cli.common import Refusal
from gateway.cli.serve import _listen
from tests.crashes.provider import SOURCE, Provider, make_message
from tests.crashes.subscribers import Subscriber, subscribing
from tests.support.delivering import until
from tests.support.gateways import GatewayProcess, settled

WITHIN_S = 60.0
ENV = {"PROVIDER": SOURCE.secrets[0].decode(), "SUBSCRIBER": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "NEW": "n" * 32}
CONFIG = """
[store]
url = "embedded:./data"
partitions = 4
[sources.{source}]
adapter = "enviaai"
secrets = ["env:PROVIDER"]
[subscribers.crm]
url = "http://127.0.0.1:{port}/"
secrets = ["env:SUBSCRIBER"]
allow_networks = ["127.0.0.0/8"]
start = "beginning"
retry = ["100ms", "100ms", "100ms", "100ms"]
"""
NEW_TOKEN = '[[gateway.tokens]]\nname = "new"\nrole = "read"\nsecret = "env:NEW"\n'


class Cluster:
    """A gateway of two workers, and one who asks it."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.gateway = gateway

    async def get(self, path: str, **more: Any) -> httpx.Response:
        """Ask on a connection of its own, so that whoever is free answers."""
        headers = more.pop("headers", None) or self.gateway._token()
        async with httpx.AsyncClient(base_url=self.gateway.url, trust_env=False, timeout=30) as client:
            return await client.request(more.pop("method", "GET"), path, headers=headers, **more)

    async def pids(self) -> list[int | None]:
        """The workers' process ids; ``None`` for one that does not answer."""
        return [each["pid"] for each in (await self.get("/api/status")).json()["workers"]]

    async def shares(self) -> list[int]:
        """How many partitions each owner has."""
        owners = [each["owner"] for each in (await self.get("/api/status")).json()["store"]["partitions"]]
        return sorted(owners.count(owner) for owner in {*owners} - {None})

    async def metrics(self) -> dict[tuple[str, ...], float]:
        """Every sample: name and label values → value."""
        answer = await self.get("/metrics")
        return {
            (sample.name, *[value for _, value in sorted(sample.labels.items())]): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }


@contextmanager
def only(cluster: Cluster, worker: int) -> Iterator[None]:
    """While the block runs this worker alone can answer: the other one stands still."""
    (other,) = {*cluster.gateway.ready["workers"]} - {cluster.gateway.ready["workers"][worker]}
    os.kill(other, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(other, signal.SIGCONT)


@asynccontextmanager
async def cluster(folder: Path, subscriber: Subscriber) -> AsyncIterator[Cluster]:
    """Two workers that deliver to ``subscriber``; they have ended when the block has."""
    async with subscribing(subscriber):
        (folder / "gateway.toml").write_text(CONFIG.format(source=SOURCE.name, port=subscriber.port))
        gateway = GatewayProcess(folder, ENV, arguments=("--workers", "2"))
        try:
            yield Cluster(await asyncio.to_thread(gateway.start))
        finally:
            await asyncio.to_thread(gateway.close)


def play(folder: Path, story: Callable[[Cluster, Subscriber], Awaitable[None]]) -> None:
    """Play a story with two workers."""

    async def run() -> None:
        subscriber = Subscriber(0.0, random.Random(0))
        async with cluster(folder, subscriber) as at:
            await story(at, subscriber)

    asyncio.run(run())


def is_there(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def test_whoever_is_asked_knows_what_all_know(tmp_path: Path) -> None:
    """A link made by one logs in at the other, once; pages, status, metrics and reload are right whichever worker
    answers; one that does not answer is named."""

    async def story(at: Cluster, subscriber: Subscriber) -> None:
        link = at.gateway.ready["dashboard"]
        with only(at, 1):
            answer = await at.get(link, method="POST", headers={"sec-fetch-site": "same-origin"})
            assert answer.status_code == 303
        cookie = {"cookie": answer.headers["set-cookie"].partition(";")[0]}
        with only(at, 0):
            page = await at.get("/events", headers=cookie)
            assert page.status_code == 200
            assert (await at.get(link, method="POST")).status_code == 410
            csrf = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
            assert csrf is not None
        with only(at, 1):
            assert (await at.get("/logout", method="POST", headers=cookie, data={"csrf_token": csrf[1]})).is_redirect
        with only(at, 0):
            assert (await at.get("/events", headers=cookie, follow_redirects=False)).status_code in (303, 401)

        provider = Provider(rate=0, first=1, port=lambda: at.gateway.port)
        for number, worker in ((30, 0), (20, 1)):
            with only(at, worker):
                names = [make_message(1_000 * worker + each) for each in range(number)]
                provider.messages = {each.event_id: each for each in names}
                assert set(await provider.resend(list(provider.messages))) == {"accepted"}
        await settled(at.gateway)
        found = await at.metrics()
        assert [found["gateway_answers_total", "200", worker] for worker in "01"] == [30, 20]
        attempts = [found.get(("gateway_attempts_total", "delivered", "crm", worker), 0) for worker in "01"]
        assert sum(attempts) == len(subscriber.delivered) == 50
        assert found["gateway_attempts_in_flight", "crm"] == 0
        (status,) = [each for each in (await at.get("/api/status")).json()["subscribers"] if each["name"] == "crm"]
        assert status["attempts"] == {"delivered": 50}

        file = tmp_path / "gateway.toml"
        file.write_text(file.read_text() + NEW_TOKEN)
        done = (await at.get("/api/reload", method="POST")).json()
        assert [each["what"] for each in done["changes"]] == ["gateway.tokens.new"]
        assert [(each["worker"], each["done"]) for each in done["workers"]] == [(0, True), (1, True)]
        (entry,) = [each for each in (await at.get("/api/changes")).json()["items"] if each["what"] == "reload"]
        assert entry["who"] == "admin_token", "and only who was asked has written it"
        for worker in (0, 1):
            with only(at, worker):
                assert (await at.get("/api/ledger", headers={"authorization": f"Bearer {ENV['NEW']}"})).is_success
        with only(at, 0):
            found, there = await at.metrics(), await at.pids()
        assert (found["gateway_worker_up", "0"], found["gateway_worker_up", "1"]) == (1, 0)
        assert there == [at.gateway.ready["workers"][0], None]

    play(tmp_path, story)


@pytest.mark.alone  # a machine that is short of time breaks connections off by itself
@pytest.mark.timeout(180)
def test_workers_die_and_are_replaced_under_load_and_nothing_is_refused_or_lost(tmp_path: Path) -> None:
    """One is killed: the other serves, and it is started again, after a growing pause where it cannot start. All are
    replaced: no request is refused (how, and the control: ``test_accepting.py``). SIGTERM: who was in the middle of a
    request is answered, and the gateway is gone within 15 s. The account closes."""

    async def story(at: Cluster, subscriber: Subscriber) -> None:
        gateway = at.gateway
        port = gateway.port
        provider = Provider(rate=200, first=10_000, port=lambda: port)
        provider.start()

        async def fair() -> bool:
            return await at.shares() == [2, 2]

        await until(fair, within_s=WITHIN_S)
        victim, other = gateway.ready["workers"]
        file = tmp_path / "gateway.toml"
        good = file.read_text()
        file.write_text(good + "[nonsense]\n")  # so that the first that are started in its place cannot
        os.kill(victim, signal.SIGKILL)
        before = len(provider.acknowledged)
        await until(lambda: gateway.words().count('"workers.ended"') == 3, within_s=WITHIN_S)
        assert re.findall(r'"starts_again_in_s":([0-9.]+)', gateway.words()) == ["0.1", "0.2", "0.4"]
        await until(lambda: len(provider.acknowledged) > before + 20, within_s=WITHIN_S)
        file.write_text(good)

        async def back() -> bool:
            pids = await at.pids()
            return pids[1] == other and pids[0] not in (None, victim)

        await until(back, within_s=WITHIN_S)
        assert provider.refused <= 64, "no more than one request a connection"

        first = await at.pids()
        refused, acknowledged = provider.refused, len(provider.acknowledged)
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGUSR2)

        async def replaced() -> bool:
            pids = await at.pids()
            return None not in pids and not {*pids} & {*first}

        await until(replaced, within_s=WITHIN_S)
        await until(lambda: not any(is_there(pid) for pid in first if pid), within_s=WITHIN_S)
        await until(lambda: len(provider.acknowledged) > acknowledged + 100, within_s=WITHIN_S)
        assert provider.refused == refused, "a roll refuses nothing"
        await until(fair, within_s=WITHIN_S)

        slow = make_message(9_999_999)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(slow.wire[:-10])
        await asyncio.sleep(0.05)  # so that a worker has it; were it later, the socket would be closed
        started_s = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        writer.write(slow.wire[-10:])
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        assert await asyncio.to_thread(gateway._reap) == 0
        assert time.monotonic() - started_s < 15

        await asyncio.to_thread(gateway.start)
        port = gateway.port
        await provider.stop(WITHIN_S)
        ledger = await settled(gateway)
        took = {each.event_id for each in subscriber.delivered}
        assert provider.waiting == 0
        assert {*provider.acknowledged, slow.event_id} == took
        assert (ledger["unaccounted"], ledger["events"]["logged"]) == (0, len(took))
        code, (audit,) = await asyncio.to_thread(gateway.verb, "audit")
        assert (code, audit["unaccounted"]) == (0, 0)

    play(tmp_path, story)


def test_workers_end_with_their_parent_however_it_ends_and_the_next_one_starts_at_once(tmp_path: Path) -> None:
    """kill -9 of the parent leaves no worker and no store; a new parent on the same address serves, with all there
    was."""

    async def story(at: Cluster, subscriber: Subscriber) -> None:
        message = make_message(1)
        reader, writer = await asyncio.open_connection("127.0.0.1", at.gateway.port)
        writer.write(message.wire)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        workers = at.gateway.ready["workers"]
        assert all(is_there(pid) for pid in workers)
        await asyncio.to_thread(at.gateway.kill)
        address = f"127.0.0.1:{at.gateway.port}"
        successor = GatewayProcess(tmp_path, ENV, listen=address, name="next", arguments=("--workers", "2"))
        try:
            await asyncio.to_thread(successor.start)
            assert successor.ready["listen"] == address
            await until(lambda: not any(is_there(pid) for pid in workers), within_s=WITHIN_S)
            ledger = await settled(successor)
            assert (ledger["events"]["logged"], ledger["unaccounted"]) == (1, 0)
            assert {each.event_id for each in subscriber.delivered} == {message.event_id}
        finally:
            await asyncio.to_thread(successor.close)

    play(tmp_path, story)


def test_a_gateway_whose_workers_cannot_start_says_why_and_ends(tmp_path: Path) -> None:
    """The exit code and the words are a single process's; nothing stays."""
    (tmp_path / "gateway.toml").write_text('[store]\nurl = "unix:///nowhere/valkey.sock"\nspool = ""\n')
    gateway = GatewayProcess(tmp_path, {}, arguments=("--workers", "2"))
    try:
        with pytest.raises(AssertionError, match="it ended with 4"):
            gateway.start()
    finally:
        gateway.close()
    assert "the store did not answer" in gateway.words()
    assert "Traceback" not in gateway.words()


def test_an_address_in_use_is_waited_for_a_moment_and_then_refused_by_name() -> None:
    """Workers whose parent was killed let go of it in time; somebody else does not."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Refusal, match=f"cannot listen on 127.0.0.1:{port}"):
            _listen("127.0.0.1", port, patience_s=0.1)
        threading.Timer(0.1, taken.close).start()
        with _listen("127.0.0.1", port, patience_s=WITHIN_S) as bound:
            assert bound.getsockname()[1] == port
