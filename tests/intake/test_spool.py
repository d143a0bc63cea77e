"""The spool, seen from outside: the store goes in every way it can, providers see only 200, and nothing is lost."""

import asyncio
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from gateway import faults
from gateway.errors import SpoolRefused
from gateway.intake import committer as committer_module
from gateway.intake.spool import Spool
from gateway.intake.spool_file import SpoolFile
from gateway.store import housekeeping as housekeeping_module
from gateway.store.log import Batch, NewEvent, PartitionLog
from tests.intake.served import Served, eventually, fresh, serving, signed
from tests.support.gateways import GatewayProcess
from tests.support.proxy import proxied
from tests.support.stores import StoreServer, running

CONFIG = """
[store]
url = "{url}"
{more}
[sources.br]
adapter = "enviaai"
secrets = ["env:SECRET"]
"""
ENV = {"SECRET": "whs_test"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that hangs is given up sooner, and looked at more often."""
    monkeypatch.setattr(committer_module, "GIVE_UP_S", 0.3)
    monkeypatch.setattr(housekeeping_module, "LOOK_S", 0.02)


@contextmanager
def gateway_on(folder: Path, url: str, more: str = "") -> Iterator[Served]:
    """A gateway with a spool beside its configuration."""
    with serving(folder, CONFIG.format(url=url, more=more), ENV) as served:
        yield served


def send(gateway: Served, body: bytes | None = None) -> str:
    """A genuine request; what became of its event, or the status of the refusal."""
    body = fresh() if body is None else body
    answer = gateway.post("/in/br", body, signed(body))
    if answer.status != 200:
        assert answer.headers["retry-after"] == "5"
        return str(answer.status)
    assert answer.json["status"] in ("accepted", "duplicate")
    status: str = answer.json["events"][0]["status"]
    return status


def spool_of(gateway: Served) -> Spool:
    """Its spool."""
    assert gateway.gateway.spool is not None
    return gateway.gateway.spool


def drained(gateway: Served) -> None:
    """Wait until it is back on the store, and see that everything adds up."""
    eventually(lambda: not spool_of(gateway).diverts and spool_of(gateway).away_since_ms is None)
    ledger = gateway.ledger_of_desk()
    assert (ledger.events.spooled, ledger.unaccounted) == (0, 0)


class Senders:
    """Several providers that send one request after the other, and note what was acknowledged."""

    def __init__(self, gateway: Served, number: int = 3) -> None:
        self.acknowledged: list[list[str]] = [[] for _ in range(number)]
        self.statuses: list[str] = []
        self._gateway = gateway
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(ids,)) for ids in self.acknowledged]

    def _send(self, ids: list[str]) -> None:
        while not self._stop.is_set():
            body = fresh()
            answer = self._gateway.post("/in/br", body, signed(body))
            if answer.status != 200:
                self.statuses.append(str(answer.status))
                continue
            self.statuses.append(answer.json["events"][0]["status"])
            ids.append(answer.json["events"][0]["id"])

    def __enter__(self) -> "Senders":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, status: str, number: int = 10) -> None:
        """Until the latest answers are of this kind."""
        eventually(lambda: self.statuses[-number:] == [status] * number)


def in_order(acknowledged: list[list[str]], names: list[str]) -> bool:
    """Whether each sender's events stand in the log once, in the order in which they were sent."""
    place = {name: at for at, name in enumerate(names)}
    return len(place) == len(names) and all(
        all(name in place for name in ids) and sorted(ids, key=place.__getitem__) == ids for ids in acknowledged
    )


@pytest.mark.parametrize("trouble", ["killed", "paused", "full", "careless"])
def test_under_load_providers_see_only_200(tmp_path: Path, trouble: str) -> None:
    """Killed, hanging, full or no longer durable: each request is answered 200, logged once, in its sender's order."""
    with running("valkey") as server, gateway_on(tmp_path, server.url) as gateway:
        with Senders(gateway) as senders:
            for _ in range(2):
                senders.wait_for("logged")
                begin(server, trouble)
                senders.wait_for("spooled")
                end(server, trouble)
                senders.wait_for("logged", 30)
        assert set(senders.statuses) == {"logged", "spooled"}
        drained(gateway)
        assert in_order(senders.acknowledged, gateway.names())
        assert len(gateway.names()) == len(senders.statuses)


def begin(server: StoreServer, trouble: str) -> None:
    """Take the store away."""
    if trouble == "killed":
        server.kill()
    elif trouble == "paused":
        server.pause()
    elif trouble == "full":
        server.ask("CONFIG", "SET", "maxmemory", 100_000)
    else:
        server.ask("CONFIG", "SET", "appendfsync", "everysec")


def end(server: StoreServer, trouble: str) -> None:
    """Give it back."""
    if trouble == "killed":
        server.start()
    elif trouble == "paused":
        server.resume()
    elif trouble == "full":
        server.ask("CONFIG", "SET", "maxmemory", 0)
    else:
        server.ask("CONFIG", "SET", "appendfsync", "always")


def test_order_is_lost_where_new_requests_pass_the_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the above: a committer that goes back to the store while the spool is not empty."""
    monkeypatch.setattr(Spool, "diverts", property(lambda spool: not spool.store_is_open))
    monkeypatch.setattr("gateway.intake.draining.Drainer._drain_some", never)
    with running("valkey") as server, gateway_on(tmp_path, server.url) as gateway:
        with Senders(gateway) as senders:
            senders.wait_for("logged")
            server.kill()
            senders.wait_for("spooled")
            server.start()
            senders.wait_for("logged")
        assert not in_order(senders.acknowledged, gateway.names())


async def never(_drainer: object) -> bool:
    """Drain nothing."""
    return False


def test_a_batch_whose_reply_was_lost_is_logged_and_counted_once(tmp_path: Path) -> None:
    """The store has it, the gateway does not know, and the spool repeats it under its number."""
    assert lost_reply(tmp_path) == (2, 2, 0)


def test_without_its_number_it_is_counted_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a spool that gives the batch a number of its own."""
    repeat = PartitionLog.repeat

    async def forget(log: PartitionLog, committer: str, batches: Sequence[tuple[int, Batch]]) -> object:
        return await repeat(log, committer + "x", batches)

    monkeypatch.setattr(PartitionLog, "repeat", forget)
    assert lost_reply(tmp_path) == (3, 2, 1)


def lost_reply(folder: Path) -> tuple[int, int, int]:
    """Requests accepted, events logged and duplicates, after one of two requests had its reply lost twice."""
    with running("valkey") as server:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        behind = proxied(server.socket)
        proxy = asyncio.run_coroutine_threadsafe(behind.__aenter__(), loop).result(5)
        try:
            with gateway_on(folder, proxy.url) as gateway:
                assert send(gateway) == "logged"
                proxy.lose_replies = committer_module.SPOOL_TRIES
                assert send(gateway) == "spooled"
                drained(gateway)
                ledger = gateway.ledger()
                return ledger.requests.accepted, ledger.events.logged, ledger.events.duplicate
        finally:
            asyncio.run_coroutine_threadsafe(behind.__aexit__(None, None, None), loop).result(5)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


def test_everything_a_request_can_be_waits_in_the_spool(tmp_path: Path) -> None:
    """Duplicates are found when it is drained; quarantined requests travel along, and rejected ones are counted."""
    with running("valkey") as server, gateway_on(tmp_path, server.url) as gateway:
        body = fresh()
        assert send(gateway, body) == "logged"
        server.kill()
        assert [send(gateway, body), send(gateway)] == ["spooled", "spooled"]
        assert gateway.post("/in/br", b"[1]", signed(b"[1]")).json["status"] == "quarantined"
        assert gateway.post("/in/br", b"{}").status == 401
        server.start()
        drained(gateway)
        eventually(lambda: gateway.requests("br").rejected == 1)
        ledger = gateway.ledger()
        assert (ledger.requests.accepted, ledger.requests.quarantined) == (3, 1)
        assert (ledger.events.produced, ledger.events.logged, ledger.events.duplicate) == (3, 2, 1)
        assert [each.body for each in gateway.kept("quarantine", "br")] == [b"[1]"]


def test_what_is_rejected_fills_no_spool(tmp_path: Path) -> None:
    """Whoever cannot prove a request cannot make the spool full: only numbers are kept of it."""
    with running("valkey") as server, gateway_on(tmp_path, server.url) as gateway:
        server.kill()
        assert send(gateway) == "spooled"
        before = spool_of(gateway).held.bytes
        assert gateway.post("/in/br", b"x" * 50_000).status == 401
        assert send(gateway) == "spooled"
        assert spool_of(gateway).held.bytes < before + 10_000


def test_a_full_spool_is_a_503(tmp_path: Path) -> None:
    """Its bound holds; what it has taken is drained, and then there is room again."""
    with running("valkey") as server, gateway_on(tmp_path, server.url, 'spool_bytes = "1MiB"') as gateway:
        server.kill()
        spool_of(gateway).limit_bytes = 5_000
        taken = [send(gateway) for _ in range(8)]
        assert set(taken) == {"spooled", "503"}
        assert spool_of(gateway).held.bytes <= 5_000
        assert gateway.post("/readyz", method="GET").status == 503, "what was refused would be refused again"
        server.start()
        drained(gateway)
        assert len(gateway.names()) == taken.count("spooled")
        assert send(gateway) == "logged"
        assert gateway.post("/readyz", method="GET").status == 200


def test_a_disk_that_is_full_is_a_503_and_then_none(tmp_path: Path) -> None:
    """SQLite refuses; nothing is acknowledged, what was is kept, and it goes on when there is room."""
    with running("valkey") as server, gateway_on(tmp_path, server.url) as gateway:
        server.kill()
        assert send(gateway) == "spooled"
        database: sqlite3.Connection = spool_of(gateway).file._database  # type: ignore[union-attr]  # it is open
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {pages + 3}")
        eventually(lambda: send(gateway) == "503")
        assert spool_of(gateway).broken
        assert gateway.post("/readyz", method="GET").status == 503
        database.execute("PRAGMA max_page_count = 1000000")
        assert send(gateway) == "spooled"
        assert gateway.post("/readyz", method="GET").json["status"] == "degraded"
        taken = spool_of(gateway).own.requests
        server.start()
        drained(gateway)
        assert len(gateway.names()) == taken


def test_a_disk_that_fails_when_it_was_done_is_a_503_and_no_loss(tmp_path: Path) -> None:
    """What is there although the disk refused it is drained and counted: once, and the store is used again."""
    with running("valkey") as server, gateway_on(tmp_path, server.url) as gateway:
        server.kill()
        body = fresh()
        faults.arm("spool.write.after=error")
        try:
            assert send(gateway, body) == "503"
        finally:
            faults.arm("")
        server.start()
        eventually(lambda: len(gateway.names()) == 1)
        drained(gateway)
        assert send(gateway, body) == "duplicate"
        assert send(gateway) == "logged"


def test_a_damaged_orphan_is_set_aside_and_said(tmp_path: Path) -> None:
    """It is renamed, not deleted, and stands among the problems; the intake goes on."""
    folder = tmp_path / "spool"
    folder.mkdir()
    (folder / "1-old.spool").write_bytes(b"this is no database, however hard one looks at it" * 100)
    with running("valkey") as server, gateway_on(tmp_path, server.url) as gateway:
        assert send(gateway) == "logged"
        assert (folder / "1-old.unreadable").read_bytes().startswith(b"this is no database")
        status = gateway.run(gateway.gateway.desk.status())
        assert "1-old.unreadable" in status.store.spool.unreadable
        assert [each.severity for each in status.problems if each.kind == "spool"] == ["bad"]
        assert gateway.run(gateway.gateway.desk.audit()).findings


def test_a_file_of_another_version_is_left_alone(tmp_path: Path) -> None:
    """It is named with its format, and neither drained nor renamed."""
    folder = tmp_path / "spool"
    folder.mkdir()
    with sqlite3.connect(folder / "1-new.spool") as database:
        database.execute("PRAGMA user_version = 7")
    database.close()
    with running("valkey") as server, gateway_on(tmp_path, server.url) as gateway:
        assert send(gateway) == "logged"
        assert (folder / "1-new.spool").exists()
        (why,) = gateway.run(gateway.gateway.desk.status()).store.spool.unreadable.values()
        assert "format 7" in why


def test_a_batch_the_store_never_takes_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is put aside, stays in the account and among the problems, and is tried again by the next process."""
    repeat = PartitionLog.repeat
    poisoned = b"poison"

    async def spoil(log: PartitionLog, committer: str, batches: Sequence[tuple[int, Batch]]) -> object:
        made = [
            (number, msgspec.structs.replace(batch, events=[ill(event) for event in batch.events]))
            for number, batch in batches
        ]
        return await repeat(log, committer, made)

    def ill(event: NewEvent) -> NewEvent:
        return msgspec.structs.replace(event, seen_ttl_s=-1) if poisoned in event.event_json else event

    with running("valkey") as server:
        with gateway_on(tmp_path, server.url) as gateway:
            server.kill()
            assert send(gateway) == "spooled"
            body = fresh()
            poisoned = json.loads(gateway.post("/in/br", body, signed(body)).body)["events"][0]["id"].encode()
            assert send(gateway) == "spooled"
            monkeypatch.setattr(PartitionLog, "repeat", spoil)
            server.start()
            eventually(lambda: not spool_of(gateway).diverts)
            assert send(gateway) == "logged"
            assert len(gateway.names()) == 3
            ledger = gateway.ledger_of_desk()
            assert (ledger.requests.accepted, ledger.events.spooled, ledger.unaccounted) == (4, 1, 0)
            monkeypatch.setattr(PartitionLog, "repeat", repeat)
        with gateway_on(tmp_path, server.url) as gateway:
            drained(gateway)
            assert len(gateway.names()) == 4


def test_the_account_adds_up_between_the_commit_and_the_removal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that the store knows already is counted there, and only there."""
    with running("valkey") as server, gateway_on(tmp_path, server.url) as gateway:
        server.kill()
        assert [send(gateway) for _ in range(5)] == ["spooled"] * 5
        with monkeypatch.context() as disk:
            disk.setattr(SpoolFile, "remove", full)
            server.start()
            eventually(lambda: len(gateway.names()) == 5)
            ledger = gateway.ledger_of_desk()
            assert (ledger.requests.received, ledger.events.spooled, ledger.unaccounted) == (5, 0, 0)
            assert spool_of(gateway).file.held().rows == 5  # type: ignore[union-attr]  # it is open
            eventually(lambda: send(gateway) == "logged")  # the spool's disk holds up nobody
        drained(gateway)
        eventually(lambda: spool_of(gateway).file.held().rows == 0)  # type: ignore[union-attr]  # as above


def full(_file: SpoolFile, _ids: object) -> None:
    """A disk that has no room even to remove something."""
    raise SpoolRefused("the disk is full")


def test_the_audit_counts_the_payloads(tmp_path: Path) -> None:
    """A batch that holds something else than was counted is a finding, with its number of events."""
    with running("valkey") as server, gateway_on(tmp_path, server.url) as gateway:
        gateway.run(hold(gateway, 2))
        audit = gateway.run(gateway.gateway.desk.audit())
        assert (audit.findings, audit.ledger.events.spooled, audit.ledger.unaccounted) == ([], 2, 0)
        (path,) = (tmp_path / "spool").glob("*.spool")
        with sqlite3.connect(path) as database:
            database.execute("DELETE FROM payloads WHERE id = (SELECT MAX(id) FROM payloads)")
        database.close()
        audit = gateway.run(gateway.gateway.desk.audit())
        assert (len(audit.findings), audit.ledger.unaccounted) == (1, 1)


async def hold(gateway: Served, number: int) -> None:
    """Have requests in the spool while the store answers questions."""
    spool = spool_of(gateway)
    spool.store_is_open = False
    for _ in range(number):
        assert await asyncio.to_thread(send, gateway) == "spooled"


def test_the_intake_starts_before_the_store(tmp_path: Path) -> None:
    """A store that is away at the start keeps nobody waiting; what is asked of it is told what the matter is."""
    with running("valkey") as server:
        server.kill()
        with gateway_on(tmp_path, server.url) as gateway:
            assert send(gateway) == "spooled"
            assert gateway.post("/healthz", method="GET").status == 200
            ready = gateway.post("/readyz", method="GET")
            assert (ready.status, ready.json["status"], list(ready.json["degraded"])) == (200, "degraded", ["store"])
            token = (tmp_path / "data" / "admin_token").read_text().strip()
            answer = gateway.post("/api/status", headers={"authorization": f"Bearer {token}"}, method="GET")
            assert answer.status == 503
            assert "the store is away since" in answer.json["detail"]
            assert "in the spool on disk (1 request, " in answer.json["detail"]
            server.start()
            drained(gateway)
            assert gateway.post("/readyz", method="GET").json["status"] == "ready"


def test_since_when_the_store_is_away_is_known_without_a_webhook(tmp_path: Path) -> None:
    """The looks of the housekeeping notice it, and that it is back."""
    with running("valkey") as server, gateway_on(tmp_path, server.url) as gateway:
        here = gateway.gateway.here
        assert here.away() is None
        server.kill()
        eventually(lambda: here.away() is not None)
        away = here.away()
        assert away is not None
        assert away.why.startswith("it does not answer")
        server.start()
        eventually(lambda: here.away() is None)


def test_a_store_that_turns_out_to_be_another_is_not_used(tmp_path: Path) -> None:
    """Found out after the start, the process goes on spooling, and the store is left as it is."""
    with running("valkey") as server:
        server.ask("HSET", "{0}:state", "format", 1, "partitions", 3)
        server.kill()
        with gateway_on(tmp_path, server.url) as gateway:
            assert send(gateway) == "spooled"
            server.start()
            eventually(lambda: "partitions = 3" in spool_of(gateway).away_why)
            assert send(gateway) == "spooled"
            assert server.ask("EXISTS", "{0}:log") == 0


def test_a_killed_gateway_leaves_an_orphan_that_another_drains(tmp_path: Path) -> None:
    """kill -9 with a spool that is not empty: the next process drains it first, then deletes the file."""
    with running("valkey") as server:
        (tmp_path / "gateway.toml").write_text(CONFIG.format(url=server.url, more=""))
        gateway = GatewayProcess(tmp_path, ENV)
        try:
            gateway.start()
            server.kill()
            bodies = [fresh() for _ in range(5)]
            sent = [gateway.post("br", body, {k: str(v) for k, v in signed(body).items()}) for body in bodies]
            ids = [answer.json()["events"][0]["id"] for answer in sent]
            assert {answer.json()["events"][0]["status"] for answer in sent} == {"spooled"}
            gateway.kill()
        finally:
            gateway.close()
        (orphan,) = (tmp_path / "spool").glob("*.spool")
        server.start()
        with gateway_on(tmp_path, server.url) as successor:
            body = fresh()
            send(successor, body)
            drained(successor)
            eventually(lambda: not orphan.exists())
            assert successor.names()[:5] == ids
            assert len(successor.names()) == 6
            assert successor.ledger().requests.accepted == 6
    assert list((tmp_path / "spool").glob("*")) == []
