"""SIGHUP from somebody, and from a terminal that is closed."""

import fcntl
import os
import signal
import subprocess
import sys
import termios

CHILD = """
import os, signal, sys
from gateway.workers.hangup import hangup, is_terminal
# Not print: the signal may come in the middle of one, and the buffer would refuse it.
decide = hangup(stop=lambda: sys.exit(7), reload=lambda: os.write(1, b"reload\\n"), in_terminal=is_terminal())
signal.signal(signal.SIGHUP, lambda *_: decide())
print("ready", flush=True)
while True:
    signal.pause()
"""


def child(stdin: int) -> "subprocess.Popen[str]":
    """A process with such a handler; a terminal as ``stdin`` is its own, as that of a shell."""

    def own_terminal() -> None:
        os.setsid()
        if os.isatty(0):
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    made = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=stdin, stdout=subprocess.PIPE, text=True, preexec_fn=own_terminal
    )
    assert said(made) == "ready"
    return made


def said(process: "subprocess.Popen[str]") -> str:
    """The next line it prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_whoever_asks_for_a_reload_gets_one_and_a_closed_terminal_is_the_end() -> None:
    """``kill -HUP`` means the same with a terminal and without; what the kernel sends as it closes means the end."""
    outside, inside = os.openpty()
    in_terminal, without = child(inside), child(subprocess.DEVNULL)
    os.close(inside)
    try:
        for each in (in_terminal, without):
            each.send_signal(signal.SIGHUP)
            assert said(each) == "reload"
        os.close(outside)
        assert in_terminal.wait(20) == 7
        without.send_signal(signal.SIGHUP)
        assert said(without) == "reload"
    finally:
        for each in (in_terminal, without):
            each.kill()
            each.communicate()
