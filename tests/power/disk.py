"""The disk after a power cut: what no fsync covers is undone, or a part of it, as chance has it.

``shim.c`` runs inside the processes and writes down how to undo each of their changes, and when which file and folder
was synced. Once all of these processes are dead, ``cut`` makes the disk what a power cut may have left of it.
"""

import contextlib
import os
import random
import shutil
import signal
import struct
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

SHIM = Path(__file__).with_name("shim.c")
HEAD = struct.Struct("<IIQQQQQQ")
MAGIC = 0x4F444E55
NAMES = "CRUM"
DEAD_S = 10.0
KEEPS_SOME = 0.5
"""This part of all files and folders keeps some of what was not synced: what came first, and a piece of the next
write. The others keep none."""


class Record(msgspec.Struct, frozen=True):
    """One line of the undo: ``B`` bytes, ``S`` synced, ``C`` created, ``R`` renamed, ``U`` unlinked, ``M`` mkdir."""

    kind: str
    at_ns: int
    inode: int
    """The file (``B``, ``S``), or the folder that holds the name (``S`` too)."""
    offset: int
    length: int
    """Bytes written; 0 for a cut."""
    old_size: int
    payload: bytes
    """What was at ``offset`` before; or paths, each ended by NUL."""

    @property
    def paths(self) -> list[Path]:
        """The paths of a record about a name."""
        return [Path(os.fsdecode(each)) for each in self.payload.split(b"\0")[:-1] if each]


class Cut(msgspec.Struct, frozen=True):
    """What a power cut took."""

    changes: int
    """Writes and cuts of files that were undone, in whole or in part."""
    lost_bytes: int
    names: int
    """Names that were made, moved or removed, and are not any more."""


def build(folder: Path, source: Path = SHIM) -> Path:
    """Compile a shim. Raises ``FileNotFoundError`` where there is no ``cc``."""
    made = folder / source.with_suffix(".so").name
    compiler = shutil.which("cc")
    if compiler is None:
        raise FileNotFoundError("cc")
    words = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(made), str(source), "-ldl", "-lpthread"]
    subprocess.run(words, check=True, capture_output=True)
    return made


def environment(shim: Path, disk: Path, undo: Path) -> Mapping[str, str]:
    """What a process and its children need in their environment to run on this disk."""
    undo.mkdir(exist_ok=True)
    own = shutil.copy(shim, _library(undo))
    return {"LD_PRELOAD": str(own), "POWER_DISK": str(disk), "POWER_UNDO": str(undo)}


def _library(undo: Path) -> Path:
    """This disk's copy of the shim, by which its processes are known."""
    return undo.with_suffix(".so")


def kill_all(undo: Path) -> None:
    """kill -9 of every process that runs on the watched disk, at once; they are dead afterwards."""
    deadline_s = time.monotonic() + DEAD_S
    while found := users(undo):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"processes {found} do not die")


def users(undo: Path) -> list[int]:
    """The processes that have this disk's shim loaded. (A server overwrites the environment it was started with.)"""
    library = os.fsencode(_library(undo))
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if library in (entry / "maps").read_bytes():
                    found.append(int(entry.name))
            except OSError:  # it has ended
                continue
    return found


def read(undo: Path) -> list[Record]:
    """Everything that was written down, in the order in which it happened."""
    found = [record for path in sorted(undo.glob("*.undo")) for record in _records(path.read_bytes())]
    return sorted(found, key=lambda record: record.at_ns)


def _records(text: bytes) -> Iterator[Record]:
    at = 0
    while at + HEAD.size <= len(text):
        magic, kind, at_ns, inode, offset, length, old_size, payload = HEAD.unpack_from(text, at)
        assert magic == MAGIC, f"no record at {at}"
        at += HEAD.size
        if at + payload > len(text):
            return  # the process was killed in the middle of it, and the change has not happened
        yield Record(chr(kind), at_ns, inode, offset, length, old_size, text[at : at + payload])
        at += payload


def not_synced(records: Sequence[Record]) -> dict[tuple[bool, int], list[Record]]:
    """The changes that no sync covers, by whether they are about names and by inode, in their order."""
    synced_ns: dict[int, int] = {}
    for record in records:
        if record.kind == "S":
            synced_ns[record.inode] = max(record.at_ns, synced_ns.get(record.inode, 0))
    found: dict[tuple[bool, int], list[Record]] = defaultdict(list)
    for record in records:
        if record.kind != "S" and record.at_ns >= synced_ns.get(record.inode, 0):
            found[record.kind in NAMES, record.inode].append(record)
    return found


def cut(disk: Path, undo: Path, chance: random.Random | None) -> Cut:
    """Undo what was not synced; with ``chance``, keep some of it. The processes must be dead.

    The undo is empty afterwards: what is there now is what the disk holds.
    """
    changes = lost_bytes = names = 0
    undone: list[Record] = []
    torn: dict[int, Record] = {}
    for (about_names, inode), group in not_synced(read(undo)).items():
        first = 0
        if chance is not None and chance.random() < KEEPS_SOME:
            first = chance.randrange(len(group) + 1)
        undone += group[first:]
        if not about_names and 0 < first < len(group) and chance is not None:
            torn[inode] = group[first]
    where = dict(_inodes((disk, undo)))
    pieces = {inode: _piece(where.get(inode), record, chance) for inode, record in torn.items()}
    undone.sort(key=lambda record: record.at_ns, reverse=True)
    for record in undone:  # bytes first: while the names are as they were found, each inode is where it was found
        if record.kind == "B" and record.inode in where:
            changes += 1
            lost_bytes += _undo_bytes(where[record.inode], record)
    for inode, (offset, piece) in pieces.items():
        if piece:
            with where[inode].open("r+b") as file:
                file.seek(offset)
                file.write(piece)
    for record in undone:
        if record.kind in NAMES:
            names += _undo_name(record)
    shutil.rmtree(undo)
    undo.mkdir()
    return Cut(changes, lost_bytes, names)


def _inodes(folders: Iterable[Path]) -> Iterator[tuple[int, Path]]:
    for folder in folders:
        for place, _, files in os.walk(folder):
            for name in files:
                path = Path(place, name)
                yield path.lstat().st_ino, path


def _piece(path: Path | None, record: Record, chance: random.Random | None) -> tuple[int, bytes]:
    """The beginning of one write, as it stands in the file now: what a torn write leaves."""
    if path is None or chance is None or not record.length:
        return record.offset, b""
    with path.open("rb") as file:
        file.seek(record.offset)
        return record.offset, file.read(chance.randrange(min(record.length, 1 << 20)))


def _undo_bytes(path: Path, record: Record) -> int:
    with path.open("r+b") as file:
        file.seek(record.offset)
        file.write(record.payload)
        size = file.seek(0, os.SEEK_END)
        file.truncate(record.old_size)
    return max(0, size - record.old_size) + len(record.payload)


def _undo_name(record: Record) -> int:
    path, *rest = record.paths
    if record.kind == "C":
        path.unlink(missing_ok=True)
    elif record.kind == "M":
        shutil.rmtree(path, ignore_errors=True)
    elif record.kind == "U":
        (kept,) = rest
        if path.parent.is_dir() and not path.exists():
            os.link(kept, path)
    else:
        new, *before = rest
        if not new.exists():  # the rename itself had failed
            return 0
        new.rename(path)
        for kept in before:
            os.link(kept, new)
    return 1
