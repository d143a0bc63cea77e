"""Every setting the reader of the configuration asks for, learnt by watching it read."""

import contextlib
from pathlib import Path
from typing import Any
from unittest.mock import patch

from adapters.contract import Adapter
from adapters.registry import bundled, find
from gateway.config_file.document import read_text
from gateway.config_file.section import Section, as_toml
from gateway.errors import ConfigError

Settings = dict[str, dict[str, str]]
"""Table, as the README heads it → key → default as one would write it; empty without one."""


def adapters() -> dict[str, Adapter]:
    """The adapters of this repository."""
    found = {name: find(name, Path()) for name in bundled()}
    return {name: adapter for name, adapter in found.items() if isinstance(adapter, Adapter)}


def known_settings() -> Settings:
    """What is read from a file that has one of each table."""
    tables = "".join(f'[sources.{name.replace("_", "-")}]\nadapter = "{name}"\n' for name in adapters())
    text = f"[[gateway.tokens]]\nname = 'one'\n[store]\n{tables}[subscribers.crm]\n[alerts]\n"
    found: Settings = {}
    read = Section.read_optional

    def watched(self: Section, key: Any) -> Any:
        default = "" if key.default is None else as_toml(key.default)
        found.setdefault(_heading(self.path), {})[key.name] = default
        return read(self, key)

    # The sources lack their proofs, which is a mistake; but all that can be written was asked for.
    with patch.object(Section, "read_optional", watched), contextlib.suppress(ConfigError):
        read_text(Path("gateway.toml"), text, {}, {})
    own = {setting.name for adapter in adapters().values() for setting in adapter.settings}
    sources = found["[sources.<name>]"]
    found["[sources.<name>]"] = {key: default for key, default in sources.items() if key not in own}
    return found


def _heading(path: tuple[Any, ...]) -> str:
    if path[:2] == ("gateway", "tokens"):
        return "[[gateway.tokens]]"
    return f"[{path[0]}.<name>]" if path[0] in ("sources", "subscribers") else f"[{path[0]}]"
