"""Three ways to show the demo: live on a terminal, line by line in a pipe, as JSON."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.text import Text

from gateway.simulator.lines import Line
from gateway.simulator.painting import equation, journey_line
from gateway.simulator.story import Journey

_MOST_TRAVELLING = 6


class Screen(Protocol):
    """What the demo tells whoever watches."""

    def say(self, text: str, style: str = "") -> None:
        """A sentence of the demo's own."""
        ...

    def started(self, process: str, pid: int, after_s: float) -> None:
        """A process is ready."""
        ...

    def ready(self, *, dashboard: str, config: Path, endless: bool) -> None:
        """Everything runs: where to look. ``endless``: until Ctrl-C."""
        ...

    def line(self, line: Line) -> None:
        """A player wrote a line."""
        ...

    def show(self, over: Sequence[Journey], travelling: Sequence[Journey], ledger: dict[str, Any] | None) -> None:
        """Journeys that ended since the last call, those under way, the ledger as last read."""
        ...

    def finish(self, ledger: dict[str, Any], problems: Sequence[str]) -> None:
        """The last word."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was found. Twice is harmless."""
        ...


class PlainScreen:
    """Whole lines, in order, nothing overwritten. The console decides about colours."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.where = Text()

    @property
    def columns(self) -> int | None:
        """``None`` where a line may be as long as it needs."""
        return self.console.width if self.console.is_terminal else None

    def _print(self, text: Text | str) -> None:
        self.console.print(text, soft_wrap=self.columns is None, highlight=False, markup=False)

    def say(self, text: str, style: str = "") -> None:
        self._print(Text(text, style))

    def started(self, process: str, pid: int, after_s: float) -> None:
        self._print(Text.assemble(("  ✓ ", "green"), f"{process:<24}", (f"ready after {after_s:.1f} s", "dim")))

    def ready(self, *, dashboard: str, config: Path, endless: bool) -> None:
        rows = [Text.assemble(("dashboard  ", "dim"), (dashboard, "bold underline"))]
        if endless:
            another = f"{_command()} send enviaai-br message.read --config {config}"
            rows.append(Text.assemble(("try        ", "dim"), another))
            rows.append(Text.assemble(("stop       ", "dim"), "Ctrl-C"))
        self.where = Text("\n").join(rows)
        self._print("")
        self._print(self.where)
        self._print("")

    def line(self, line: Line) -> None:
        """The journeys say it."""

    def show(self, over: Sequence[Journey], travelling: Sequence[Journey], ledger: dict[str, Any] | None) -> None:
        for journey in over:
            self._print(journey_line(journey, self.columns))

    def finish(self, ledger: dict[str, Any], problems: Sequence[str]) -> None:
        self.close()
        self._print("")
        self._print(equation(ledger, self.columns))
        self._print("")
        for problem in problems:
            self._print(Text.assemble(("✗ ", "red"), problem))
        if not problems:
            self._print(Text("✓ every event arrived, nothing is unaccounted for", "bold green"))

    def close(self) -> None:
        """Nothing to put back."""


class TerminalScreen(PlainScreen):
    """Journeys that are over scroll by; those under way and the equation stay below them and change in place."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live: Live | None = None

    def show(self, over: Sequence[Journey], travelling: Sequence[Journey], ledger: dict[str, Any] | None) -> None:
        if self._live is None:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        super().show(over, travelling, ledger)
        rows: list[Text | Padding] = [journey_line(one, self.columns) for one in travelling[:_MOST_TRAVELLING]]
        if len(travelling) > _MOST_TRAVELLING:
            rows.append(Text(f"          and {len(travelling) - _MOST_TRAVELLING} more", "dim"))
        if ledger is not None:
            rows.append(Padding(equation(ledger, self.columns), (1, 0)))
        if self.where:
            rows.append(self.where)
        self._live.update(Group(*rows), refresh=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


class JsonScreen:
    """One object a line: the players' lines as they are, a few of our own, and last the ledger with ``ok``."""

    def _write(self, value: object) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
        sys.stdout.buffer.flush()

    def say(self, text: str, style: str = "") -> None:
        """Sentences are for people."""

    def started(self, process: str, pid: int, after_s: float) -> None:
        self._write({"event": "started", "process": process, "pid": pid, "after_s": round(after_s, 3)})

    def ready(self, *, dashboard: str, config: Path, endless: bool) -> None:
        self._write({"event": "ready", "dashboard": dashboard, "config": str(config)})

    def line(self, line: Line) -> None:
        self._write(line)

    def show(self, over: Sequence[Journey], travelling: Sequence[Journey], ledger: dict[str, Any] | None) -> None:
        """The lines have said it."""

    def finish(self, ledger: dict[str, Any], problems: Sequence[str]) -> None:
        for problem in problems:
            self._write({"event": "problem", "detail": problem})
        self._write({**ledger, "ok": not problems})

    def close(self) -> None:
        """Nothing to put back."""


def choose(*, json: bool, environment: Mapping[str, str]) -> Screen:
    """JSON where asked for; live on a terminal that can; else plain."""
    if json:
        return JsonScreen()
    console = Console()
    plain = not console.is_terminal or console.is_dumb_terminal or bool(environment.get("NO_COLOR"))
    return PlainScreen(Console(color_system=None)) if plain else TerminalScreen(console)


def _command() -> str:
    """How whoever watches would call us again from where he stands."""
    called, here = Path(sys.argv[0]), Path.cwd()
    if called.name != "gateway":
        return "gateway"
    return str(called.relative_to(here)) if called.is_relative_to(here) else str(called)
