"""Child processes that stay on their cores and never outlive the benchmark."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import msgspec

T = TypeVar("T")

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None, use_errno=True)


class BenchError(Exception):
    """Something the measurement needs did not work; the message says what and shows the child's last words."""


class Child:
    """A process of ours: pinned, logged to a file, ended with ``close`` or with us, whichever comes first."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        cores: Collection[int] | None = None,
        env: Mapping[str, str] | None = None,
        stop_within_s: float = 15.0,
    ) -> None:
        """Start ``argv``; ``cores``: where it may run (``None``: anywhere); output goes to the file ``log``."""
        self.name = Path(argv[0]).name
        self._log = log
        self._stop_within_s = stop_within_s

        def before_exec() -> None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if cores is not None:
                os.sched_setaffinity(0, cores)

        with log.open("wb") as output:
            self.process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                preexec_fn=before_exec,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def output(self) -> str:
        """What it wrote so far, to both of its streams."""
        return self._log.read_text(errors="replace")

    def failure(self, what: str) -> BenchError:
        """``what`` went wrong, with the last lines the process wrote."""
        tail = "\n".join(self.output().splitlines()[-15:])
        return BenchError(f"{self.name}: {what}\n{tail}".rstrip())

    def until(self, question: Callable[[], T | None], *, what: str, within_s: float, every_s: float = 0.01) -> T:
        """Ask until the answer is not ``None``. Raises ``BenchError`` if it ends or time runs out first."""
        deadline = time.monotonic() + within_s
        while True:
            answer = question()
            if answer is not None:
                return answer
            code = self.process.poll()
            if code is not None:
                raise self.failure(f"ended with exit code {code} before {what}")
            if time.monotonic() > deadline:
                raise self.failure(f"no {what} within {within_s:.0f} s")
            time.sleep(every_s)

    def finish(self, within_s: float) -> str:
        """Wait for its own end and return its output. Raises ``BenchError`` on another exit code than 0."""
        try:
            code = self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise self.failure(f"still running after {within_s:.0f} s") from None
        if code != 0:
            raise self.failure(f"exit code {code}")
        return self.output()

    def close(self) -> None:
        """Ask it to end, and end it if it does not."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(self._stop_within_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def descendants(pid: int) -> list[int]:
    """Every living process below ``pid``, from ``/proc``."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    except (FileNotFoundError, ProcessLookupError):
        pass  # it ended while we looked
    return found


def command_name(pid: int) -> str:
    """The short name of a process, or nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def move(pid: int, cores: Collection[int]) -> None:
    """Pin every thread of ``pid`` (affinity belongs to a thread; a store has several)."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            os.sched_setaffinity(int(task.name), cores)
        except ProcessLookupError:
            continue  # that thread ended


def resident_bytes(pid: int) -> int:
    """Memory a process holds in RAM (VmRSS). Raises ``OSError`` if it is gone."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


class CpuUse(msgspec.Struct, frozen=True):
    """What the kernel's scheduler counted for all threads of a process, in seconds."""

    ran_s: float
    waited_s: float
    """Ready to run while somebody else had the core."""

    def since(self, before: "CpuUse") -> "CpuUse":
        """The use between two looks."""
        return CpuUse(self.ran_s - before.ran_s, self.waited_s - before.waited_s)


def cpu_use(pid: int) -> CpuUse:
    """Ask the scheduler: ``/proc/<pid>/task/*/schedstat`` holds nanoseconds run and nanoseconds waited."""
    ran = waited = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "schedstat").read_text().split()
        ran, waited = ran + int(fields[0]), waited + int(fields[1])
    return CpuUse(ran / 1e9, waited / 1e9)
