"""Draining among several processes, and files of the spool by themselves."""

import asyncio
import fcntl
import itertools
import sqlite3
import stat
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.errors import BatchRefused, SpoolRefused, SpoolUnreadable, StoreUnavailable
from gateway.intake import draining, spool_folder
from gateway.intake.draining import Drainer
from gateway.intake.spool import Spool
from gateway.intake.spool_database import Held, held
from gateway.intake.spool_file import SpoolFile, new_row
from gateway.intake.spool_folder import read_folder, tidy
from gateway.store.layout import Keys
from gateway.store.log import Batch, PartitionLog
from tests.intake.drained import NOW_MS, batch, processes, until
from tests.support.stores import StoreServer

Repeated = tuple[int, StoreUnavailable | BatchRefused | None]


def test_the_older_file_goes_first(valkey: StoreServer, tmp_path: Path) -> None:
    """A process neither drains what came later in its own file nor goes back to the store before another's is empty."""

    async def check() -> None:
        async with processes(valkey, tmp_path, 2) as ((one, other), partition):
            await one.put("a", at_ms=0)
            await other.put("b", at_ms=5_000)
            one.now_ms = other.now_ms = NOW_MS + 6_000
            await other.drain()
            assert await partition.names() == []
            assert other.spool.diverts
            await one.drain()
            assert await partition.names() == ["a"]
            assert not one.spool.own.rows
            other.now_s += draining.LOOK_S * 2
            await other.drain()
            assert await partition.names() == ["a", "b"]
            assert not other.spool.diverts

    asyncio.run(check())


def test_the_log_says_how_much_was_taken_and_when_all_is_drained(valkey: StoreServer, tmp_path: Path) -> None:
    """What still waits when the store is back may be nothing, though thousands were taken; the end is said once."""

    async def check() -> None:
        async with processes(valkey, tmp_path, 1) as ((one,), _):
            one.spool.lost("a test took it away")
            for number in range(3):
                await one.put(f"{number}")
            one.now_ms = NOW_MS + 4_000
            with capture_logs() as told:
                for _ in range(2):
                    await one.drain()
            assert [{**line, "log_level": ""} for line in told] == [
                {"event": "spool.store_is_back", "away_s": 4.0, "taken": 3, "requests": 0, "bytes": 0, "log_level": ""},
                {"event": "spool.drained", "requests": 3, "took_s": 0.0, "log_level": ""},
            ]

    asyncio.run(check())


