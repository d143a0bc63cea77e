"""The spool's folder: files of all processes, read by any of them while others write. Everything here blocks."""

import contextlib
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from gateway.errors import SpoolError, SpoolRefused
from gateway.intake.spool_database import Held, Seen, connect, explaining, has_tables, held, oldest_ms, recounted, see
from gateway.intake.spool_file import SUFFIX, UNREADABLE, release, take_lock
from gateway.store.spooled import SpooledLine

T = TypeVar("T")


BEING_WRITTEN = "(being written)"
"""In place of a file's name: nothing can be written at all."""


class FolderView(msgspec.Struct, kw_only=True):
    """What lies in the folder, whoever wrote it."""

    lines: list[SpooledLine] = []
    """What the account needs of the batches; not where only ``held`` was asked for."""
    held: Held = Held()
    """Of all files together."""
    files: int = 0
    """Those that hold anything."""
    unreadable: dict[str, str] = {}
    """Name of a file that cannot be read → why."""
    findings: list[str] = []
    """Where a payload is not what was counted, in words; looked for only on request."""
    unaccounted: int = 0
    """Events by which payloads differ from what was counted."""


class FolderReader:
    """Reads all files again and again, and of each only what it has not seen yet, where there is nothing but more."""

    def __init__(self) -> None:
        self._seen: dict[Path, Seen] = {}
        self._one_at_a_time = threading.Lock()

    def read(self, folder: Path, *, recount: bool = False, held_only: bool = False) -> FolderView:
        """``recount``: count the payloads themselves. ``held_only``: leave the lines out."""
        if recount or held_only:
            return read_folder(folder, recount=recount, held_only=held_only)
        with self._one_at_a_time:
            return read_folder(folder, seen=self._seen)


def read_folder(
    folder: Path, *, recount: bool = False, held_only: bool = False, seen: dict[Path, Seen] | None = None
) -> FolderView:
    """Read all files, as ``FolderReader.read``. ``seen``: the files as they were; as they are, when this returns."""
    view = FolderView()
    before, seen = dict(seen or {}), {} if seen is None else seen
    seen.clear()
    for path in sorted(folder.glob(f"*{UNREADABLE}")):
        view.unreadable[path.name] = "it was damaged, and is kept for whoever can mend it"
    for path in sorted(folder.glob(f"*{SUFFIX}")):

        def ask(database: sqlite3.Connection, path: Path = path) -> tuple[Held, list[SpooledLine]]:
            found = held(database)
            if held_only:
                return found, []
            if recount:
                lines, differing = recounted(database, path.name, view.findings)
                view.unaccounted += differing
                return found, lines
            seen[path] = see(database, before.get(path))
            if unknown := seen[path].unknown:
                view.unreadable[path.name] = f"{unknown} of its batches count for nothing: they are damaged"
            return found, seen[path].lines

        try:
            asked = _ask(path, ask)
        except SpoolError as error:
            view.unreadable[path.name] = str(error)
            continue
        except (ValueError, TypeError) as error:  # a number that is none, say: the figures of the others stand
            view.unreadable[path.name] = f"a row of it is damaged: {error}"
            continue
        if asked is not None:
            view.held += asked[0]
            view.files += bool(asked[0].rows or asked[0].aside)
            view.lines += asked[1]
    return view


def held_by(path: Path, counted: Held | None = None) -> Held:
    """How much a file of another process holds; ``oldest_ms`` is of the row that it commits next.

    ``counted``: what it held a moment ago, if that will do but for its next row: to count takes 25 ms of a full one.
    Raises ``SpoolError``.
    """

    def ask(database: sqlite3.Connection) -> Held:
        next_ms = oldest_ms(database)
        found = counted if counted is not None and counted.rows and next_ms is not None else held(database)
        return msgspec.structs.replace(found, oldest_ms=next_ms)

    return _ask(path, ask) or Held()


def tidy(folder: Path) -> None:
    """Remove locks that were left without a file, by a process that ended between the two."""
    for lock_path in folder.glob(f"*{SUFFIX}.lock"):
        path = lock_path.with_suffix("")
        if path.exists():
            continue
        with contextlib.suppress(OSError):
            lock = take_lock(path, create=False)
            if lock is not None:
                release(path, lock)


def _ask(path: Path, ask: Callable[[sqlite3.Connection], T]) -> T | None:
    """Ask a file that another process may be writing; ``None`` if it has gone, or is only being made."""
    database: sqlite3.Connection | None = None
    try:
        with explaining(path):
            database = connect(path)
            database.execute("PRAGMA query_only = 1")
            database.execute("BEGIN")  # all of one moment, also that it is ours: it may be in the making
            if not has_tables(path, database):
                return None
            return ask(database)
    except SpoolRefused:
        if path.exists():
            raise
        return None
    finally:
        if database is not None:
            with contextlib.suppress(sqlite3.Error):
                database.close()
