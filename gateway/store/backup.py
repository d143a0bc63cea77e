"""A copy of a running embedded store, and the way back.

Valkey's log on disk is a folder: a manifest that names one base file and one or more files that grow. So a copy is
consistent if it has what one manifest names, each file as far as it went at one moment. Nobody need stop for that: the
files are opened, the manifest is read again, and if it is still the same they belong together. Who holds a file open
keeps it though a rewrite of the log removes its name. An event is acknowledged after its fsync, so whatever was
acknowledged before the copy began is in it. The last file may end in the middle of a command: the server cuts that off
when it loads, as after a crash.

Beside the log go the secrets of subscribers made through the API and the administrators' token, so a copy is as secret
as the data directory. ``backup.json`` names every file with its size and SHA-256; without it a copy is none.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from gateway.errors import BackupRefused

CONTENTS = "backup.json"
LOG_FOLDER = "appendonlydir"
MANIFEST = "appendonly.aof.manifest"
SECRETS = "secrets"
TOKEN = "admin_token"  # noqa: S105  # a file's name
SPOOL = "spool"
SPOOLED = "*.spool"
UNREADABLE = "*.unreadable"
"""Files of the spool, and damaged ones that are kept for whoever can mend them."""
STAGE = ".restoring"
"""In the data directory while a restore is under way; a store does not start beside it."""

FORMAT = 1
CHUNK_BYTES = 1024 * 1024
TRIES = 100
"""How often the log's files are looked for: each time it was being rewritten at this very moment."""

Progress = Callable[[int], None]
"""So many bytes more were copied."""


