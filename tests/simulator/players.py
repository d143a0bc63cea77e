"""Starting a player as the demo does: a process, told on its first line, cut off by closing its standard input."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import msgspec

DEADLINE_S = 20.0


class Player:
    """A running player."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self._lines: Queue[bytes] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def line(self) -> dict[str, Any]:
        """Its next line."""
        text = self._lines.get(timeout=DEADLINE_S)
        assert text, "it ended"
        found: dict[str, Any] = json.loads(text)
        return found

    def until(self, event: str) -> list[dict[str, Any]]:
        """Its lines up to and with the first of that ``event``."""
        found = [self.line()]
        while found[-1]["event"] != event:
            found.append(self.line())
        return found

    def cut(self) -> int:
        """Close its standard input; its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(timeout=DEADLINE_S)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            self._lines.put(text)
        self._lines.put(b"")


@contextmanager
def playing(module: str, instructions: msgspec.Struct) -> Iterator[Player]:
    """Run ``python -m gateway.simulator.<module>``; it has ended when the block has."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", f"gateway.simulator.{module}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(instructions) + b"\n")
        process.stdin.flush()
        yield Player(process)
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def eventually(holds: Callable[[], bool], within_s: float = DEADLINE_S) -> bool:
    """Whether ``holds()`` becomes true in time."""
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        if holds():
            return True
        time.sleep(0.01)
    return holds()


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):  # gone meanwhile, or a system without /proc, where kill has said it
        return not Path("/proc").is_dir()
    return status.rpartition(")")[2].split()[0] != "Z"
