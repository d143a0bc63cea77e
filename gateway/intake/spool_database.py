"""The tables of a file of the spool, and SQLite's errors in our words.

A batch lies in two tables: what the account needs of it, and its payload. Nobody reads payloads to count.
"""

import contextlib
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from gateway.errors import SpoolFormat, SpoolRefused, SpoolUnreadable
from gateway.faults import fault
from gateway.store.log import Batch
from gateway.store.spooled import (
    SpooledLine,
    SpooledRow,
    Tallies,
    Tally,
    decode_tally,
    encode_tally,
    lines_of,
    tally_of,
)

FORMAT = 1
"""``PRAGMA user_version`` of a file. Another one is refused and left as it is."""

BUSY_S = 5.0

_NO_END = (1 << 63) - 1

_SCHEMA = (
    "CREATE TABLE batches (id INTEGER PRIMARY KEY AUTOINCREMENT, partition INTEGER NOT NULL, committer TEXT NOT NULL,"
    " number INTEGER NOT NULL, at_ms INTEGER NOT NULL, requests INTEGER NOT NULL, events INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL, crc INTEGER NOT NULL, tally BLOB NOT NULL, aside TEXT)",
    "CREATE TABLE payloads (id INTEGER PRIMARY KEY, payload BLOB NOT NULL)",
    f"PRAGMA user_version = {FORMAT}",
)

_decode_batch = msgspec.msgpack.Decoder(Batch).decode


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """How much a file holds, or several."""

    rows: int = 0
    """Batches that wait; not those put aside."""
    requests: int = 0
    events: int = 0
    bytes: int = 0
    oldest_ms: int | None = None
    """When the oldest batch that waits came."""
    aside: int = 0
    """Batches that could not be committed, or not be read: kept, and tried again by the next process."""

    def __add__(self, other: "Held") -> "Held":
        oldest = [ms for ms in (self.oldest_ms, other.oldest_ms) if ms is not None]
        return Held(
            rows=self.rows + other.rows,
            requests=self.requests + other.requests,
            events=self.events + other.events,
            bytes=self.bytes + other.bytes,
            oldest_ms=min(oldest, default=None),
            aside=self.aside + other.aside,
        )

    def __sub__(self, part: "Held") -> "Held":
        return msgspec.structs.replace(
            self,
            rows=self.rows - part.rows,
            requests=self.requests - part.requests,
            events=self.events - part.events,
            bytes=self.bytes - part.bytes,
        )


def connect(path: Path) -> sqlite3.Connection:
    """Open a file that exists. It may be used by one thread at a time."""
    return sqlite3.connect(
        f"{path.resolve().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=BUSY_S, check_same_thread=False
    )


def make_tables(database: sqlite3.Connection, partitions: int = 0) -> None:
    """Make an empty database ours, for batches that were made for so many partitions; 0: nobody knows."""
    database.execute("PRAGMA journal_mode = WAL")
    with transaction(database):
        database.execute(f"PRAGMA application_id = {partitions:d}")
        for statement in _SCHEMA:
            database.execute(statement)


def partitions_of(database: sqlite3.Connection) -> int:
    """For how many partitions its batches were made; 0 where nobody knows: in files of earlier versions."""
    (partitions,) = database.execute("PRAGMA application_id").fetchone()
    return int(partitions)


def has_tables(path: Path, database: sqlite3.Connection) -> bool:
    """Whether it is ours; false if its process ended before it was. Raises ``SpoolFormat``."""
    (found,) = database.execute("PRAGMA user_version").fetchone()
    if found == 0 and database.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone() == (0,):
        return False
    if found != FORMAT:
        raise SpoolFormat(
            f"{path} has format {found}, and this gateway reads format {FORMAT}: "
            "let the version that wrote it drain it, or take the file away"
        )
    return True


@contextlib.contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; fsynced at its end where ``synchronous`` is FULL."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        fault("spool.commit", "before", disk_error)
        database.execute("COMMIT")
        fault("spool.commit", "after", disk_error)
    except BaseException:
        if database.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                database.execute("ROLLBACK")
        raise


def disk_error(why: str) -> sqlite3.Error:
    """What SQLite raises where the disk fails."""
    error = sqlite3.OperationalError(why)
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    return error


