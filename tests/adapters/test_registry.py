"""Adapters are found where they may be, and a broken one says what is wrong with it."""

import sys
from pathlib import Path

import pytest

from adapters import contract, registry
from adapters.contract import Adapter
from adapters.registry import BrokenAdapter, bundled, find, names

HERE = Path(__file__).parent
GOOD = "from msgspec.structs import replace\nfrom tests.broken_adapters.sound import ADAPTER as SOUND\n"


def _reason(reference: str, base: Path) -> str:
    found = find(reference, base)
    assert isinstance(found, BrokenAdapter)
    assert found.name == reference
    return found.reason


def test_the_five_come_along() -> None:
    """Told by reading the folder; helpers without ADAPTER are no adapters."""
    assert bundled() == ["aivo_engage", "engium", "enviaai", "flexengage", "generic_chat"]
    assert set(bundled()) <= set(names())


@pytest.mark.parametrize("name", bundled())
def test_each_is_found_by_its_name(name: str) -> None:
    """And by the dotted name of its module, and by its file."""
    root = Path(registry.__file__).parent.parent
    for reference in (name, f"adapters.{name}", f"adapters/{name}.py"):
        found = find(reference, root)
        assert isinstance(found, Adapter)
        assert found.name == name


def test_a_file_is_found_from_the_folder_of_the_configuration(tmp_path: Path) -> None:
    """And loaded anew each time, so that mending it needs no restart."""
    (tmp_path / "mine").mkdir()
    file = tmp_path / "mine" / "acme.py"
    file.write_text(GOOD + 'ADAPTER = replace(SOUND, name="acme", title="before")\n')
    before = find("mine/acme.py", tmp_path)
    file.write_text(GOOD + 'ADAPTER = replace(SOUND, name="acme", title="after it")\n')
    after = find("mine/acme.py", tmp_path)
    assert isinstance(before, Adapter)
    assert isinstance(after, Adapter)
    assert (before.title, after.title) == ("before", "after it")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def :", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
        ("import sys\nsys.exit(1)", "SystemExit"),
        ("import a_module_that_is_not_there", "ModuleNotFoundError"),
        ("", "no ADAPTER"),
        ("ADAPTER = None", "no ADAPTER"),
        ("ADAPTER = {'name': 'acme'}", "ADAPTER is a dict"),
        (GOOD + "ADAPTER = SOUND", "ADAPTER.name is 'sound'; it must be 'acme'"),
        (GOOD + "ADAPTER = replace(SOUND, name='acme', verify=None)", "ADAPTER.verify is not a function"),
        (GOOD + "ADAPTER = replace(SOUND, name='acme', sign='x')", "ADAPTER.sign is not a function"),
    ],
)
def test_a_broken_file_says_why(tmp_path: Path, code: str, reason: str) -> None:
    """Whatever it does on import, nothing is raised: only its own sources are without an adapter."""
    (tmp_path / "acme.py").write_text(code + "\n")
    assert reason in _reason("acme.py", tmp_path)


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("enviai", "did you mean enviaai?"),
        ("zzz", "known are aivo_engage, engium"),
        ("", "no adapter is named ''"),
        ("acme.py", "no file acme.py"),
        ("../acme.py", "no file"),
        ("adapters/", "no file"),
        ("no_such_package.acme", "ModuleNotFoundError"),
        ("adapters.contract", "no ADAPTER"),
        ("contract", "no adapter is named"),
        ("..", "no adapter is named"),
        ("a b.c", "no adapter is named"),
        ("acme\x00.py", "no file"),
    ],
)
def test_a_reference_that_leads_nowhere_says_so(tmp_path: Path, reference: str, reason: str) -> None:
    """With the nearest name, or the names there are."""
    assert reason in _reason(reference, tmp_path)


def test_a_package_can_bring_adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the entry-point group, naming a module or an ADAPTER; a broken one is named and breaks nothing else."""
    (tmp_path / "acme_hooks.py").write_text(GOOD + 'ADAPTER = replace(SOUND, name="acme")\n')
    (tmp_path / "acme_broken.py").write_text("1 / 0\n")
    info = tmp_path / "acme_hooks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-hooks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[gateway.adapters]\nacme = acme_hooks:ADAPTER\nbroken = acme_broken\nother = acme_hooks\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "acme_hooks", raising=False)
    assert {"acme", "broken", "other"} <= set(names())
    found = find("acme", HERE)
    assert isinstance(found, Adapter)
    assert found.name == "acme"
    assert "ZeroDivisionError" in _reason("broken", HERE)
    assert "must be 'other'" in _reason("other", HERE)
    assert isinstance(find("enviaai", HERE), Adapter)


def test_the_folder_comes_before_packages() -> None:
    """A package cannot take a bundled adapter's name over: the guide's own module is meant by its name."""
    found = find("enviaai", HERE)
    assert isinstance(found, Adapter)
    assert found.verify.__module__ == "adapters.enviaai"
    assert contract.Adapter is Adapter
