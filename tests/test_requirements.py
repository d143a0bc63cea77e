"""The pinned requirements are whole for every Python they are for, not only for the one that they were made with."""

import re
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def pinned(file: str) -> list[str]:
    """The names of the packages a requirements file pins, as they are compared."""
    text = (ROOT / file).read_text("utf-8")
    return [canonicalize_name(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)]


def missing(names: set[str], python: str) -> list[str]:
    """What one of these packages needs under this version of Python and is not among them."""
    environment = {str(name): str(value) for name, value in default_environment().items()} | {
        "python_version": python.rpartition(".")[0],
        "python_full_version": python,
        "implementation_version": python,
        "extra": "",
    }
    found = []
    for name in sorted(names):
        if name == "async-timeout":
            continue  # installed only where it is needed, and it needs nothing
        for line in distribution(name).requires or ():
            needed = Requirement(line)
            if needed.marker is not None and not needed.marker.evaluate(environment):
                continue
            if canonicalize_name(needed.name) not in names:
                found.append(f"{name} needs {line}")
    return found


@pytest.mark.parametrize("python", ["3.11.0", "3.11.2", "3.11.9", "3.12.0", "3.13.0", "3.14.0"])
@pytest.mark.parametrize("file", ["requirements.txt", "requirements-run.txt"])
def test_every_package_a_pinned_one_needs_is_pinned(file: str, python: str) -> None:
    """With hashes pip refuses what is not pinned: on Debian 12 (3.11.2) ``make setup`` failed for want of one."""
    assert missing(set(pinned(file)), python) == []


def test_what_is_not_pinned_is_noticed() -> None:
    """The control: without its line, the package that only older Pythons need is missed there, and only there."""
    names = set(pinned("requirements.txt")) - {"async-timeout"}
    assert any(line.startswith("redis needs async-timeout") for line in missing(names, "3.11.2"))
    assert missing(names, "3.11.3") == []
