"""From the files on disk to a ``Config``: the only module here that opens the configuration file and its ``.env``."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.config import Config, SourceSettings
from gateway.config_file.alerts import read_alerts
from gateway.config_file.lines import Lines
from gateway.config_file.references import References, parse_dotenv
from gateway.config_file.section import Reading, Section
from gateway.config_file.sources import check_name, read_source, read_sources
from gateway.config_file.subscribers import read_subscribers
from gateway.config_file.tables import read_gateway, read_store
from gateway.config_file.values import Wrong, did_you_mean
from gateway.delivery.itself import Itself
from gateway.errors import ConfigError

_MAX_FILE_BYTES = 8 * 1024 * 1024
_TWICE = re.compile("Cannot (overwrite|declare|redefine|mutate)|Duplicate")
"""How ``tomllib`` begins to say so."""
_INSTEAD = {
    "Invalid (statement|value|initial character for a key)|Expected ('='|newline)": "key = value, texts in quotes",
    r"Expected '\]": "the head of a table as [name] or [name.name]",
    "Unclosed|Unterminated": "what closes it",
    "Illegal character|Unescaped": r"a text on one line and in quotes, with \\ for each \ in it",
    "": "what TOML has in that place",
}
"""What is wrong, as ``tomllib`` begins to say it → what to write. The first that fits."""
_BEGUN = re.compile(r"\s*(\[{1,2}[^\[\]=]+\]{1,2}|[\w.\"'-]+(?=\s*=))")
_TABLES = ("gateway", "store", "sources", "subscribers", "alerts")


def read_config(path: Path, env: Mapping[str, str]) -> Config:
    """Read and check everything. Raises ``ConfigError`` with every mistake."""
    text = _text(path)
    dotenv, problems = read_dotenv(path.parent)
    return read_text(path, text, env, dotenv, problems)


def read_text(
    path: Path, text: str, env: Mapping[str, str], dotenv: Mapping[str, str], other_problems: Sequence[str] = ()
) -> Config:
    """Check a configuration that is, or will be, in the file ``path``. Raises ``ConfigError`` with every mistake."""
    tables, lines = _parse(path, text)
    base = path.resolve().parent
    reading = Reading(str(path), base, lines, References(base, env, dotenv))

    for name in tables:
        if name not in _TABLES:
            hint = did_you_mean(name, _TABLES)
            reading.problem(
                (name,), f"{name} is not known at the top of the file{hint}", f"one of {', '.join(_TABLES)}"
            )
    gateway = read_gateway(reading, tables.get("gateway", {}))
    reading.itself = Itself([(gateway.host, gateway.port)], gateway.public_url)
    config = Config(
        path=path.resolve(),
        gateway=gateway,
        store=read_store(reading, tables.get("store", {})),
        sources=read_sources(reading, tables.get("sources", {})),
        subscribers=read_subscribers(reading, tables.get("subscribers", {})),
        alerts=read_alerts(reading, tables.get("alerts", {})),
        origins=tuple(reading.origins),
    )
    if problems := [*other_problems, *reading.problems]:
        raise ConfigError(problems)
    return config


def read_single_source(name: str, table: Mapping[str, Any], base: Path, env: Mapping[str, str]) -> SourceSettings:
    """``gateway.config.make_source``"""
    reading = Reading(f"sources.{name}", base, Lines(""), References(base, env, {}))
    section = Section(reading, ("sources", name), dict(table))
    check_name(section, name)
    settings = read_source(section, name)
    if settings is None or reading.problems:
        raise ConfigError(reading.problems)
    return settings


def read_reference(reference: str, base: Path, env: Mapping[str, str]) -> str:
    """The value behind a reference in the file that lies in ``base``. Raises ``ConfigError``."""
    try:
        return References(base, env, read_dotenv(base)[0]).resolve(reference).decode("utf-8", "surrogateescape")
    except Wrong as wrong:
        raise ConfigError([f"{fault.why}; write {fault.write}" for fault in wrong.faults]) from None


def read_dotenv(directory: Path) -> tuple[dict[str, str], list[str]]:
    """The variables of the ``.env`` in ``directory``, and a problem for each line that is none."""
    path = directory / ".env"
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}, []
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        return {}, [f"{path}:1: cannot be read ({why}); write a text file of NAME=value lines, or remove it"]
    values, bad = parse_dotenv(text)
    return values, [f"{path}:{line}: is no assignment; write NAME=value, or # before a comment" for line in bad]


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError([f"{path}: does not exist; write one with: gateway init"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror}); name a readable file with --config"]) from None
    if len(content) > _MAX_FILE_BYTES:
        raise ConfigError([f"{path}: is larger than 8 MiB; name a configuration file with --config"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}:{line}: is not UTF-8; write the file in UTF-8"]) from None


def _parse(path: Path, text: str) -> tuple[dict[str, Any], Lines]:
    try:
        return tomllib.loads(text), Lines(text)
    except tomllib.TOMLDecodeError as error:
        what, _, place = str(error).partition(" (at ")
        found = re.search(r"line ([0-9]+)", place)
        line = int(found[1]) if found else text.count("\n") + 1
        if _TWICE.match(what):
            raise ConfigError([f"{path}:{line}: {_begun(text, line)} stands there twice; write it once"]) from None
        write = next(write for begun, write in _INSTEAD.items() if re.match(begun, what))
        raise ConfigError([f"{path}:{line}: is not TOML: {what}; write {write}"]) from None
    except RecursionError:
        raise ConfigError([f"{path}:1: nests too deep; write the tables shown by gateway init"]) from None


def _begun(text: str, line: int) -> str:
    """The table or the key that a line begins with; a value of several lines ends on another than its key's."""
    found = _BEGUN.match(text.splitlines()[line - 1]) if line <= text.count("\n") + 1 else None
    return found[1] if found else "a key or a table"