class CopiedFile(msgspec.Struct, frozen=True):
    """One file of a backup."""

    path: str
    """Relative to the backup."""
    bytes: int
    sha256: str


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds."""

    format: int
    made_at: str
    gateway: str
    """Version of the gateway that made it."""
    config: str
    """The configuration it belongs to: not in the backup, nor is ``.env``."""
    files: tuple[CopiedFile, ...]

    @property
    def bytes(self) -> int:
        """In all."""
        return sum(each.bytes for each in self.files)


def make_backup(
    data_dir: Path, spool: Path | None, target: Path, *, made_at: str, version: str, config: Path, progress: Progress
) -> Contents:
    """Copy the store in ``data_dir``, running or not, into the new folder ``target``. Raises ``BackupRefused``.

    The spool goes first: what is drained meanwhile is then in both, and drained again it changes nothing.
    """
    _check_outside(target, data_dir, spool)
    if not (data_dir / LOG_FOLDER / MANIFEST).exists():
        raise BackupRefused(
            f"{data_dir} holds no log to copy: no gateway has used it yet, or it runs with durability = "
            '"memory", which keeps nothing on disk'
        )
    stage = _make_stage(target)
    try:
        copied = list(_copy_spool(spool, stage))
        with contextlib.ExitStack() as opened:
            manifest, files = _open_log(data_dir / LOG_FOLDER, opened)
            files += _open_small(data_dir, spool, opened)
            sizes = [os.fstat(file.fileno()).st_size for _, file in files]
            total = sum(sizes)
            if total > shutil.disk_usage(stage).free:
                raise BackupRefused(f"{target.parent} has too little room: the copy takes {total} bytes")
            for (path, file), size in zip(files, sizes, strict=True):
                copied.append(_copy(file, size, stage, path, progress))
        copied.append(_write(stage, f"{LOG_FOLDER}/{MANIFEST}", manifest))
        contents = Contents(format=FORMAT, made_at=made_at, gateway=version, config=str(config), files=tuple(copied))
        _write(stage, CONTENTS, msgspec.json.format(msgspec.json.encode(contents)))
        _sync_folders(stage)
        stage.rename(target)
        _sync(target.parent)
        return contents
    except OSError as error:
        raise BackupRefused(f"{error.filename or target}: {error.strerror or error}") from None
    finally:
        if stage.exists():
            shutil.rmtree(stage)


def _check_outside(target: Path, data_dir: Path, spool: Path | None) -> None:
    """Raise ``BackupRefused`` where a backup would stand in the way of what it is made from."""
    real = Path(os.path.realpath(target))
    for folder, what in ((data_dir, "data directory"), (spool, "spool")):
        if folder is not None and real.is_relative_to(os.path.realpath(folder)):
            raise BackupRefused(
                f"{target} lies in the {what} {folder}, which a restore must find empty; name a folder elsewhere, "
                "best on another disk"
            )


def _make_stage(target: Path) -> Path:
    """A folder beside ``target``, mode 0700, that becomes it at the end."""
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise BackupRefused(f"{target} is there already; name a folder that is not, or an empty one")
        target.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        why = error.strerror or error
        raise BackupRefused(f"{target} cannot be made ({why}); name a folder on a disk where you may write") from None


def read_backup(source: Path) -> Contents:
    """What a backup holds, every file compared with its size and SHA-256. Raises ``BackupRefused``."""
    try:
        contents = msgspec.json.decode((source / CONTENTS).read_bytes(), type=Contents)
    except OSError as error:
        raise BackupRefused(f"{source} is no backup: {CONTENTS} cannot be read ({error.strerror})") from None
    except msgspec.DecodeError as error:
        raise BackupRefused(f"{source} is damaged: {CONTENTS} cannot be read ({error})") from None
    if contents.format != FORMAT:
        raise BackupRefused(f"{source} has the form {contents.format}, which gateway {contents.gateway} reads")
    for each in contents.files:
        path = Path(each.path)
        if path.is_absolute() or ".." in path.parts:
            raise BackupRefused(f"{source} is damaged: {CONTENTS} names {each.path}")
        try:
            with (source / path).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                size = file.tell()
        except OSError as error:
            raise BackupRefused(f"{source} is damaged: {each.path} cannot be read ({error.strerror})") from None
        if (size, digest) != (each.bytes, each.sha256):
            raise BackupRefused(f"{source} is damaged: {each.path} is not what {CONTENTS} says; use another backup")
    return contents


def check_target(data_dir: Path, spool: Path | None, contents: Contents) -> None:
    """Raise ``BackupRefused`` unless ``contents`` may be put there: nothing is there, and nobody uses it."""
    with _locked(data_dir):
        there = sorted(each.name for each in data_dir.iterdir()) if data_dir.exists() else []
    # What a restore that was killed leaves: its stage, the lock, and what it had moved already.
    mine = {STAGE, "lock", SECRETS, TOKEN, LOG_FOLDER} if STAGE in there else {"lock"}
    if more := [name for name in there if name not in mine]:
        raise BackupRefused(
            f"{data_dir} is not empty ({', '.join(more[:5])}); name another directory under [store] url, "
            "or move this one away"
        )
    spooled = any(each.path.startswith(f"{SPOOL}/") for each in contents.files)
    if spooled and spool is None:
        raise BackupRefused(
            'the backup has a spool with events in it, and the configuration has none: spool = "./spool"'
        )
    names = {Path(each.path).name for each in contents.files if each.path.startswith(f"{SPOOL}/")}
    if spooled and spool is not None and spool.exists() and {each.name for each in spool.iterdir()} - names:
        raise BackupRefused(
            f"{spool} is not empty; what is in it would be mixed with what the backup has. Name another folder as "
            "spool under [store], or move this one away; a gateway that runs with it drains it first"
        )


def restore_backup(source: Path, data_dir: Path, spool: Path | None, progress: Progress) -> Contents:
    """Put a backup into an empty data directory. Raises ``BackupRefused``; killed in the middle, it can be repeated.

    The log is moved into its place last: a directory in which that was not done is no store, and is refused as one.
    """
    contents = read_backup(source)
    check_target(data_dir, spool, contents)
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(data_dir):
            stage = data_dir / STAGE
            shutil.rmtree(stage, ignore_errors=True)
            stage.mkdir(mode=0o700)
            _sync(data_dir)
            for each in contents.files:
                with (source / each.path).open("rb") as file:
                    copied = _copy(file, each.bytes, stage, each.path, progress)
                if copied != each:
                    raise BackupRefused(f"{source}: {each.path} changed while it was read")
            _sync_folders(stage)
            if (stage / SPOOL).exists():
                assert spool is not None  # check_target saw to it
                _move_spool(stage / SPOOL, spool)
            for name in (TOKEN, SECRETS, LOG_FOLDER):
                if (stage / name).exists():
                    if (data_dir / name).is_dir():
                        shutil.rmtree(data_dir / name)
                    (stage / name).rename(data_dir / name)
            _sync(data_dir)
            stage.rmdir()
            _sync(data_dir)
    except OSError as error:
        raise BackupRefused(f"{error.filename or data_dir}: {error.strerror or error}") from None
    return contents


def _open_log(folder: Path, opened: contextlib.ExitStack) -> tuple[bytes, list[tuple[str, BinaryIO]]]:
    """The manifest, without what it names as history, and the files it names."""
    for _ in range(TRIES):
        manifest = (folder / MANIFEST).read_bytes()
        lines = [line for line in manifest.splitlines() if b" type h" not in line]
        names = [line.split()[1].decode() for line in lines if line.startswith(b"file ")]
        with contextlib.ExitStack() as attempt:
            try:
                files = [(f"{LOG_FOLDER}/{name}", attempt.enter_context((folder / name).open("rb"))) for name in names]
            except FileNotFoundError:
                continue
            if (folder / MANIFEST).read_bytes() == manifest:
                opened.enter_context(attempt.pop_all())
                return b"\n".join(lines) + b"\n", list(files)
    raise BackupRefused(f"{folder} changes all the time; try again")


def _open_small(data_dir: Path, spool: Path | None, opened: contextlib.ExitStack) -> list[tuple[str, BinaryIO]]:
    """After the log, so that the secret of every subscriber in it is there."""
    found = {TOKEN: data_dir / TOKEN}
    found |= {f"{SECRETS}/{path.name}": path for path in sorted((data_dir / SECRETS).glob("[!.]*"))}
    if spool is not None:
        found |= {f"{SPOOL}/{path.name}": path for path in sorted(spool.glob(UNREADABLE))}
    return [(name, opened.enter_context(path.open("rb"))) for name, path in found.items() if path.is_file()]


def _copy_spool(spool: Path | None, stage: Path) -> Iterator[CopiedFile]:
    """Each file of the spool as SQLite copies a database that is in use."""
    if spool is None or not spool.is_dir():
        return
    import sqlite3

    for path in sorted(spool.glob(SPOOLED)):
        target = stage / SPOOL / path.name
        target.parent.mkdir(mode=0o700, exist_ok=True)
        target.touch(mode=0o600)
        try:
            with (
                contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as source,
                contextlib.closing(sqlite3.connect(target)) as copy,
            ):
                source.backup(copy)
        except sqlite3.Error as error:
            raise BackupRefused(f"{path} cannot be read ({error}); gateway status says more of it") from None
        with target.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
            yield CopiedFile(f"{SPOOL}/{path.name}", file.tell(), digest)


def _move_spool(stage: Path, spool: Path) -> None:
    spool.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in sorted(stage.iterdir()):
        shutil.move(path, spool / path.name)
    _sync(spool)
    stage.rmdir()


@contextlib.contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """Nobody may start a store there meanwhile; raises ``BackupRefused`` where one runs."""
    if not data_dir.exists():
        yield
        return
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupRefused(f"a gateway runs on {data_dir}; stop it first") from None
        yield
    finally:
        os.close(descriptor)


def _copy(file: BinaryIO, size: int, stage: Path, path: str, progress: Progress) -> CopiedFile:
    """The first ``size`` bytes, on disk when this returns."""
    target = stage / path
    target.parent.mkdir(mode=0o700, exist_ok=True)
    digest, left = hashlib.sha256(), size
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as out:
        while left and (chunk := file.read(min(CHUNK_BYTES, left))):
            out.write(chunk)
            digest.update(chunk)
            left -= len(chunk)
            progress(len(chunk))
        out.flush()
        os.fsync(out.fileno())
    return CopiedFile(path, size - left, digest.hexdigest())


def _write(stage: Path, path: str, content: bytes) -> CopiedFile:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        return _copy(file, len(content), stage, path, lambda _: None)


def _sync_folders(top: Path) -> None:
    for folder, _, _ in os.walk(top):
        _sync(Path(folder))


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
