"""One file of the spool: batches in the order in which they must be committed, in SQLite.

A row is one batch exactly as the committer would have sent it, with the committer's id and the batch's number: whoever
commits it repeats that number, so it is in the log once, whether or not it had arrived there before.

A process writes one file of its own and holds an ``flock`` on ``<file>.lock`` as long as it lives. A file whose lock is
free is an orphan: whoever gets the lock drains it. The lock is on a file beside, because closing any descriptor of the
database itself would drop SQLite's own locks.

Everything here blocks, and a file is used by one thread at a time.
"""

import contextlib
import fcntl
import os
import sqlite3
import zlib
from collections.abc import Iterable, Sequence, Set
from pathlib import Path

import msgspec

from gateway.errors import SpoolRefused, SpoolUnreadable
from gateway.faults import fault
from gateway.intake import spool_database
from gateway.intake.spool_database import (
    Held,
    batch_of,
    connect,
    disk_error,
    explaining,
    has_tables,
    make_tables,
    partitions_of,
    transaction,
)
from gateway.store.log import Batch
from gateway.store.spooled import encode_tally, tally_of

SUFFIX = ".spool"
UNREADABLE = ".unreadable"
"""What a file is called that could not be read: kept, and touched no more."""

_COMPANIONS = ("", "-wal", "-shm")

_encode = msgspec.msgpack.Encoder().encode


class NewRow(msgspec.Struct, frozen=True, kw_only=True):
    """A batch on its way into a file."""

    partition: int
    committer: str
    number: int
    at_ms: int
    requests: int
    events: int
    tally: bytes
    payload: bytes


class Row(msgspec.Struct, frozen=True):
    """A batch on its way out of a file."""

    id: int
    partition: int
    committer: str
    number: int
    at_ms: int
    held: Held
    """What it is of what the file holds."""
    batch: Batch


def new_row(partition: int, committer: str, number: int, batch: Batch, at_ms: int) -> NewRow:
    """A batch as a row."""
    tally = tally_of(batch)
    return NewRow(
        partition=partition,
        committer=committer,
        number=number,
        at_ms=at_ms,
        requests=sum(count for _, _, count in tally.requests),
        events=len(batch.events),
        tally=encode_tally(tally),
        payload=_encode(batch),
    )


