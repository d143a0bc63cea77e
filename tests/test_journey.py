"""The whole way of a webhook, with nothing mocked: ``gateway serve`` as a process, a provider's signed request over
HTTP, the bundled store, and a subscriber that is an HTTP server."""

import asyncio
import hashlib
import hmac
import json
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from adapters.enviaai import ADAPTER as ENVIAAI
from tests.support.gateways import GatewayProcess, gateway, settled
from tests.support.processes import store_pids
from tests.support.servers import OK, Connection, Received, Server, refusing, response, serving
from tests.support.stores import Kind, running

SECRET = b"the-secret-of-enviaai"
CRM_SECRETS = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")
ENV = {"ENVIAAI": SECRET.decode(), "CRM_NEW": CRM_SECRETS[0], "CRM_OLD": CRM_SECRETS[1]}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory with a short path, as the store's socket wants it."""
    with tempfile.TemporaryDirectory(prefix="gateway-journey-") as directory:
        yield Path(directory)


def write_config(folder: Path, port: int, *lines: str, partitions: int = 1, store: str = "embedded:./data") -> None:
    """One source, and one subscriber on this port."""
    extra = "\n".join(lines)
    (folder / "gateway.toml").write_text(
        f"""
[store]
url = "{store}"
partitions = {partitions}
[sources.enviaai-br]
adapter = "enviaai"
secrets = ["env:ENVIAAI"]
[subscribers.crm]
url = "http://127.0.0.1:{port}/hooks"
secrets = ["env:CRM_NEW", "env:CRM_OLD"]
allow_networks = ["127.0.0.0/8"]
start = "beginning"
timeout = "2s"
{extra}
"""
    )


def request(number: int) -> tuple[bytes, dict[str, str]]:
    """A genuine request: its body, and headers made without the adapter's help."""
    body = ENVIAAI.sample("message.received__documented", number)
    signature = "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    return body, {"content-type": "application/json", "x-enviaai-signature": signature}


def send(gateway: GatewayProcess, number: int) -> str:
    """Send one and return the id of its event."""
    answer = gateway.post("enviaai-br", *request(number))
    assert answer.status_code == 200, answer.text
    identity: str = answer.json()["events"][0]["id"]
    return identity