@contextlib.contextmanager
def explaining(path: Path) -> Iterator[None]:
    """SQLite's errors as ``SpoolUnreadable`` where the file is damaged, as ``SpoolRefused`` where it may pass."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
            raise SpoolUnreadable(f"{path} is damaged: {error}") from None
        raise SpoolRefused(f"{path} cannot be used: {error}") from None


def held(database: sqlite3.Connection) -> Held:
    """How much waits."""
    rows, requests, events, size_bytes, oldest_ms = database.execute(
        "SELECT COUNT(*), SUM(requests), SUM(events), SUM(bytes), MIN(at_ms) FROM batches WHERE aside IS NULL"
    ).fetchone()
    (aside,) = database.execute("SELECT COUNT(*) - ? FROM batches", (rows,)).fetchone()
    return Held(
        rows=rows, requests=requests or 0, events=events or 0, bytes=size_bytes or 0, oldest_ms=oldest_ms, aside=aside
    )


def oldest_ms(database: sqlite3.Connection) -> int | None:
    """When the first row that waits came, which is the one that is committed next."""
    row = database.execute("SELECT at_ms FROM batches WHERE aside IS NULL ORDER BY id LIMIT 1").fetchone()
    return None if row is None else int(row[0])


class _Mark(msgspec.Struct, frozen=True):
    """The rows up to some id. It is another one when any of them has left or changed the name of its committer: that
    grows with each time it is put aside. And in another file, by its newest row.
    """

    last: tuple[int, str, int, int] | None
    """Id, committer, number and CRC of the newest of them."""
    rows: int
    ids: float
    committers: int
    """Length of their names."""

    @property
    def last_id(self) -> int:
        """Up to which id; 0: there is none."""
        return 0 if self.last is None else self.last[0]

    def __add__(self, behind: "_Mark") -> "_Mark":
        return _Mark(
            behind.last or self.last,
            self.rows + behind.rows,
            self.ids + behind.ids,
            self.committers + behind.committers,
        )


class Seen(msgspec.Struct, frozen=True):
    """What the account needs of a file, and how to tell whether it can be read on from there."""

    lines: list[SpooledLine]
    tallies: Tallies
    mark: _Mark
    unknown: int
    """Rows of which neither the tally nor the payload can be read: they count for nothing."""


def see(database: sqlite3.Connection, before: Seen | None = None) -> Seen:
    """The batches there are, as they were counted when they came, those put aside too.

    ``before``: what was seen earlier. If there is nothing but more behind it, only that is read, else all: rows leave,
    and change the name of their committer when they are put aside. Needs a transaction. Raises ``ValueError`` and
    ``TypeError`` where a column is no longer what was written.
    """
    if before is None or _marked(database, 0, before.mark.last_id) != before.mark:
        before = Seen([], Tallies(), _Mark(None, 0, 0, 0), 0)
    last_id = before.mark.last_id
    mark = before.mark + _marked(database, last_id, _NO_END)
    columns, behind = (
        "partition, committer, number, tally",
        f"FROM batches WHERE id > {last_id:d} ORDER BY id",
    )
    rows = database.execute(f"SELECT {columns} {behind}")
    unknown: list[int] = []
    try:
        lines = lines_of(rows, before.tallies, before.lines)
    except (ValueError, TypeError):  # one look at each, which takes longer
        rows = database.execute(f"SELECT id, {columns} {behind}")
        lines = lines_of(_mended(database, rows, before.tallies, unknown), before.tallies, before.lines)
    return Seen(lines, before.tallies, mark, before.unknown + len(unknown))


def _marked(database: sqlite3.Connection, after_id: int, last_id: int) -> _Mark:
    last = database.execute(
        "SELECT id, committer, number, crc FROM batches WHERE id > ? AND id <= ? ORDER BY id DESC LIMIT 1",
        (after_id, last_id),
    ).fetchone()
    sums = database.execute(
        "SELECT COUNT(*), TOTAL(id), IFNULL(SUM(LENGTH(committer)), 0) FROM batches WHERE id > ? AND id <= ?",
        (after_id, last_id),
    ).fetchone()
    return _Mark(last, *sums)


def _mended(
    database: sqlite3.Connection,
    rows: Iterable[tuple[int, int, str, int, bytes]],
    tallies: Tallies,
    unknown: list[int],
) -> Iterator[SpooledRow]:
    """The same rows; a tally that cannot be read is counted again from its payload, or added to ``unknown``."""
    for row_id, partition, committer, number, tally in rows:
        try:
            tallies.number_of(tally)
        except (ValueError, TypeError):
            found = database.execute(
                "SELECT payload, crc FROM batches JOIN payloads USING (id) WHERE batches.id = ?", (row_id,)
            ).fetchone()
            try:
                really = tally_of(batch_of(*(found or (None, 0))))
            except SpoolUnreadable:
                unknown.append(row_id)
                really = Tally({}, [])
            tally = encode_tally(really)
        yield partition, committer, number, tally


def recounted(database: sqlite3.Connection, name: str, findings: list[str]) -> tuple[list[SpooledLine], int]:
    """The same, counted from the payloads; adds to ``findings`` what is not as it was counted.

    Second, the events by which it differs.
    """
    found: list[SpooledRow] = []
    differing = 0
    for row_id, partition, committer, number, tally, crc, aside, payload in database.execute(
        "SELECT batches.id, partition, committer, number, tally, crc, aside, payload"
        " FROM batches LEFT JOIN payloads USING (id) ORDER BY batches.id"
    ):
        if aside is not None:
            findings.append(f"{name}: batch {row_id} is put aside: {aside}")
        is_sound = True
        try:
            really = counted = tally_of(batch_of(payload, crc))
        except SpoolUnreadable as error:
            findings.append(f"{name}: batch {row_id}: {error}")
            really, counted, is_sound = Tally({}, []), Tally({}, []), False
        try:
            counted = decode_tally(tally)
        except (ValueError, TypeError) as error:  # it counts as ``see`` counts it
            findings.append(f"{name}: batch {row_id}: its tally cannot be read: {error}")
        if is_sound and (really.events, sorted(really.requests)) != (counted.events, sorted(counted.requests)):
            findings.append(f"{name}: batch {row_id} holds {really}, and was counted as {counted}")
        differing += abs(counted.total - really.total)
        found.append((partition, committer, number, encode_tally(really)))
    return lines_of(found, Tallies()), differing


def batch_of(payload: bytes | None, crc: int) -> Batch:
    """The batch in a payload. Raises ``SpoolUnreadable`` unless it is what was written."""
    if payload is None or zlib.crc32(payload) != crc:
        raise SpoolUnreadable("its bytes are not those that were written")
    try:
        return _decode_batch(payload)
    except msgspec.MsgspecError as error:
        raise SpoolUnreadable(f"it cannot be decoded: {error}") from None
