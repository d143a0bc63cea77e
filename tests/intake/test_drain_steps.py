"""Many batches in one step: none passes the one before it, and only a batch's own fault puts it aside."""

import asyncio
import re
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import pytest
import redis
from structlog.testing import capture_logs

from gateway.errors import BatchRefused, SpoolRefused, SpoolUnreadable
from gateway.intake import draining
from gateway.intake.spool_database import Held
from gateway.intake.spool_file import SpoolFile
from gateway.store import log as log_module
from gateway.store.connection import Store
from gateway.store.log import Batch, PartitionLog
from tests.intake.drained import Process, batch, processes, until
from tests.store.partition import SOURCE, event, kept
from tests.support.stores import StoreServer


def ill(name: str) -> Batch:
    """A batch that the store never takes: no time to live is that long."""
    return Batch([event(name, seen_ttl_s=1 << 60)], [(SOURCE, "accepted", 1)], [], [])


async def spool_of(one: Process, *batches: Batch) -> None:
    """Take them over, one after the other."""
    for each in batches:
        await one.spool.put(0, one.log.committer, one.log.next_batch(), each)


def test_many_batches_go_in_one_step(valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An fsync for each would take longer than the outage; they are in in their order, each counted once."""
    steps: list[int] = []
    scripts = Store.scripts

    async def watched(store: Store, name: str, calls: list[tuple[list[str], list[object]]]) -> list[object]:
        steps.append(len(calls))
        return await scripts(store, name, calls)

    monkeypatch.setattr(Store, "scripts", watched)

    async def check() -> None:
        async with processes(valkey, tmp_path, 1) as ((one,), partition):
            await spool_of(one, *[batch(f"{number}", f"{number // 2}") for number in range(300)])
            valkey.ask("SCRIPT", "FLUSH")  # a server that was restarted does not know the script
            await one.drain()
            assert steps == [draining.CHUNK_ROWS, 300 - draining.CHUNK_ROWS]
            assert await partition.names() == [f"{number}" for number in range(300)]
            ledger = await partition.ledger()
            assert (ledger.requests.accepted, ledger.events.duplicate, ledger.unaccounted) == (300, 300, 0)
            assert one.spool.own == Held()

    asyncio.run(check())


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "control"])
def test_behind_a_refused_batch_none_gets_in_before_it_is_put_aside(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    """A process that ends just then leaves a row that its heir still knows to be missing.

    The control: where each batch goes without regard to the one before it, the heir is told that it had been in."""
    call = PartitionLog._call

    def careless(log: PartitionLog, committer: str, number: int, batch: Batch, _: object = None) -> object:
        return call(log, committer, number, batch)

    def refuse(_file: SpoolFile, _row: int, _why: str) -> None:
        raise SpoolRefused("full")

    async def check() -> None:
        async with processes(valkey, tmp_path, 2) as ((one, heir), partition):
            await spool_of(one, batch("a"), ill("b"), batch("c"))
            with monkeypatch.context() as patch:
                patch.setattr(SpoolFile, "put_aside", refuse)
                if not guarded:
                    patch.setattr(PartitionLog, "_call", careless)
                with pytest.raises(SpoolRefused, match="full"):
                    await one.drain()
            assert await partition.names() == (["a"] if guarded else ["a", "c"])
            await one.spool.close()
            await heir.drain()
            assert await partition.names() == ["a", "c"]
            held = heir.drainer._orphans[tmp_path / "0.spool"].file.held() if guarded else Held()
            assert (held.rows, held.aside) == (0, 1 if guarded else 0)
            ledger = await partition.ledger()
            assert (ledger.requests.accepted, ledger.unaccounted) == (2, 0)

    asyncio.run(check())


def test_each_refused_batch_is_put_aside_and_no_other(valkey: StoreServer, tmp_path: Path) -> None:
    """The first, the last, and two in a row: what stands between them is in, in order."""

    async def check() -> None:
        async with processes(valkey, tmp_path, 1) as ((one,), partition):
            await spool_of(one, ill("w"), batch("a"), ill("x"), ill("y"), batch("b"), batch("c"), ill("z"))
            await one.drain()
            assert await partition.names() == ["a", "b", "c"]
            assert one.spool.own == Held()
            assert one.spool.file is not None
            assert one.spool.file.held().aside == 4

    asyncio.run(check())


@pytest.mark.parametrize("whose", ["an orphan's", "our own"])
def test_a_disk_that_keeps_a_refused_batch_from_being_put_aside(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    """An orphan's holds up its own file alone, and for a while; ours those that came later; nobody paces for either."""

    def refuse(_file: SpoolFile, _row: int, _why: str) -> None:
        raise SpoolRefused("full")

    async def check() -> None:
        async with processes(valkey, tmp_path, 2) as ((first, one), partition):
            has_it = first if whose == "an orphan's" else one
            await spool_of(has_it, batch("a"), ill("b"), batch("c"))
            one.now_ms += 5 * draining.APART_MS
            await spool_of(one, batch("d"))
            if has_it is first:
                await first.spool.close()
            one.spool.lost("a test took it away")
            with monkeypatch.context() as patch:
                patch.setattr(SpoolFile, "put_aside", refuse)
                if has_it is one:
                    with pytest.raises(SpoolRefused, match="full"):
                        await one.drain()
                else:
                    await one.drain()
            assert await partition.names() == (["a", "d"] if has_it is first else ["a"])
            assert (one.spool.is_draining, one.spool.away_since_ms) == (False, None)
            one.now_s += draining.PATIENCE_S + 1
            await one.drain()
            assert sorted(await partition.names()) == ["a", "c", "d"]
            ledger = await partition.ledger()
            assert (ledger.requests.accepted, ledger.events.duplicate, ledger.unaccounted) == (3, 0, 0)

    asyncio.run(check())


def test_what_was_in_when_its_process_died_is_not_committed_again(valkey: StoreServer, tmp_path: Path) -> None:
    """Some of the rows are in the store under a later number, one is missing between those that are left."""

    async def check() -> None:
        async with processes(valkey, tmp_path, 2) as ((dead, heir), partition):
            await spool_of(dead, *[batch(name) for name in "abcde"])
            file = dead.spool.file
            assert file is not None
            rows, _ = file.read(set(), draining.EVER_MS, 9, 1 << 20)
            for row in rows[:3]:
                await dead.log.commit(row.number, row.batch)
            file.remove([rows[2].id])
            await dead.spool.close()
            await heir.drain()
            assert await partition.names() == list("abcde")
            ledger = await partition.ledger()
            assert (ledger.requests.accepted, ledger.events.duplicate, ledger.unaccounted) == (5, 0, 0)

    asyncio.run(check())


def test_what_is_committed_is_removed_when_the_draining_stops_in_between(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the store is full after the first step. Other processes would wait for rows that wait for nothing."""
    repeat = PartitionLog.repeat

    async def check() -> None:
        async with processes(valkey, tmp_path, 1) as ((one,), partition):

            async def and_then_full(log: PartitionLog, committer: str, batches: list[tuple[int, Batch]]) -> object:
                one.has_room = False
                return await repeat(log, committer, batches)

            await spool_of(one, *[batch(f"{number}") for number in range(300)])
            with monkeypatch.context() as patch:
                patch.setattr(PartitionLog, "repeat", and_then_full)
                await one.drain()
            assert len(await partition.names()) == draining.CHUNK_ROWS
            assert one.spool.file is not None
            assert one.spool.file.held().rows == one.spool.own.rows == 300 - draining.CHUNK_ROWS

    asyncio.run(check())


@pytest.mark.parametrize("error", [SpoolUnreadable("damaged"), SpoolRefused("full"), ValueError("a defect")], ids=str)
def test_a_step_is_finished_although_the_rows_of_the_one_before_cannot_be_removed(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """That is tried while it waits for the store; left to go on alone, it would be counted beside what comes next.

    A disk that refuses or a damaged page does not end the round, only a defect."""
    tried: list[object] = []
    steps: list[object] = []
    repeat, remove = PartitionLog.repeat, SpoolFile.remove

    def refuse_once(file: SpoolFile, ids: Iterable[int]) -> None:
        tried.append(ids)
        if len(tried) == 1:
            raise error
        remove(file, ids)

    async def when_it_was_tried(log: PartitionLog, committer: str, batches: list[tuple[int, Batch]]) -> object:
        steps.append(committer)
        if len(steps) == 2:
            await until(lambda: bool(tried))
        return await repeat(log, committer, batches)

    async def check() -> None:
        async with processes(valkey, tmp_path, 1) as ((one,), partition):
            await spool_of(one, *[batch(f"{number}") for number in range(300)])
            with monkeypatch.context() as patch:
                patch.setattr(SpoolFile, "remove", refuse_once)
                patch.setattr(PartitionLog, "repeat", when_it_was_tried)
                with pytest.raises(ValueError, match="defect") if isinstance(error, ValueError) else nullcontext():
                    await one.drain()
            assert len(steps) == 2
            assert one.spool.own == Held()
            assert await partition.names() == [f"{number}" for number in range(300)]
            assert one.spool.file is not None
            assert one.spool.file.held().rows == 0

    asyncio.run(check())


def test_that_rows_cannot_be_removed_is_said_once(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried many times a second while the disk is full; once they could be removed, it would be news again."""

    def refuse(_file: SpoolFile, _ids: object) -> None:
        raise SpoolRefused("full")

    async def check() -> None:
        async with processes(valkey, tmp_path, 1) as ((one,), _):
            for name in ("a", "b"):
                await spool_of(one, batch(name))
                with monkeypatch.context() as patch, capture_logs() as told:
                    patch.setattr(SpoolFile, "remove", refuse)
                    for _ in range(3):
                        await one.drain()
                assert [(line["event"], line["why"]) for line in told] == [("spool.not_removed", "full")]
                await one.drain()

    asyncio.run(check())


@pytest.mark.parametrize("is_ill", [False, True])
def test_an_orphan_that_is_committed_holds_nothing_up_although_its_rows_cannot_be_removed(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_ill: bool
) -> None:
    """New batches go to the store, not to the full disk; the file goes as a whole, but not with a batch put aside."""

    def refuse(_file: SpoolFile, _ids: object) -> None:
        raise SpoolRefused("full")

    async def check() -> None:
        async with processes(valkey, tmp_path, 2) as ((dead, one), partition):
            await spool_of(dead, batch("a"), *([ill("b")] if is_ill else []))
            await dead.spool.close()
            monkeypatch.setattr(SpoolFile, "remove", refuse)
            await one.drain()
            assert await partition.names() == ["a"]
            assert not one.spool.diverts
            assert [(path.name, orphan.done) for path, orphan in one.drainer._orphans.items()] == (
                [("0.spool", {1})] if is_ill else []
            )
            assert (tmp_path / "0.spool").exists() is is_ill

    asyncio.run(check())


def test_an_orphan_is_kept_while_a_batch_waits_whatever_is_known_of_its_removed_rows(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails when it is done has removed the rows; as many others must not be taken for those."""
    remove = SpoolFile.remove

    def remove_and_fail(file: SpoolFile, ids: Iterable[int]) -> None:
        remove(file, ids)
        raise SpoolRefused("the disk failed when it was done")

    async def check() -> None:
        async with processes(valkey, tmp_path, 3) as ((dead, other, one), partition):
            await dead.put("a")
            await dead.put("c", at_ms=10_000)
            await other.put("b", at_ms=5_000)  # which goes first, and is not ours
            await dead.spool.close()
            monkeypatch.setattr(SpoolFile, "remove", remove_and_fail)
            await one.drain()
            assert await partition.names() == ["a"]
            [orphan] = one.drainer._orphans.values()
            assert (orphan.done, orphan.file.held().rows) == ({1}, 1)
            assert one.spool.must_wait

    asyncio.run(check())


def test_a_file_that_the_writer_has_replaced_is_not_said_to_keep_its_rows(valkey: StoreServer, tmp_path: Path) -> None:
    """That it is damaged was said; the drainer has it still for the rest of its step."""

    async def check() -> None:
        async with processes(valkey, tmp_path, 1) as ((one,), _):
            await spool_of(one, batch("a"))
            [mine] = one.drainer._mine()
            mine.done.add(1)
            await one.spool.replace(mine.file, SpoolUnreadable("damaged"))
            with capture_logs() as told:
                await one.drainer._remove(mine)
            assert told == []

    asyncio.run(check())


@pytest.mark.parametrize("error", [SpoolUnreadable("damaged"), ValueError("a defect")], ids=str)
def test_it_stops_although_the_rows_of_a_step_cut_off_cannot_be_removed(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Removing them is the last of a round that is cancelled; its error must not have the drainer go on for ever."""
    steps: list[object] = []
    repeat = PartitionLog.repeat

    def refuse(_file: SpoolFile, _ids: object) -> None:
        raise error

    async def and_then_never(log: PartitionLog, committer: str, batches: list[tuple[int, Batch]]) -> object:
        steps.append(committer)
        if len(steps) > 1:
            await asyncio.Event().wait()
        return await repeat(log, committer, batches)

    async def check() -> None:
        async with processes(valkey, tmp_path, 1) as ((one,), _):
            await spool_of(one, *[batch(f"{number}") for number in range(300)])
            with monkeypatch.context() as patch:
                patch.setattr(SpoolFile, "remove", refuse)
                patch.setattr(PartitionLog, "repeat", and_then_never)
                await one.drainer.start()
                await until(lambda: len(steps) == 2)
                async with asyncio.timeout(20):
                    await one.drainer.stop()
            assert one.spool.file is not None
            assert one.spool.file.held().rows == 300

    asyncio.run(check())


TROUBLES: dict[str, tuple[tuple[object, ...], tuple[object, ...], str]] = {
    "no rights to run scripts": (
        ("ACL", "SETUSER", "default", "-evalsha"),
        ("ACL", "SETUSER", "default", "+evalsha"),
        "no permissions",
    ),
    "no rights on our keys": (
        ("ACL", "SETUSER", "default", "resetkeys", "~x"),
        ("ACL", "SETUSER", "default", "allkeys"),
        "permission|can't access|No permissions",
    ),
    "no rights to append": (
        ("ACL", "SETUSER", "default", "-xadd"),
        ("ACL", "SETUSER", "default", "+xadd"),
        "no right to XADD",
    ),
    "a read-only copy": (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "read only replica"),
    "too few copies": (
        ("CONFIG", "SET", "min-replicas-to-write", "1"),
        ("CONFIG", "SET", "min-replicas-to-write", "0"),
        "replicas",
    ),
    "a key of another kind": (("SET", "{0}:quarantine", "x"), ("DEL", "{0}:quarantine"), "WRONGTYPE"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_is_no_batch_s_fault_puts_none_aside(valkey: StoreServer, tmp_path: Path, trouble: str) -> None:
    """The backlog waits until somebody mends it, the reason is said, and nothing was counted meanwhile."""
    begin, end, why = TROUBLES[trouble]

    async def check() -> None:
        async with processes(valkey, tmp_path, 1) as ((one,), partition):
            quarantined = Batch([event("a")], [(SOURCE, "quarantined", 1)], [kept(b"q")], [])
            await spool_of(one, quarantined, batch("b"))
            valkey.ask(*begin)
            try:
                for _ in range(2):
                    await one.drain()
            finally:
                valkey.ask(*end)
            assert one.spool.own.rows == 2
            assert re.search(why, one.spool.away_why)
            assert one.spool.file is not None
            assert one.spool.file.held().aside == 0
            await one.drain()
            assert await partition.names() == ["a", "b"]
            assert one.spool.away_since_ms is None
            ledger = await partition.ledger()
            assert (ledger.events.produced, ledger.requests.quarantined, ledger.unaccounted) == (2, 1, 0)

    asyncio.run(check())


def test_where_any_refusal_counts_as_the_batch_s_fault_the_backlog_is_put_aside(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the above."""
    monkeypatch.setattr(log_module, "_waiting", lambda error: BatchRefused(str(error)))

    async def check() -> None:
        async with processes(valkey, tmp_path, 1) as ((one,), _):
            await spool_of(one, batch("a"))
            valkey.ask("ACL", "SETUSER", "default", "-xadd")
            try:
                await one.drain()
            finally:
                valkey.ask("ACL", "SETUSER", "default", "+xadd")
            assert one.spool.file is not None
            assert one.spool.file.held().aside == 1

    asyncio.run(check())


def test_a_store_that_asks_for_a_password_is_waited_for(valkey: StoreServer, tmp_path: Path) -> None:
    """NOAUTH and WRONGPASS come when a connection is made, and are no batch's fault either."""

    async def check() -> None:
        async with processes(valkey, tmp_path, 1) as ((one,), partition):
            await spool_of(one, batch("a"))
            valkey.ask("CONFIG", "SET", "requirepass", "x")
            try:
                await one.log._store.client.connection_pool.disconnect()
                await one.drain()
                assert "Authentication required" in one.spool.away_why
            finally:
                with redis.Redis(unix_socket_path=str(valkey.socket), password="x") as client:
                    client.config_set("requirepass", "")
            assert one.spool.own.rows == 1
            await one.drain()
            assert await partition.names() == ["a"]

    asyncio.run(check())


def test_a_defect_while_draining_is_said_and_nothing_is_put_aside(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is: the rows stay where they are, and ``status`` has the reason until it is gone."""

    async def fail(_log: PartitionLog, _committer: str, _batches: object) -> object:
        raise ValueError("no such thing")

    async def check() -> None:
        async with processes(valkey, tmp_path, 1) as ((one,), partition):
            await spool_of(one, batch("a"))
            with monkeypatch.context() as patch:
                patch.setattr(PartitionLog, "repeat", fail)
                await one.drainer.start()
                await until(lambda: "no such thing" in one.spool.away_why)
            await until(lambda: not one.spool.own.rows)
            assert await partition.names() == ["a"]
            await until(lambda: one.spool.away_since_ms is None)

    asyncio.run(check())
