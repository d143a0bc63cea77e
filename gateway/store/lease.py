"""The lease of a partition: who may read it for delivery and settle in it."""

import os
import secrets
import socket
from pathlib import Path

import msgspec

from gateway.store.connection import Store
from gateway.store.layout import Keys

TTL_MS = 10_000
"""How long a lease lasts without being renewed. A holder that is provably gone is replaced at once."""


class Held(msgspec.Struct, frozen=True):
    """The answer of the store: ours (then with which epoch), or whose and for how long."""

    ours: bool
    epoch: int
    owner: str
    left_ms: int


class Lease:
    """One process's claim on one partition."""

    def __init__(self, store: Store, keys: Keys, owner: str) -> None:
        self._store = store
        self._keys = keys
        self.owner = owner

    async def take(self) -> Held:
        """Take or renew it. Raises ``StoreUnavailable``."""
        held = await self._ask(TTL_MS, "")
        if not held.ours and provably_gone(held.owner):
            held = await self._ask(TTL_MS, held.owner)
        return held

    async def give_back(self) -> None:
        """Let the next one have it at once."""
        await self._ask(0, "")

    async def _ask(self, ttl_ms: int, gone: str) -> Held:
        ours, epoch, owner, left_ms = await self._store.script("lease", [self._keys.state], [self.owner, ttl_ms, gone])
        return Held(bool(ours), int(epoch), owner.decode(), int(left_ms))


def owner_name() -> str:
    """A name for this process that others on the same machine can check: host, boot, pid space, pid, start, chance."""
    pid = os.getpid()
    return "/".join((socket.gethostname(), _boot(), _pid_space(), str(pid), _started(pid) or "?", secrets.token_hex(4)))


def provably_gone(owner: str) -> bool:
    """Whether the process of this name ran here and is no more. In doubt, no: then the lease must run out."""
    parts = owner.split("/")
    if len(parts) != 6:
        return False
    host, boot, space, pid, started, _ = parts
    if host != socket.gethostname() or boot == "?" or started == "?" or space == "?":
        return False
    if boot != _boot():
        return True  # the machine was restarted since
    if space != _pid_space() or not pid.isdigit():
        return False
    return _started(int(pid)) != started


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return "?"


def _pid_space() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")
    except OSError:
        return "?"


def _started(pid: int) -> str | None:
    """Clock ticks from boot to the start of a process; ``None`` if there is none, or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
