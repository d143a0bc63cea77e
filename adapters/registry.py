"""Where adapters are found: this folder, the entry-point group ``gateway.adapters``, a dotted module, or a file.

An adapter that cannot be used breaks nothing but the sources that name it: ``find`` never raises, it says what is
wrong.
"""

import difflib
import importlib
import importlib.util
import re
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


def _find(reference: str, base: Path) -> Adapter | BrokenAdapter:
    if reference.endswith(".py") or "/" in reference:
        path = base / reference
        if not path.is_file():
            return BrokenAdapter(reference, f"there is no file {reference}, seen from the configuration's folder")
        return _of_module(_load_file(path), reference, path.stem)
    if reference in bundled():
        return _of_module(importlib.import_module(f"adapters.{reference}"), reference, reference)
    if (entry_point := _installed().get(reference)) is not None:
        loaded = entry_point.load()
        if isinstance(loaded, ModuleType):
            return _of_module(loaded, reference, reference)
        return _checked(loaded, reference, reference)
    if "." in reference and all(part.isidentifier() for part in reference.split(".")):
        return _of_module(importlib.import_module(reference), reference, reference.rpartition(".")[2])
    known = names()
    near = difflib.get_close_matches(reference, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}; or write a path to a .py file"
    return BrokenAdapter(reference, f"no adapter is named {reference!r}; {hint}")


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
