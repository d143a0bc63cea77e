"""What the verbs share: where the configuration is, how they answer, how they refuse."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gateway.controls import escape_controls
from gateway.errors import ConfigError, NotDurable, StoreMismatch, StoreUnavailable

if TYPE_CHECKING:
    from rich.console import Console

    from gateway.config import Config

F = TypeVar("F", bound=Callable[..., Any])


class Exit(IntEnum):
    """What the exit code says."""

    FINE = 0
    FINDINGS = 1
    USAGE = 2
    CONFIG = 3
    UNREACHABLE = 4


class Refusal(Exception):
    """The verb cannot do it: what, why, and what to do, one thought a line."""

    def __init__(self, message: str, code: Exit, *, store_away: Mapping[str, Any] | None = None) -> None:
        """``store_away``: what the gateway knows while it cannot ask its store, if that is why."""
        super().__init__(message)
        self.code = code
        self.store_away = store_away


def exit_code_of(error: Exception) -> int:
    """The exit code for an error that ends a verb."""
    if isinstance(error, Refusal):
        return error.code
    if isinstance(error, ConfigError | NotDurable | StoreMismatch):
        return Exit.CONFIG
    return Exit.UNREACHABLE if isinstance(error, StoreUnavailable) else Exit.FINDINGS


def config_option(verb: F) -> F:
    """``--config``, given to the verb as ``config_path: Path``."""
    return click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        default=Path("gateway.toml"),
        envvar="GATEWAY_CONFIG",
        show_default=True,
        help="The configuration file.",
    )(verb)


def json_option(verb: F) -> F:
    """``--json``, given to the verb as ``as_json: bool``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")(verb)


def load_config(config_path: Path) -> "Config":
    """Read the configuration with this process's environment. Raises ``ConfigError``, which exits 3."""
    from gateway.config import load  # 40 ms that --help does not need

    return load(config_path, os.environ)


def print_json(value: Any) -> None:
    """One object on one line of stdout, at once: whoever reads a pipe must not wait for a full buffer."""
    sys.stdout.write(escape_controls(json.dumps(value, ensure_ascii=False, separators=(",", ":"))) + "\n")
    sys.stdout.flush()


def console(*, stderr: bool = False) -> "Console":
    """A console that colours on a terminal only, knows ``NO_COLOR``, and takes no text for markup."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def is_interactive() -> bool:
    """Whether somebody is there to answer a question."""
    return sys.stdin.isatty() and sys.stdout.isatty()
