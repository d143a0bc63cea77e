"""What the machine tells of the embedded store while the store itself does not answer.

Any process on the machine can look: at the room on its disk, and at who listens on its socket. A server that ended is
started again (``embedded.py``); one that is there and silent is not, because a disk that hangs looks the same: what is
said of it names its process, and what to do.
"""

import shutil
import socket
import struct
import threading
from pathlib import Path
from typing import Literal

from gateway.config import StoreSettings

LOW_BYTES = 16 * 1024 * 1024
"""With less room than this on its disk the store may end at any write: a batch takes a few megabytes, and the ballast
that is given back at the last is half of it."""

PATIENCE_S = 1.0
"""How long the server may take for a ``PING``. Who asks has waited for an answer before."""

Seen = Literal["answers", "silent", "gone"]


def no_room(directory: Path) -> str:
    """That the disk of ``directory`` has next to no room, and what to do; empty if it has, or cannot be asked.

    Without the number of bytes, so that it stays the same as long as it is so.
    """
    try:
        free_bytes = shutil.disk_usage(directory).free
    except OSError:
        return ""
    if free_bytes >= LOW_BYTES:
        return ""
    return (
        f"the disk of {directory} is as good as full (less than {LOW_BYTES >> 20} MiB free), and a store that cannot "
        "write ends: make room there, and it goes on by itself"
    )


class Plight:
    """Looks at one embedded store from beside it. May be asked from any thread.

    The connection that was not answered is kept, and looked at again: a server that hangs takes none, and one more with
    each look would fill its queue.
    """

    def __init__(self, settings: StoreSettings, path: Path) -> None:
        """``path``: the server's socket."""
        self._settings = settings
        self._path = path
        self._asked: socket.socket | None = None
        self._pid = 0
        self._lock = threading.Lock()

    def words(self) -> str:
        """Why the store does not answer, as far as the machine tells, and what to do; empty if it tells nothing.

        That it is silent goes first: a full disk ends a server, and does not silence it. Blocks for ``PATIENCE_S`` at
        most.
        """
        directory = self._settings.data_dir
        if self.look() == "silent":
            return self.silence()
        return "" if directory is None else no_room(directory)

    def look(self) -> Seen:
        """Whether the server answers, is there and silent, or is not there. Blocks for ``PATIENCE_S`` at most."""
        with self._lock:
            if self._asked is not None:
                try:
                    self._asked.recv(64)
                except BlockingIOError:
                    return "silent"
                except OSError:
                    pass  # it ended
                self._forget()
            return self._ask()

    def silence(self) -> str:
        """What to say, and to do, when it is ``silent``."""
        lost = (
            "nothing acknowledged is lost"
            if self._settings.durability == "fsync"
            else 'all it holds is lost, because of durability = "memory"'
        )
        if not self._pid:
            return (
                "its process, valkey-server, is there and silent; if its disk does not hang, end it with kill -9: "
                f"it is started again, and {lost}"
            )
        return (
            f"its process {self._pid} is there and silent; if its disk does not hang, kill -9 {self._pid}: "
            f"it is started again, and {lost}"
        )

    def close(self) -> None:
        """Let go of the connection, if one waits."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        if self._asked is not None:
            self._asked.close()
        self._asked, self._pid = None, 0

    def _ask(self) -> Seen:
        try:
            asked = socket.socket(socket.AF_UNIX)
        except OSError:  # no file left to open: nobody can be asked, and nothing is known
            return "answers"
        asked.settimeout(PATIENCE_S)
        try:
            asked.connect(str(self._path))
            self._pid = _listener(asked)
            asked.sendall(b"*1\r\n$4\r\nPING\r\n")
            seen: Seen = "answers" if asked.recv(64) else "gone"  # also that it loads is an answer
        except (TimeoutError, BlockingIOError):  # nothing came, or its queue is full
            asked.setblocking(False)
            self._asked = asked
            return "silent"
        except OSError:
            seen = "gone"
        asked.close()
        return seen


def _listener(connected: socket.socket) -> int:
    """The process that listens at the other end, from the kernel; 0 where the system does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return 0
    pid, _, _ = struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i")))
    return int(pid)
