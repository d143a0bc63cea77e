"""Standard input as a lifeline: instructions come in on its first line, and when it closes the player leaves.

However the starter ends, ``kill -9`` included, the operating system closes its end of the pipe. That needs no process
ids, no signals and no promise from the starter, and works on every system with pipes.
"""

import os
import threading
from typing import TypeVar

import msgspec

Instructions = TypeVar("Instructions")

_STDIN = 0


def instructions(kind: type[Instructions]) -> Instructions:
    """Read the first line of standard input. Raises ``msgspec.DecodeError`` if it is not what ``kind`` asks for."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(_STDIN, 1)  # one at a time: whatever follows the line is not ours to take
        if not byte:
            break
        line += byte
    return msgspec.json.decode(bytes(line), type=kind)


def watch() -> threading.Event:
    """Return an event that is set once standard input closes."""
    cut = threading.Event()

    def wait() -> None:
        # os.read and not sys.stdin: a thread inside a buffered read stops the interpreter from ending.
        while os.read(_STDIN, 4096):
            pass
        cut.set()

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
    return cut