class Subscriber:
    """A subscriber that answers as a test says, and remembers what it was sent."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        """The next answers; then ``otherwise``."""
        self.otherwise = OK
        self.server: Server | None = None

    @property
    def port(self) -> int:
        assert self.server is not None
        return self.server.port

    @property
    def received(self) -> list[Received]:
        assert self.server is not None
        return self.server.requests

    def ids(self) -> list[str]:
        """The webhook ids of all attempts."""
        return [each.headers["webhook-id"] for each in self.received]

    async def script(self, connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.write(self.answers.pop(0) if self.answers else self.otherwise)


@asynccontextmanager
async def subscriber(port: int = 0) -> AsyncIterator[Subscriber]:
    """A running one."""
    made = Subscriber()
    async with serving(made.script, port=port) as made.server:
        yield made


async def until(holds: Any, within_s: float = 20.0) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.01)


def verified(received: Received, secret: str) -> Any:
    """What an app gets from its Standard Webhooks library. Raises if the library does not believe it."""
    return Webhook(secret).verify(received.body, received.headers)


def test_one_webhook_from_the_socket_to_the_subscriber(folder: Path) -> None:
    """Sent by a provider, proven, mapped, on disk, delivered: the subscriber's own library verifies it with either
    secret, finds the canonical event with what the provider sent, and the account has it in one place."""

    async def check() -> None:
        async with subscriber() as crm:
            write_config(folder, crm.port)
            with gateway(folder, ENV) as started:
                body, headers = request(1)
                answer = await asyncio.to_thread(started.post, "enviaai-br", body, headers)
                assert answer.status_code == 200
                accepted = answer.json()
                assert (accepted["status"], accepted["events"][0]["status"]) == ("accepted", "logged")
                identity = accepted["events"][0]["id"]
                await until(lambda: crm.received)
                (delivered,) = crm.received
                assert (delivered.method, delivered.target) == ("POST", "/hooks")
                assert delivered.headers["webhook-id"] == identity
                assert abs(int(delivered.headers["webhook-timestamp"]) - time.time()) < 10
                for secret in CRM_SECRETS:
                    event = verified(delivered, secret)
                with pytest.raises(WebhookVerificationError):
                    verified(delivered, "whsec_" + "A" * 32)
                sent = json.loads(body)
                assert event["id"] == identity
                assert (event["type"], event["provider"], event["source"]) == (
                    "message.received",
                    "enviaai",
                    "enviaai-br",
                )
                assert event["data"]["message_id"] == sent["data"]["messageId"]
                assert event["data"]["content"] == {"type": "text", "text": "Hello!"}
                assert event["ordering_key"] == sent["data"]["chatId"]
                assert event["provenance"]["raw_sha256"] == hashlib.sha256(body).hexdigest()
                assert event["raw"] == sent
                # The provider's retry changes nothing.
                again = await asyncio.to_thread(started.post, "enviaai-br", body, headers)
                assert again.json()["status"] == "duplicate"
                ledger = await settled(started)
                assert ledger["requests"]["accepted"] == 2
                assert ledger["events"] == {"produced": 2, "logged": 1, "duplicate": 1, "spooled": 0}
                assert ledger["subscribers"]["crm"]["delivered"] == 1
                code, (audited,) = started.verb("audit")
                assert (code, audited["unaccounted"]) == (0, 0)
                assert len(crm.received) == 1
                log = started.words()
            for secret in (SECRET.decode(), *CRM_SECRETS, headers["x-enviaai-signature"]):
                assert secret not in log

    asyncio.run(check())


def test_a_delivery_that_fails_is_tried_again(folder: Path) -> None:
    """The same webhook id comes again, with the number of the attempt, until the subscriber takes it."""

    async def check() -> None:
        async with subscriber() as crm:
            crm.answers = [response("500 Oops", b"no"), response("503 Busy"), response("302 Found", location="/x")]
            write_config(folder, crm.port, 'retry = ["50ms", "50ms", "50ms", "50ms"]')
            with gateway(folder, ENV) as started:
                identity = await asyncio.to_thread(send, started, 1)
                ledger = await settled(started)
                assert crm.ids() == [identity] * 4
                assert [each.headers["gateway-attempt"] for each in crm.received] == ["1", "2", "3", "4"]
                assert [each.headers["gateway-attempts-left"] for each in crm.received] == ["4", "3", "2", "1"]
                assert len({each.body for each in crm.received}) == 1
                for each in crm.received:
                    verified(each, CRM_SECRETS[0])
                line = ledger["subscribers"]["crm"]
                assert (line["delivered"], line["dead"], line["unaccounted"]) == (1, 0, 0)

    asyncio.run(check())


def test_a_delivery_that_never_succeeds_becomes_a_dead_letter(folder: Path) -> None:
    """After the last attempt it waits for an operator, who sees why, and can have it tried again."""

    async def check() -> None:
        async with subscriber() as crm:
            crm.otherwise = response("500 Oops", b"the database is gone")
            write_config(folder, crm.port, 'retry = ["20ms", "20ms"]')
            with gateway(folder, ENV) as started:
                identity = await asyncio.to_thread(send, started, 1)
                ledger = await settled(started)
                line = ledger["subscribers"]["crm"]
                assert (line["dead"], line["delivered"], line["unaccounted"]) == (1, 0, 0)
                assert crm.ids() == [identity] * 3
                _, (letter,) = started.verb("dead", "list")
                assert (letter["event_id"], letter["cause"], letter["attempts"]) == (identity, "http_500", 3)
                crm.otherwise = OK
                started.verb("dead", "retry", identity, "--yes")
                async with asyncio.timeout(20):
                    while started.ledger()["subscribers"]["crm"]["delivered"] == 0:
                        await asyncio.sleep(0.02)
                line = (await settled(started))["subscribers"]["crm"]
                assert (line["dead"], line["delivered"], line["unaccounted"]) == (0, 1, 0)
                assert len(crm.received) == 4

    asyncio.run(check())


def test_a_subscriber_that_is_down_gets_all_when_it_is_back(folder: Path) -> None:
    """Nobody listens: its events are parked, the provider notices nothing, and all of them arrive later."""

    async def check() -> None:
        async with refusing() as port:
            write_config(folder, port, "retry = [" + ", ".join(['"100ms"'] * 50) + "]")
        with gateway(folder, ENV) as started:
            ids = [await asyncio.to_thread(send, started, number) for number in range(20)]
            await until(lambda: "delivery.attempt" in started.words())
            line = started.ledger()["subscribers"]["crm"]
            assert (line["offered"], line["pending"], line["delivered"], line["dead"]) == (20, 20, 0, 0)
            async with subscriber(port) as crm:
                ledger = await settled(started)
                assert sorted(crm.ids()) == sorted(ids)
            assert ledger["subscribers"]["crm"]["delivered"] == 20
            assert ledger["unaccounted"] == 0

    asyncio.run(check())


def test_two_gateways_on_one_data_directory(folder: Path) -> None:
    """The second attaches to the first one's store: events sent to either arrive once, the account is one and adds up;
    and when the first is killed, the second goes on with store and deliveries."""

    async def check() -> None:
        async with subscriber() as crm:
            write_config(folder, crm.port)
            with gateway(folder, ENV) as first, gateway(folder, ENV, name="second") as second:
                assert len(store_pids(folder / "data")) == 1
                assert "store.attach" in second.words()
                ids = [await asyncio.to_thread(send, (first, second)[number % 2], number) for number in range(40)]
                for started in (first, second):
                    ledger = await settled(started)
                    assert (ledger["events"]["logged"], ledger["unaccounted"]) == (40, 0)
                assert sorted(crm.ids()) == sorted(ids)
                answer = await asyncio.to_thread(second.post, "enviaai-br", *request(0))  # the first one took it
                assert answer.json()["status"] == "duplicate"
                first.kill()
                while True:
                    answer = await asyncio.to_thread(second.post, "enviaai-br", *request(100))
                    if answer.status_code == 200:
                        break
                    assert answer.status_code == 503
                ids += [answer.json()["events"][0]["id"]]
                ids += [await asyncio.to_thread(send, second, number) for number in range(101, 120)]
                await until(lambda: set(crm.ids()) == set(ids))
                ledger = await settled(second)
                assert ledger["unaccounted"] == 0
                assert len(store_pids(folder / "data")) == 1
            await until(lambda: store_pids(folder / "data") == [])

    asyncio.run(check())


def test_a_stop_under_load_takes_back_no_200(folder: Path) -> None:
    """SIGTERM while requests come in: it ends in time and in order; whatever was answered 200 is delivered, by the
    next process if need be, and nothing is delivered twice, because what was on the wire was settled."""

    async def check() -> None:
        async with subscriber() as crm:
            write_config(folder, crm.port)
            acknowledged: list[str] = []
            statuses: Counter[int | str] = Counter()
            numbers = iter(range(1_000_000))
            stopped = asyncio.Event()

            async def load(client: httpx.AsyncClient, url: str) -> None:
                while not stopped.is_set():
                    body, headers = request(next(numbers))
                    try:
                        answer = await client.post(f"{url}/in/enviaai-br", content=body, headers=headers)
                    except httpx.HTTPError as error:  # the gateway is gone, or went while it was asked
                        statuses[type(error).__name__] += 1
                        return
                    statuses[answer.status_code] += 1
                    if answer.status_code == 200:
                        acknowledged.append(answer.json()["events"][0]["id"])

            with gateway(folder, ENV) as started:
                async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
                    loading = [asyncio.create_task(load(client, started.url)) for _ in range(8)]
                    await until(lambda: len(acknowledged) > 200)
                    started_s = time.monotonic()
                    code = await asyncio.to_thread(started.terminate)
                    took_s = time.monotonic() - started_s
                    stopped.set()
                    await asyncio.gather(*loading)
            assert code == 0
            assert took_s < 15
            assert set(statuses) <= {200, "ConnectError", "RemoteProtocolError", "ReadError", "ConnectTimeout"}
            with gateway(folder, ENV) as started:
                ledger = await settled(started)
            assert set(acknowledged) <= set(crm.ids())
            assert max(Counter(crm.ids()).values()) == 1
            assert ledger["unaccounted"] == 0
            assert ledger["events"]["logged"] == len(crm.received)

    asyncio.run(check())


def test_a_killed_gateway_starts_again_at_once(folder: Path) -> None:
    """kill -9 and an immediate restart, at moments that differ: each time it is ready again, with every event."""

    async def check() -> None:
        async with subscriber() as crm:
            write_config(folder, crm.port)
            ids = []
            made = GatewayProcess(folder, ENV)
            try:
                for number in range(3):
                    made.start()
                    ids.append(await asyncio.to_thread(send, made, number))
                    await asyncio.sleep(0.03 * number)
                    made.kill()
                made.start()
                ledger = await settled(made)
                assert set(crm.ids()) == set(ids)
                assert (ledger["events"]["logged"], ledger["unaccounted"]) == (3, 0)
            finally:
                made.close()

    asyncio.run(check())


def test_several_partitions(folder: Path) -> None:
    """With four partitions each event is delivered once, and each conversation in the order of its log."""

    async def check() -> None:
        async with subscriber() as crm:
            crm.answers = [OK, OK, response("500 Oops"), OK, response("503 Busy")]
            write_config(folder, crm.port, 'order = "key"', 'retry = ["50ms", "50ms", "50ms"]', partitions=4)
            with gateway(folder, ENV) as started:
                ids = [await asyncio.to_thread(send, started, number) for number in range(150)]
                ledger = await settled(started)
                assert (ledger["events"]["logged"], ledger["unaccounted"]) == (150, 0)
                assert ledger["subscribers"]["crm"]["delivered"] == 150
            assert set(crm.ids()) == set(ids)
            keys: dict[str, list[str]] = {}
            for each in crm.received:
                event = json.loads(each.body)
                order = keys.setdefault(event["ordering_key"], [])
                if event["id"] not in order:
                    order.append(event["id"])
            assert len(keys) == 50
            for order in keys.values():
                assert order == sorted(order, key=ids.index)

    asyncio.run(check())


def test_an_external_store(folder: Path, store_kind: Kind) -> None:
    """The same way through a server of one's own, Valkey or Redis 7.0; it may go away and come back meanwhile."""

    async def check() -> None:
        with running(store_kind) as server:
            async with subscriber() as crm:
                write_config(folder, crm.port, store=server.url)
                with gateway(folder, ENV) as started:
                    ids = [await asyncio.to_thread(send, started, number) for number in range(10)]
                    await settled(started)
                    server.kill()
                    answer = await asyncio.to_thread(started.post, "enviaai-br", *request(10))
                    (taken,) = answer.json()["events"]
                    assert (answer.status_code, taken["status"]) == (200, "spooled")
                    ready = httpx.get(f"{started.url}/readyz", trust_env=False, verify=False)
                    assert (ready.status_code, ready.json()["degraded"]) == (200, {"store": "not available"})
                    server.start()
                    ids += [taken["id"]]
                    ids += [await asyncio.to_thread(send, started, number) for number in range(11, 20)]
                    ledger = await settled(started)
                    assert sorted(crm.ids()) == sorted(ids)
                    assert (ledger["events"]["logged"], ledger["unaccounted"]) == (20, 0)

    asyncio.run(check())


@pytest.mark.parametrize(
    ("lines", "partitions", "code", "words"),
    [
        (("--appendfsync", "everysec"), 1, 3, "appendfsync = everysec; write the line: appendfsync always"),
        ((), 2, 3, "write partitions = 4 under [store]"),
        (None, 1, 4, "the store did not answer"),
    ],
)
def test_a_store_that_will_not_do(
    folder: Path, lines: tuple[str, ...] | None, partitions: int, code: int, words: str
) -> None:
    """``serve`` refuses a store that would lose events, is of another shape, or, without a spool, is not there: it says
    what to write, and exits with the code for it."""
    with running("valkey", *(lines or ())) as server:
        server.ask("HSET", "{0}:state", "partitions", 4 if lines == () else partitions)
        if lines is None:
            server.kill()
        write_config(folder, 9, partitions=partitions, store=server.url)
        if lines is None:
            config = folder / "gateway.toml"
            config.write_text(config.read_text("utf-8").replace("[store]", '[store]\nspool = ""'))
        made = GatewayProcess(folder, ENV)
        process = made.spawn()
        try:
            assert process.wait(30) == code
        finally:
            made.close()
    assert words in made.words()
    assert "Traceback" not in made.words()
