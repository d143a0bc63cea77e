"""Run a command that does not know about lifelines, and stop it when ours is cut.

``python -m gateway.simulator.tether [--sweep DIRECTORY] -- COMMAND …`` passes the command's exit code on. When standard
input closes, the command gets SIGTERM and ``GRACE_S`` to finish, then SIGKILL with everything in its session.
With ``--sweep`` the directory (the demo's temporary one, with its secrets) is removed afterwards: that is for a starter
that was killed and cannot do so itself.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

from gateway import lifeline

GRACE_S = 17.0
"""The gateway promises to be gone 15 s after SIGTERM."""


def run(command: list[str], sweep: Path | None) -> int:
    """Run ``command`` until it ends or the lifeline is cut; its exit code (negative: the signal that ended it)."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603  the starter's words
    cut = lifeline.watch()
    ended = threading.Event()
    # Ctrl-C reaches every process of a terminal; the starter cuts the lifeline when it is ready to. TERM is for us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda _signal, _frame: cut.set())

    def stop_when_cut() -> None:
        cut.wait()
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
        if not ended.wait(GRACE_S):
            os.killpg(child.pid, signal.SIGKILL)

    threading.Thread(target=stop_when_cut, name="stopper", daemon=True).start()
    code = child.wait()
    ended.set()
    if cut.is_set() and sweep is not None:
        shutil.rmtree(sweep, ignore_errors=True)
    return code


def main() -> int:
    """Read the command line and run the command; 128 + n for a command that signal n ended."""
    parser = argparse.ArgumentParser(prog="python -m gateway.simulator.tether", allow_abbrev=False)
    parser.add_argument("--sweep", type=Path, metavar="DIRECTORY")
    parser.add_argument("command", nargs="+", metavar="COMMAND")
    arguments = parser.parse_args()
    code = run(arguments.command, arguments.sweep)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