def test_without_a_look_at_others_the_later_one_passes(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the above."""
    monkeypatch.setattr(Drainer, "_horizon", lambda _drainer, _peer: None)

    async def check() -> None:
        async with processes(valkey, tmp_path, 2) as ((one, other), partition):
            await one.put("a", at_ms=0)
            await other.put("b", at_ms=5_000)
            await other.drain()
            await one.drain()
            assert await partition.names() == ["b", "a"]

    asyncio.run(check())


def test_a_process_that_hangs_is_not_waited_for_for_ever(valkey: StoreServer, tmp_path: Path) -> None:
    """Its file stays as it is; after a while the others go on."""

    async def check() -> None:
        async with processes(valkey, tmp_path, 2) as ((hangs, other), partition):
            await hangs.put("a", at_ms=0)
            await other.put("b", at_ms=5_000)
            await other.drain()
            other.now_s += draining.PATIENCE_S + 1
            await other.drain()
            assert await partition.names() == ["b"]
            assert not other.spool.diverts

    asyncio.run(check())


def test_an_orphan_is_drained_before_what_is_newer(valkey: StoreServer, tmp_path: Path) -> None:
    """Whoever gets its lock commits it under its own numbers, and then deletes it."""

    async def check() -> None:
        async with processes(valkey, tmp_path, 2) as ((dead, heir), partition):
            await dead.put("a", "b")
            await dead.put("c", "a")
            assert dead.spool.file is not None
            path = dead.spool.file.path
            dead.spool.file.close()
            dead.spool.file = None
            await heir.drainer._look()
            assert heir.spool.diverts
            assert SpoolFile.adopt(path) is None  # somebody has it
            await heir.put("d", at_ms=10)
            await heir.drain()
            assert await partition.names() == ["a", "b", "c", "d"]
            assert (await partition.ledger()).events.duplicate == 1
            assert [each.name for each in tmp_path.glob("0.spool*")] == []

    asyncio.run(check())


def test_a_store_that_is_full_again_stops_the_draining(valkey: StoreServer, tmp_path: Path) -> None:
    """There is nothing to be gained from pushing into a store that has no room."""

    async def check() -> None:
        async with processes(valkey, tmp_path, 1) as ((one,), partition):
            await one.put("a")
            one.has_room = False
            await one.drain()
            assert await partition.names() == []
            one.has_room = True
            await one.drain()
            assert await partition.names() == ["a"]

    asyncio.run(check())


def test_after_draining_the_file_is_small_again(valkey: StoreServer, tmp_path: Path) -> None:
    """What an outage took of the disk is given back, while the process lives."""

    async def check() -> None:
        async with processes(valkey, tmp_path, 1) as ((one,), partition):
            for number in range(100):
                await one.put(*[f"{number}-{at}" for at in range(40)])
            assert one.spool.file is not None
            large = sum(each.stat().st_size for each in tmp_path.iterdir())
            assert one.spool.own == Held(rows=100, requests=100, events=4_000, bytes=one.spool.own.bytes)
            await one.drain()
            assert len(await partition.names()) == 4_000
            assert sum(each.stat().st_size for each in tmp_path.iterdir()) < large / 8
            assert one.spool.own == Held()

    asyncio.run(check())


def test_batches_that_gather_share_an_fsync(valkey: StoreServer, tmp_path: Path) -> None:
    """While one is written the next ones wait, and go together; each is there when it is answered."""

    async def check() -> None:
        async with processes(valkey, tmp_path, 1) as ((one,), _):
            file = one.spool.file
            assert file is not None
            sizes: list[int] = []
            append = file.append

            def watched(rows: list[object]) -> None:
                sizes.append(len(rows))
                append(rows)  # type: ignore[arg-type]  # handed on as they came

            file.append = watched  # type: ignore[method-assign,assignment]  # it looks, and changes nothing
            await asyncio.gather(*[one.put(f"{number}") for number in range(20)])
            assert sum(sizes) == 20
            assert len(sizes) < 5
            assert [len(each.numbers) for each in read_folder(tmp_path).lines] == [20]

    asyncio.run(check())


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    """Bodies are in it."""

    async def check() -> None:
        spool = Spool(
            tmp_path / "deep" / "spool",
            limit_bytes=1,
            make_name=lambda: "x",
            wall_ms=lambda: 0,
            has_room=lambda: True,
        )
        await spool.open()
        try:
            assert stat.S_IMODE(spool.folder.stat().st_mode) == 0o700
            assert {stat.S_IMODE(each.stat().st_mode) for each in spool.folder.iterdir()} == {0o600}
        finally:
            await spool.close()
        assert list(spool.folder.iterdir()) == []

    asyncio.run(check())


def test_a_damaged_batch_is_put_aside_and_the_others_are_not(tmp_path: Path) -> None:
    """Its bytes are not those that were written: it is not committed as if they were."""
    file = SpoolFile.create(tmp_path / "a.spool")
    file.append([new_row(0, "c", number, batch(f"{number}"), NOW_MS) for number in (1, 2, 3)])
    file._database.execute("UPDATE payloads SET payload = zeroblob(9) WHERE id = 2")
    rows, damaged = file.read(set(), NOW_MS, 9, 1 << 20)
    assert [row.number for row in rows] == [1, 3]
    assert damaged.rows == 1
    assert (file.held().rows, file.held().aside) == (2, 1)
    view = read_folder(tmp_path, recount=True)
    assert [list(each.numbers) for each in view.lines] == [[1, 3], [2]]
    assert view.findings
    file.close()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """The process runs, and says why it has no spool."""
    (tmp_path / "file").write_text("")

    async def check() -> None:
        spool = Spool(
            tmp_path / "file" / "spool",
            limit_bytes=1 << 20,
            make_name=lambda: "x",
            wall_ms=lambda: 0,
            has_room=lambda: True,
        )
        await spool.open()
        assert "cannot use the folder" in spool.broken
        assert not spool.takes
        with pytest.raises(SpoolRefused, match="cannot use the folder"):
            await spool.put(0, "c", 1, batch("a"))
        await spool.close()

    asyncio.run(check())


def test_a_lock_without_a_file_is_tidied_away(tmp_path: Path) -> None:
    """Unless somebody holds it, who is about to make the file."""
    (tmp_path / "old.spool.lock").write_text("")
    file = SpoolFile.create(tmp_path / "new.spool")
    (tmp_path / "new.spool").rename(tmp_path / "hidden")
    tidy(tmp_path)
    assert sorted(each.name for each in tmp_path.glob("*.lock")) == ["new.spool.lock"]
    file.close()


def test_what_comes_while_a_damaged_file_is_replaced_is_counted(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uncounted, it would be passed by the next batch, and then be taken for one that had been in: lost."""
    giving_up, may_go_on = threading.Event(), threading.Event()
    append, give_up = SpoolFile.append, SpoolFile.give_up

    def damaged(_file: SpoolFile, _rows: object) -> None:
        monkeypatch.setattr(SpoolFile, "append", append)
        raise SpoolUnreadable("damaged")

    def slowly(file: SpoolFile) -> None:
        giving_up.set()
        may_go_on.wait(10)
        give_up(file)

    monkeypatch.setattr(SpoolFile, "append", damaged)
    monkeypatch.setattr(SpoolFile, "give_up", slowly)

    async def check() -> None:
        async with processes(valkey, tmp_path, 1) as ((one,), partition):
            one.spool.must_wait = False
            refused = asyncio.create_task(one.put("a"))
            await asyncio.to_thread(giving_up.wait, 10)
            kept = asyncio.create_task(one.put("b"))
            await asyncio.sleep(0.05)
            may_go_on.set()
            with pytest.raises(SpoolRefused):
                await refused
            await kept
            assert one.spool.file is not None
            assert one.spool.own.rows == one.spool.file.held().rows == 1
            assert one.spool.diverts
            await one.drain()
            assert await partition.names() == ["b"]
            assert one.spool.own == Held()

    asyncio.run(check())


def test_a_damaged_file_that_was_mended_is_committed(valkey: StoreServer, tmp_path: Path) -> None:
    """What was committed since has other committers, or the store would say that it came too late."""

    async def check() -> None:
        async with processes(valkey, tmp_path, 2) as ((one, heir), partition):
            await one.put("a")
            file = one.spool.file
            assert file is not None
            await one.spool.replace(file, SpoolUnreadable("damaged"))
            await one.put("b")
            await one.drain()
            assert await partition.names() == ["b"]
            for path in tmp_path.glob("*.unreadable*"):
                path.rename(tmp_path / path.name.replace("0.unreadable", "mended.spool"))
            await heir.drain()
            assert await partition.names() == ["b", "a"]

    asyncio.run(check())


def test_a_batch_of_a_damaged_file_s_committer_is_refused(valkey: StoreServer, tmp_path: Path) -> None:
    """It was numbered before the file was replaced; the provider sends it again."""

    async def check() -> None:
        async with processes(valkey, tmp_path, 1) as ((one,), _):
            before = one.log.committer
            await one.put("a")
            assert one.spool.file is not None
            await one.spool.replace(one.spool.file, SpoolUnreadable("damaged"))
            with pytest.raises(SpoolRefused, match="damaged"):
                await one.spool.put(0, before, one.log.next_batch(), batch("b"))

    asyncio.run(check())


def test_a_batch_that_cannot_be_put_aside_does_not_have_others_counted_twice(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other partitions' batches are waited for before the next round."""

    class Slow(PartitionLog):
        async def repeat(self, committer: str, batches: Sequence[tuple[int, Batch]]) -> Repeated:
            await asyncio.sleep(0.05)
            return await super().repeat(committer, batches)

    class Poisoned(PartitionLog):
        async def repeat(self, committer: str, batches: Sequence[tuple[int, Batch]]) -> Repeated:
            return 0, BatchRefused("no such thing")

    def refuse(_file: SpoolFile, _row: int, _why: str) -> None:
        raise SpoolRefused("full")

    monkeypatch.setattr(SpoolFile, "put_aside", refuse)

    async def check() -> None:
        async with processes(valkey, tmp_path, 1) as ((one,), partition):
            store = partition.log._store
            logs = [Poisoned(store, Keys("1")), Slow(store, Keys("0"))]
            one.drainer = Drainer(
                one.spool, logs, has_room=lambda: True, wall_ms=lambda: one.now_ms, monotonic=lambda: one.now_s
            )
            for number in (0, 1):
                await one.spool.put(number, "c", 1, batch(f"{number}"))
            for _ in range(2):
                with pytest.raises(SpoolRefused, match="full"):
                    await one.drainer._round()
            await asyncio.sleep(0.1)
            assert one.spool.own.rows == 1

    asyncio.run(check())


@pytest.mark.parametrize("counted", [-1, 2])
def test_a_count_that_went_wrong_is_mended(valkey: StoreServer, tmp_path: Path, counted: int) -> None:
    """A disk that failed may have kept more than it said, or less; the store is used again all the same."""

    async def check() -> None:
        async with processes(valkey, tmp_path, 1) as ((one,), partition):
            await one.put("a")
            one.spool.own += Held(rows=counted)
            await one.drain()
            assert await partition.names() == ["a"]
            assert one.spool.own == Held()
            assert not one.spool.diverts

    asyncio.run(check())


def test_a_clock_that_jumped_back_by_years_holds_nothing_up(valkey: StoreServer, tmp_path: Path) -> None:
    """What came by the later time is drained by the earlier one."""

    async def check() -> None:
        async with processes(valkey, tmp_path, 1) as ((one,), partition):
            await one.put("a", at_ms=3 * 366 * 86_400_000)
            one.now_ms = NOW_MS
            await one.drain()
            assert await partition.names() == ["a"]

    asyncio.run(check())


def test_a_file_that_cannot_be_locked_or_set_aside_leaves_no_descriptor_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is looked at four times a second."""
    path = tmp_path / "a.spool"
    path.write_text("no database " * 1_000)

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    before = len(list(Path("/proc/self/fd").iterdir()))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        for _ in range(2):
            with pytest.raises(SpoolUnreadable):
                SpoolFile.adopt(path)
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refuse)
        with pytest.raises(OSError, match="Read-only"):
            SpoolFile.adopt(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with pytest.raises(SpoolUnreadable):
        SpoolFile.adopt(path)
    assert [each.name for each in tmp_path.iterdir()] == ["a.unreadable"]


def test_an_orphan_that_the_disk_refuses_holds_up_no_other_file(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named among the troubles, and tried again later."""
    oldest_ms = SpoolFile.oldest_ms
    refuses = True

    def ask(file: SpoolFile, skip: set[int]) -> int | None:
        if refuses and file.path.name == "0.spool":
            raise SpoolRefused("disk I/O error")
        return oldest_ms(file, skip)

    monkeypatch.setattr(SpoolFile, "oldest_ms", ask)

    async def check() -> None:
        nonlocal refuses
        async with processes(valkey, tmp_path, 2) as ((dead, heir), partition):
            await dead.put("a")
            await dead.spool.close()
            await heir.put("b")
            await heir.drain()
            assert await partition.names() == ["b"]
            await heir.drain()
            assert not heir.spool.diverts
            assert heir.drainer.troubles == {"0.spool": "disk I/O error"}
            refuses = False
            heir.now_s += draining.PATIENCE_S + 1
            await heir.drain()
            assert await partition.names() == ["b", "a"]
            assert heir.drainer.troubles == {}

    asyncio.run(check())


def test_processes_take_turns_without_waiting_for_the_next_look(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each lets the other's older rows go first, a second of them at a time: after a minute away that is sixty turns.

    Here a look at its time would come only after an hour. Nor does each turn count what the other holds, which takes
    long where that is much."""
    monkeypatch.setattr(draining, "LOOK_S", 3_600.0)
    counts: list[int] = []

    def counting(database: sqlite3.Connection) -> Held:
        counts.append(held(database).rows)
        return held(database)

    monkeypatch.setattr(spool_folder, "held", counting)

    async def check() -> None:
        async with processes(valkey, tmp_path, 2) as (made, partition):
            for second in range(10):
                for number, each in enumerate(made):
                    await each.put(f"{second}.{number}", at_ms=1_000 * second + 500 * number)
            for each in made:
                each.now_ms = NOW_MS + 10_000
                await each.drainer.start()
            await until(lambda: not any(each.spool.diverts for each in made))
            seconds = [int(name.partition(".")[0]) for name in await partition.names()]
            assert all(later >= earlier - 1 for earlier, later in itertools.pairwise(seconds))
            assert len([rows for rows in counts if rows]) <= 2

    asyncio.run(check())
