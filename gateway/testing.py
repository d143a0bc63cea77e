"""The conformance suite: what an adapter must hold to, as tests. For adapters inside and outside this repository.

In a test module of your own, one line::

    from gateway.testing import adapter_suite

    TestAcme = adapter_suite("acme", Path(__file__).parent / "fixtures")

The first argument is what the config's ``adapter = "…"`` may say (a name, a dotted module, a path to a file), or the
``Adapter`` itself; the second the folder with one folder a case (``gateway/conformance/cases.py`` says what is in it).
Each clause of the contract is a test of its own. Its failure names the clause, says where it does not hold, and how to
mend it.

It needs hypothesis, and nothing of pytest: ``check`` gives the same findings to any caller.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import msgspec

from adapters.contract import Adapter
from adapters.registry import BrokenAdapter, find
from gateway.conformance import comparing, facts, identity, mapping, proof, purity, recorded
from gateway.conformance.cases import Case, load_case, load_cases
from gateway.conformance.subject import Clause, Subject

CLAUSES: tuple[Clause, ...] = tuple(
    found
    for module in (facts, recorded, proof, comparing, mapping, identity, purity)
    for found in vars(module).values()
    if isinstance(found, Clause)
)
"""Every clause, in the order of the modules."""

EXAMPLES = 60
"""How many inputs hypothesis tries in each clause that asks it, unless told otherwise."""


class Finding(msgspec.Struct, frozen=True):
    """A clause that does not hold, and where."""

    clause: str
    message: str


def check(adapter: str | Path | Adapter, fixtures: Path, *, examples: int = EXAMPLES) -> list[Finding]:
    """Every clause that does not hold. Raises ``ValueError`` if there is no adapter, or no case, to try them on."""
    subject = _subject(adapter, fixtures, examples)
    return [Finding(broken.name, message) for broken in CLAUSES if (message := _message(broken, subject)) is not None]


def adapter_suite(adapter: str | Path | Adapter, fixtures: Path, *, examples: int = EXAMPLES) -> type:
    """A class with one test for each clause, for pytest to collect under the name it is assigned to.

    The adapter is looked up when the first test runs, so that a broken one is a failed test with a reason.
    """

    @cache
    def subject() -> Subject:
        try:
            return _subject(adapter, fixtures, examples)
        except ValueError as error:
            raise AssertionError(str(error)) from None

    tests = {f"test_{one.name}": _test(one, subject) for one in CLAUSES}
    return type("AdapterSuite", (), {"__doc__": "The clauses of the adapter contract, one test each.", **tests})


def _test(one: Clause, subject: Callable[[], Subject]) -> Callable[[object], None]:
    def test(self: object) -> None:
        message = _message(one, subject())
        if message is not None:
            raise AssertionError(message)

    test.__name__, test.__doc__ = f"test_{one.name}", one.rule
    return test


def _message(one: Clause, subject: Subject) -> str | None:
    """Why a clause does not hold, with how to mend it; ``None`` if it holds."""
    try:
        findings = list(one.check(subject))
    except Exception as error:
        findings = [f"the adapter raises {subject.told(error)}"]
    if not findings:
        return None
    where = "\n".join(f"  - {finding}" for finding in findings)
    return (
        f"{subject.adapter.name} breaks the clause {one.name}.\nThe rule: {one.rule}\n{where}\nTo mend it: {one.mend}."
    )


def _subject(adapter: str | Path | Adapter, fixtures: Path, examples: int) -> Subject:
    found = adapter if isinstance(adapter, Adapter) else find(str(adapter), Path.cwd())
    if isinstance(found, BrokenAdapter):
        raise ValueError(f"the adapter {found.name} cannot be used: {found.reason}")
    return Subject(found, load_cases(fixtures), examples)


__all__ = ["CLAUSES", "EXAMPLES", "Case", "Clause", "Finding", "adapter_suite", "check", "load_case", "load_cases"]
