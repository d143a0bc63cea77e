"""The conformance suite can fail: each clause has an adapter that breaks it, and breaks nothing else."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from adapters.contract import Ignored
from gateway.conformance.subject import Subject, events_of
from gateway.intake.pipeline import Events, receive
from gateway.testing import CLAUSES, adapter_suite, check, load_cases
from tests.broken_adapters import sound

BROKEN = Path(__file__).parent.parent / "broken_adapters"
FIXTURES = BROKEN / "fixtures"
EXAMPLES = 15


def test_the_sound_adapter_breaks_no_clause() -> None:
    """The positive control: what the broken ones are made of is without fault, several events a request included."""
    assert check(sound.ADAPTER, FIXTURES, examples=EXAMPLES) == []


def test_every_clause_has_a_broken_adapter() -> None:
    """A clause that was never seen to fail does not count; nor does a broken adapter whose clause is gone."""
    modules = {path.stem for path in BROKEN.glob("*.py")} - {"__init__", "sound"}
    assert modules == {one.name for one in CLAUSES}


@pytest.mark.parametrize("name", [one.name for one in CLAUSES])
def test_a_broken_adapter_breaks_its_clause_and_no_other(name: str, tmp_path: Path) -> None:
    """The finding names the clause, the rule and how to mend it."""
    broken = importlib.import_module(f"tests.broken_adapters.{name}")
    findings = check(broken.ADAPTER, _fixtures_of(broken, tmp_path), examples=EXAMPLES)
    assert [finding.clause for finding in findings] == [name], "\n".join(finding.message for finding in findings)
    assert f"breaks the clause {name}" in findings[0].message
    assert "To mend it: " in findings[0].message


def test_the_suite_is_one_failing_test_a_clause() -> None:
    """``adapter_suite`` makes a class whose tests are the clauses; the one that is broken fails, the others pass."""
    suite = adapter_suite(importlib.import_module("tests.broken_adapters.pure").ADAPTER, FIXTURES, examples=EXAMPLES)
    tests = [name for name in vars(suite) if name.startswith("test_")]
    assert tests == [f"test_{one.name}" for one in CLAUSES]
    with pytest.raises(AssertionError, match=r"case note\.added__no_list: normalise calls time\.time"):
        suite().test_pure()
    suite().test_repeatable()


def test_an_adapter_or_a_folder_that_is_not_there_is_a_failed_test(tmp_path: Path) -> None:
    """Nothing to try the clauses on is a failure, never a green run."""
    with pytest.raises(AssertionError, match="did you mean enviaai"):
        adapter_suite("enviai", FIXTURES)().test_pure()
    with pytest.raises(AssertionError, match="holds no cases"):
        adapter_suite(sound.ADAPTER, tmp_path)().test_pure()


def test_the_suite_is_one_line_outside_this_repository(tmp_path: Path) -> None:
    """An adapter in a file of its own, its fixtures beside it: pytest collects the clauses and shows the one broken."""
    shutil.copy(BROKEN / "sound.py", tmp_path)
    shutil.copytree(FIXTURES, tmp_path / "fixtures")
    clocked = (BROKEN / "sound.py").read_text().replace('name="sound"', 'name="clocked"')
    clocked += "\nfrom time import time\nfrom msgspec.structs import replace\n"
    clocked += "ADAPTER = replace(ADAPTER, key_wanted=lambda *_: None if time() else None)\n"
    (tmp_path / "clocked.py").write_text(clocked)
    (tmp_path / "test_mine.py").write_text(
        "from pathlib import Path\n"
        "from gateway.testing import adapter_suite\n"
        'TestSound = adapter_suite("sound.py", Path("fixtures"), examples=5)\n'
        'TestClocked = adapter_suite("clocked.py", Path("fixtures"), examples=5)\n'
    )
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "TestSound or pure", "test_mine.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert f"1 failed, {len(CLAUSES)} passed" in ran.stdout, ran.stdout + ran.stderr
    assert "clocked breaks the clause pure." in ran.stdout
    assert "To mend it: take the time from now_ms" in ran.stdout


def _fixtures_of(broken: ModuleType, folder: Path) -> Path:
    """The fixtures of the sound adapter, or a copy as this broken one's author would have it."""
    spoil, believes = getattr(broken, "spoil", None), getattr(broken, "believes_itself", False)
    if spoil is None and not believes:
        return FIXTURES
    copy = folder / "fixtures"
    shutil.copytree(FIXTURES, copy)
    if spoil is not None:
        spoil(copy)
    if believes:
        for case in load_cases(copy):
            outcome = receive(case.request, case.source, broken.ADAPTER, case.keys, case.now_ms)
            if isinstance(outcome, Events):
                (case.folder / "expected.json").write_text(json.dumps(events_of(outcome)))
                drafts = Subject(broken.ADAPTER, (case,), EXAMPLES).drafts(case, case.request.body)
                about = re.sub(r"(?s)\ndedupe = \[.*?\n\]\n", "\n", (case.folder / "about.toml").read_text())
                parts = json.dumps([draft.dedupe for draft in drafts])
                (case.folder / "about.toml").write_text(f"dedupe = {parts}\n{about}")
            else:
                assert isinstance(outcome, Ignored) or case.expected == {"outcome": "quarantined"}
    return copy
