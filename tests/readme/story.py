"""The README's commands, run in order as a story in a fresh directory, against real processes."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.readme.comparing import Names, difference, real
from tests.readme.document import ROOT, Document, Step

WITHIN_S = 20.0
"""How long a command may take to show what it should."""

LISTEN, SUBSCRIBER = "127.0.0.1:8080", "127.0.0.1:9000"
"""The addresses of the README; the tests take free ones."""

SERVE, RECEIVER, DEMO = "gateway serve", "WEBHOOK_SECRET=", "gateway demo --once"
RETRY = f"retry = {['1s'] * 50}"
"""The second attempt of the default schedule comes after five minutes: a slow machine would miss the first."""
LOOKS = (
    *("gateway status", "gateway events", "gateway show", "gateway trace", "gateway audit", "gateway dead list"),
    *("gateway subscribers list", "gateway replay --subscriber crm --since 2h --dry-run", "curl"),
)
"""Commands that change nothing: asked again until they show what they should."""
EXIT_CODES = {"gateway dead retry --all": 1, "curl -s -N": 28}
"""How commands end that do not end with 0: nothing done without --yes; a stream that is cut off."""


class Story:
    """One run. Every method raises ``AssertionError`` where something is not as the README says."""

    def __init__(self, document: Document, folder: Path, cleanup: ExitStack) -> None:
        self.folder = folder / "story"
        self.folder.mkdir()
        self.names: Names = {}
        self._document = document
        self._cleanup = cleanup
        self._ports = {LISTEN: self._reserve(), SUBSCRIBER: self._reserve()}
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")},
            "PATH": f"{self._commands(folder / 'bin')}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "100",
        }
        self._running: dict[str, Background] = {}
        (self.folder / "receiver.py").write_text(document.block("python", "# receiver.py").text)

    def begin_demo(self) -> None:
        """It takes its time, so it runs beside the rest."""
        self._running[DEMO] = self._start(DEMO)

    def run(self, step: Step) -> None:
        """Run one command and compare."""
        self._prepare(step)
        command = self._real(step.command)
        if step.command.startswith((SERVE, RECEIVER, DEMO)):
            kind = next(kind for kind in (SERVE, RECEIVER, DEMO) if step.command.startswith(kind))
            if kind not in self._running:
                self._running[kind] = self._start(command)
            self._await(kind, step)
        elif export := re.fullmatch(r"export (\w+)=(.+)", command):
            self._environment[export[1]] = self._bash(f"printf %s {export[2]}").stdout
        else:
            self._ask(command, step)
        if step.command.startswith("gateway init"):
            self._edit("gateway.toml", LISTEN, self._real(LISTEN))
            self._edit("gateway.toml", "types =", f"{RETRY}\ntypes =")

    # What the README says in words between its commands

    def _prepare(self, step: Step) -> None:
        if step.command == "gateway dead retry --all":  # "mend the subscriber"
            self._running[RECEIVER] = self._start(self._real(self._receiver))
        if step.line == self._first_under("Retries and dead letters"):  # "with retry = [], and the receiver stopped"
            for kind in (RECEIVER, SERVE):
                self._running.pop(kind).stop()
            self._edit("gateway.toml", RETRY, "retry = []")
            self._running[SERVE] = self._start(SERVE)
            self._await(SERVE, next(each for each in self._document.steps if each.command == SERVE))
        if step.line == self._first_under("For adapter authors"):
            (self.folder / "acme.py").write_text(self._document.block("python", "# acme.py").text)
            with (self.folder / "gateway.toml").open("a") as file:
                file.write(self._document.block("toml", "[sources.notes]").text)
            with (self.folder / ".env").open("a") as file:
                file.write("ACME_SECRET=a-secret-of-this-test\n")

    def _first_under(self, heading: str) -> int:
        return min(
            block.line for block in self._document.blocks if (block.heading, block.language) == (heading, "console")
        )

    @property
    def _receiver(self) -> str:
        return next(step.command for step in self._document.steps if step.command.startswith(RECEIVER))

    def _edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    # Running

    def _ask(self, command: str, step: Step) -> None:
        code = next((code for start, code in EXIT_CODES.items() if step.command.startswith(start)), 0)
        code = 0 if "--yes" in command else code
        deadline_s = time.monotonic() + WITHIN_S
        while True:
            done = self._bash(command)
            wrong = difference(step.shown, (done.stdout + done.stderr).splitlines(), self.names)
            if wrong is None or not command.startswith(LOOKS) or time.monotonic() > deadline_s:
                break
            time.sleep(0.2)
        assert wrong is None, f"README line {step.line}, $ {step.command}\n{wrong}"
        assert done.returncode == code, f"README line {step.line}: exit code {done.returncode}"

    def _await(self, kind: str, step: Step) -> None:
        """Wait until what a process in the background has printed is what is shown."""
        deadline_s = time.monotonic() + WITHIN_S
        while True:
            running = self._running[kind]
            has_ended = running.process.poll() is not None
            shown, printed = _settled(step.shown), _settled(running.printed)
            wrong = difference(shown, printed, self.names, any_order=kind in (DEMO, RECEIVER))
            if wrong is None or has_ended or time.monotonic() > deadline_s:
                break
            time.sleep(0.05)
        assert wrong is None, f"README line {step.line}, $ {step.command}\n{wrong}"

    def _bash(self, command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def _start(self, command: str) -> "Background":
        began = Background(command, self.folder, self._environment)
        self._cleanup.callback(began.stop)
        return began

    def _real(self, command: str) -> str:
        for address, port in self._ports.items():
            command = command.replace(address, f"127.0.0.1:{port}")
        return real(re.sub(r" 9000$", f" {self._ports[SUBSCRIBER]}", command), self.names)

    def _reserve(self) -> int:
        """A port nobody else gets while we hold it: bound, so that connecting is refused until somebody listens."""
        holder = self._cleanup.enter_context(socket.socket())
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # who listens there does the same
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
        return port

    def _commands(self, folder: Path) -> Path:
        """``gateway`` and ``python3`` of this interpreter, whether or not its folder is on the path."""
        folder.mkdir()
        for name, arguments in (("gateway", "-P -c 'from gateway.cli import main; main()'"), ("python3", "")):
            (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
            (folder / name).chmod(0o755)
        return folder


class Background:
    """A command that goes on; it ends with us, however we end."""

    def __init__(self, command: str, folder: Path, environment: dict[str, str]) -> None:
        # exec, so that the signal to stop reaches the program and not the shell
        command = re.sub(r"^(\w+)=(\$\([^)]*\)) ", r"export \1=\2; ", command)
        head, semicolon, last = command.rpartition("; ")
        self._output = folder / f"output-{time.monotonic_ns()}"
        with self._output.open("wb") as file, (folder / "errors").open("ab") as errors:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "gateway.simulator.tether", "--"),
                    *("bash", "-c", f"{head}{semicolon}exec {last}"),
                ],
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=errors,
            )

    @property
    def printed(self) -> list[str]:
        """Its whole lines so far."""
        return self._output.read_text().rpartition("\n")[0].splitlines()

    def stop(self) -> None:
        """End it as Ctrl-C would."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


def _settled(lines: Sequence[str]) -> list[str]:
    """Without what chance decides in the demo: which event is sent again and whether a busy gateway was asked twice
    (so the counts, but not what is unaccounted for), and whether a delivery took a millisecond."""
    again = (re.sub(r"^.*(?=sent again · )", "", line) for line in lines)
    timeless = (re.sub(r"(delivered.*), \d+(?:\.\d+)? m?s$", r"\1", line) for line in again)
    return [re.sub(r"\d+ (received|accepted|produced|duplicate)", r"N \1", line) for line in timeless]


def missing_tool(step: Step) -> str | None:
    """What this machine would need for a command, if it lacks it."""
    tool = step.command.split()[0]
    return None if tool.startswith(("gateway", "export", "WEBHOOK")) or shutil.which(tool) else tool
