"""Where adapters are found: this folder, the entry-point group ``gateway.adapters``, a dotted module, or a file.

An adapter that cannot be used breaks nothing but the sources that name it: ``find`` never raises, it says what is
wrong.
"""

import difflib
import hashlib
import importlib
import importlib.util
import re
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

import msgspec

from adapters.contract import Adapter

GROUP = "gateway.adapters"
"""The entry-point group of adapters that come in packages of their own: ``acme = "acme_webhooks.adapter"``."""

_HERE = Path(__file__).parent
_HAS_ADAPTER = re.compile(r"^ADAPTER\b[^=\n]*=", re.MULTILINE)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_imported: dict[str, bytes] = {}
"""Module that was imported → SHA-256 of its file then; like ``sys.modules``, for as long as the process lives."""


class BrokenAdapter(msgspec.Struct, frozen=True):
    """An adapter that cannot be used, and why. ``name`` is the reference it was looked up by."""

    name: str
    reason: str


def names() -> list[str]:
    """The adapters that can be named without a path, sorted: those of this folder and those of installed packages."""
    return sorted({*bundled(), *_installed()})


def bundled() -> list[str]:
    """The modules of this folder that define ``ADAPTER``, sorted.

    Told by reading and not by importing, so that a broken one is still found by its name.
    """
    return sorted(
        path.stem
        for path in _HERE.glob("*.py")
        if _NAME.fullmatch(path.stem) and _HAS_ADAPTER.search(path.read_text(encoding="utf-8"))
    )


def find(reference: str, base: Path) -> Adapter | BrokenAdapter:
    """The adapter that ``adapter = "<reference>"`` means; a path is relative to ``base``. Never raises."""
    try:
        return _find(reference, base)
    except (Exception, SystemExit) as error:  # a module may do anything while it is imported, and may call sys.exit
        return BrokenAdapter(reference, f"it cannot be imported: {type(error).__name__}: {error}")


def code_sha256(reference: str, base: Path) -> bytes | None:
    """Of the file with the code that ``find`` gives; ``None`` where it gave none.

    Of a path that is the file as it is now, of a module the file as it was imported. What it imports is not counted.
    """
    if _is_path(reference):
        return _sha256(base / reference)
    return _imported.get(_module_name(reference) or "")


def is_outdated(reference: str) -> bool:
    """Whether a module's file has changed since it was imported. A path never is: it is read at each ``find``."""
    name = None if _is_path(reference) else _module_name(reference)
    module = sys.modules.get(name or "")
    if name not in _imported or module is None or module.__file__ is None:
        return False
    return _sha256(Path(module.__file__)) != _imported[name]


def _find(reference: str, base: Path) -> Adapter | BrokenAdapter:
    if _is_path(reference):
        path = base / reference
        if not path.is_file():
            return BrokenAdapter(reference, f"there is no file {reference}, seen from the configuration's folder")
        return _of_module(_load_file(path), reference, path.stem)
    if reference in bundled():
        return _of_module(_import(f"adapters.{reference}"), reference, reference)
    if (entry_point := _installed().get(reference)) is not None:
        _import(entry_point.module)
        loaded = entry_point.load()
        if isinstance(loaded, ModuleType):
            return _of_module(loaded, reference, reference)
        return _checked(loaded, reference, reference)
    if (name := _module_name(reference)) is not None:
        return _of_module(_import(name), reference, reference.rpartition(".")[2])
    known = names()
    near = difflib.get_close_matches(reference, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}; or write a path to a .py file"
    return BrokenAdapter(reference, f"no adapter is named {reference!r}; {hint}")


def _is_path(reference: str) -> bool:
    return reference.endswith(".py") or "/" in reference


def _module_name(reference: str) -> str | None:
    """The module that a reference, which is no path, means; ``None`` if it means none."""
    if reference in bundled():
        return f"adapters.{reference}"
    if (entry_point := _installed().get(reference)) is not None:
        return entry_point.module
    return reference if "." in reference and all(part.isidentifier() for part in reference.split(".")) else None


def _import(name: str) -> ModuleType:
    module = importlib.import_module(name)
    if name not in _imported and module.__file__ and (found := _sha256(Path(module.__file__))):
        _imported[name] = found
    return module


def _sha256(path: Path) -> bytes | None:
    """``None`` for a file that cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return None


def _installed() -> dict[str, EntryPoint]:
    return {found.name: found for found in entry_points(group=GROUP)}


def _load_file(path: Path) -> ModuleType:
    """Run a file as a module of its own: afresh every time, so that a mended adapter can be loaded again."""
    spec = importlib.util.spec_from_file_location(f"gateway_adapter_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _of_module(module: ModuleType, reference: str, name: str) -> Adapter | BrokenAdapter:
    return _checked(getattr(module, "ADAPTER", None), reference, name)


def _checked(found: object, reference: str, name: str) -> Adapter | BrokenAdapter:
    if found is None:
        return BrokenAdapter(reference, "the module has no ADAPTER; see adapters/contract.py")
    if not isinstance(found, Adapter):
        return BrokenAdapter(reference, f"ADAPTER is a {type(found).__name__}, not an adapters.contract.Adapter")
    if found.name != name:
        return BrokenAdapter(reference, f"ADAPTER.name is {found.name!r}; it must be {name!r}, as the module is called")
    functions = ("verify", "normalise", "sample", "sign", "key_wanted")
    if missing := [function for function in functions if not callable(getattr(found, function))]:
        return BrokenAdapter(reference, f"ADAPTER.{missing[0]} is not a function")
    return found
