"""Looking at processes from outside: which store servers run on a directory, and whether a process still runs."""

import os
import subprocess
import sys
from pathlib import Path

from gateway.store.embedded import socket_path


def store_pids(directory: Path) -> list[int]:
    """The embedded servers that run on this directory, by process id: their title names the socket they listen on."""
    socket = os.fsencode(socket_path(directory))
    return sorted(pid for pid, title in titles() if b"valkey-server" in title and socket in title)


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    if sys.platform != "linux":
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False).stdout
        return bool(state.strip()) and not state.startswith(b"Z")
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(b")")[2].split()[0] != b"Z"


def titles() -> list[tuple[int, bytes]]:
    """Every process there is, by id, with its title: the words of its command, or what it calls itself."""
    if sys.platform != "linux":
        lines = subprocess.run(["ps", "-axo", "pid=,command="], capture_output=True, check=True).stdout.splitlines()
        return [(int(pid), rest) for pid, _, rest in (line.strip().partition(b" ") for line in lines)]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.append((int(entry.name), (entry / "cmdline").read_bytes()))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
    return found
