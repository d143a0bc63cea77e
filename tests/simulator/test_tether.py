"""The tether ends a command that knows nothing of it, however its starter ends."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

from tests.simulator.players import DEADLINE_S, alive, eventually

TETHER = [sys.executable, "-P", "-m", "gateway.simulator.tether"]
WAITS = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
IGNORES_INT = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); {WAITS}"


def tethered(*command: str, sweep: Path | None = None) -> "subprocess.Popen[bytes]":
    own = ["--sweep", str(sweep)] if sweep else []
    return subprocess.Popen([*TETHER, *own, "--", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def dead(pid: int) -> bool:
    return not alive(pid)


def test_passes_on_the_exit_code_and_leaves_the_folder() -> None:
    """A command that ends by itself is answered for with its own code; nothing is swept away."""
    with tethered(sys.executable, "-c", "raise SystemExit(7)", sweep=Path(__file__).parent / "not there") as process:
        assert process.wait(timeout=DEADLINE_S) == 7


def test_stops_the_command_and_sweeps_when_the_lifeline_is_cut(tmp_path: Path) -> None:
    """Closing standard input sends TERM to the command, and the demo's folder goes with it."""
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / ".env").write_text("A_SECRET=x\n")
    with tethered(sys.executable, "-c", WAITS, sweep=folder) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        pid = int(process.stdout.readline())
        process.stdin.close()
        assert process.wait(timeout=DEADLINE_S) == 128 + signal.SIGTERM
    assert not alive(pid)
    assert not folder.exists()


def test_no_command_survives_its_starter_being_killed(tmp_path: Path) -> None:
    """kill -9 of who started the tether ends the command; who started it without a tether leaves it behind."""
    starter = (
        "import subprocess, sys; p = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE);"
        "print(p.stdout.readline().decode().strip(), flush=True); p.wait()"
    )
    survived = {}
    for name, prefix in (("tethered", [*TETHER, "--"]), ("free", [])):
        command = [sys.executable, "-c", starter, *prefix, sys.executable, "-c", IGNORES_INT]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            pid = int(process.stdout.readline())
            process.kill()
            process.wait(timeout=DEADLINE_S)
        survived[name] = not eventually(partial(dead, pid), 10.0 if name == "tethered" else 0.3)
        if survived[name]:
            os.kill(pid, signal.SIGKILL)
    assert survived == {"tethered": False, "free": True}


def test_ctrl_c_is_left_to_the_starter() -> None:
    """SIGINT does not end the tether or the command; TERM to the tether does end both."""
    with tethered(sys.executable, "-c", WAITS) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert not eventually(lambda: process.poll() is not None, 0.3)
        assert alive(pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=DEADLINE_S) == 128 + signal.SIGTERM
        assert not alive(pid)