class SpoolFile:
    """One file, opened and locked by this process. Its methods raise ``SpoolRefused`` and ``SpoolUnreadable``."""

    def __init__(self, path: Path, lock: int, database: sqlite3.Connection, partitions: int) -> None:
        self.path = path
        self.partitions = partitions
        """For how many its batches were made; 0: nobody knows."""
        self._lock = lock
        self._database = database

    @classmethod
    def create(cls, path: Path, partitions: int = 0) -> "SpoolFile":
        """A new file, mode 0600, for the batches of so many partitions. Raises ``SpoolRefused``."""
        lock: int | None = None
        database: sqlite3.Connection | None = None
        try:
            fault("spool.create", "before", disk_error)
            lock = take_lock(path, create=True)
            if lock is None:
                raise SpoolRefused(f"{path} belongs to another process")
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            database = connect(path)
            database.execute("PRAGMA synchronous = FULL")
            make_tables(database, partitions)
            _sync_folder(path.parent)  # else a power cut could take the name, and all that is in the file
            fault("spool.create", "after", disk_error)
        except (OSError, sqlite3.Error) as error:
            if database is not None:
                database.close()
            if lock is not None:
                _remove(path)
                release(path, lock)
            raise SpoolRefused(f"cannot make {path}: {error}") from None
        return cls(path, lock, database, partitions)

    @classmethod
    def adopt(cls, path: Path) -> "SpoolFile | None":
        """An orphan; ``None`` if its process lives, or if it has gone.

        Raises ``SpoolFormat``, ``SpoolRefused``; ``SpoolUnreadable`` after it has set the file aside.
        """
        lock = take_lock(path, create=True) if path.exists() else None
        if lock is None:
            return None
        if not path.exists():
            release(path, lock)
            return None
        database: sqlite3.Connection | None = None
        try:
            with explaining(path):
                database = connect(path)
                database.execute("PRAGMA synchronous = FULL")
                if not has_tables(path, database):
                    make_tables(database)
                with transaction(database):  # what was put aside may be taken now
                    database.execute("UPDATE batches SET aside = NULL")
                return cls(path, lock, database, partitions_of(database))
        except BaseException as error:
            if database is not None:
                database.close()
            if isinstance(error, SpoolUnreadable):
                _set_aside(path, lock)
            else:
                os.close(lock)
            raise

    def append(self, rows: Sequence[NewRow]) -> None:
        """Write rows at the end, all or none, fsynced when it returns."""
        with explaining(self.path):
            fault("spool.write", "before", disk_error)
            with transaction(self._database):
                for row in rows:
                    added = self._database.execute(
                        "INSERT INTO batches (partition, committer, number, at_ms, requests, events, bytes, crc, tally)"
                        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        (
                            *(row.partition, row.committer, row.number, row.at_ms, row.requests, row.events),
                            *(len(row.payload), zlib.crc32(row.payload), row.tally),
                        ),
                    )
                    self._database.execute("INSERT INTO payloads VALUES (?, ?)", (added.lastrowid, row.payload))
            fault("spool.write", "after", disk_error)

    def holds(self, row: NewRow) -> bool:
        """Whether a row waits here."""
        with explaining(self.path):
            found = self._database.execute(
                "SELECT 1 FROM batches WHERE aside IS NULL AND partition = ? AND committer = ? AND number = ?",
                (row.partition, row.committer, row.number),
            )
            return found.fetchone() is not None

    def read(self, skip: Set[int], until_ms: int, most_rows: int, most_bytes: int) -> tuple[list[Row], Held]:
        """The first rows that wait, in order, none that came after ``until_ms``; at least one if there is any.

        Without those to ``skip``. Second, what was found damaged, and put aside.
        """
        found: list[Row] = []
        damaged = Held()
        with explaining(self.path):
            fault("spool.read", "before", disk_error)
            rows = self._database.execute(
                "SELECT id, partition, committer, number, at_ms, requests, events, bytes, crc FROM batches"
                " WHERE aside IS NULL ORDER BY id LIMIT ?",
                (most_rows + len(skip),),
            ).fetchall()
            for row_id, partition, committer, number, at_ms, requests, events, size_bytes, crc in rows:
                if row_id in skip:
                    continue
                most_bytes -= size_bytes
                if at_ms > until_ms or (found and most_bytes < 0):
                    break
                part = Held(rows=1, requests=requests, events=events, bytes=size_bytes)
                payload = self._database.execute("SELECT payload FROM payloads WHERE id = ?", (row_id,)).fetchone()
                try:
                    batch = batch_of(payload[0] if payload else None, crc)
                except SpoolUnreadable as error:
                    self.put_aside(row_id, str(error))
                    damaged += part
                    continue
                found.append(Row(row_id, partition, committer, number, at_ms, part, batch))
            fault("spool.read", "after", disk_error)
        return found, damaged

    def oldest_ms(self, skip: Set[int]) -> int | None:
        """When the first row that waits came, but for those to ``skip``."""
        with explaining(self.path):
            for row_id, at_ms in self._database.execute(
                "SELECT id, at_ms FROM batches WHERE aside IS NULL ORDER BY id LIMIT ?", (len(skip) + 1,)
            ).fetchall():
                if row_id not in skip:
                    return int(at_ms)
        return None

    def remove(self, ids: Iterable[int]) -> None:
        """Forget rows that are committed."""
        with explaining(self.path):
            fault("spool.remove", "before", disk_error)
            with transaction(self._database):
                which = [(row_id,) for row_id in ids]
                self._database.executemany("DELETE FROM batches WHERE id = ?", which)
                self._database.executemany("DELETE FROM payloads WHERE id = ?", which)
            fault("spool.remove", "after", disk_error)

    def put_aside(self, row_id: int, why: str) -> None:
        """Keep a row out of the way of those that follow.

        Under an id of its own: the numbers of its committer go on, and it would seem to have been committed.
        """
        with explaining(self.path), transaction(self._database):
            self._database.execute(
                "UPDATE batches SET aside = ?, committer = committer || '-' || number WHERE id = ?", (why, row_id)
            )

    def held(self) -> Held:
        """How much there is."""
        with explaining(self.path):
            return spool_database.held(self._database)

    def shrink(self) -> None:
        """Give the disk back what removed rows have left."""
        with explaining(self.path):
            self._database.execute("VACUUM")
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self, *, remove: bool = False) -> None:
        """Close and unlock it; with ``remove`` delete it too, which only one may be where nothing waits."""
        with contextlib.suppress(sqlite3.Error):
            self._database.close()
        if remove:
            _remove(self.path)
            release(self.path, self._lock)
        else:
            os.close(self._lock)

    def give_up(self) -> None:
        """Close it and call it unreadable, as it is."""
        with contextlib.suppress(sqlite3.Error):
            self._database.close()
        _set_aside(self.path, self._lock)


def take_lock(path: Path, *, create: bool) -> int | None:
    """The lock of a file as a descriptor; ``None`` if somebody has it. Raises ``OSError``."""
    lock_path = Path(f"{path}.lock")
    lock = os.open(lock_path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if lock_path.stat().st_ino == os.fstat(lock).st_ino:
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass  # held; or whoever had it has removed it in between
    except BaseException:
        os.close(lock)
        raise
    os.close(lock)
    return None


def release(path: Path, lock: int) -> None:
    """Remove the lock of a file that is no longer there."""
    with contextlib.suppress(FileNotFoundError):
        Path(f"{path}.lock").unlink()  # while it is held: who opened it meanwhile sees that it is gone
    os.close(lock)


def _remove(path: Path) -> None:
    for companion in _COMPANIONS:
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{companion}").unlink()


def _set_aside(path: Path, lock: int) -> None:
    try:
        for companion in _COMPANIONS:
            with contextlib.suppress(FileNotFoundError):
                Path(f"{path}{companion}").rename(f"{path.with_suffix(UNREADABLE)}{companion}")
    except OSError:  # a disk that cannot be written any more: an orphan, which every look tries again
        os.close(lock)
    else:
        release(path, lock)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
