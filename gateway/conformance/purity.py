"""Clauses about what an adapter may not touch, and about the samples it makes."""

import gc
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial
from types import FrameType
from typing import Any

import msgspec

from adapters.contract import Request
from gateway.conformance.cases import Case
from gateway.conformance.subject import Findings, Subject, clause

_BUILTIN_MODULES = {"time", "posix", "nt", "_socket", "_random", "_ssl", "select"}
_BUILTIN_NAMES = {"open", "open_code", "print", "input"}
_PYTHON_MODULES = {"asyncio", "http", "httpx", "logging", "os", "random", "secrets", "socket", "subprocess", "urllib3"}
_SEEDS = (1, 2**40)


@contextmanager
def _watched(touched: set[str]) -> Iterator[None]:
    """Note every call of a clock, a source of randomness, a file, a socket or a log, however it was imported.

    A profile hook sees calls of built-in functions, which cannot be patched, and needs no list of import sites.
    """

    def hook(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call":
            owner, name = getattr(called, "__self__", None), getattr(called, "__name__", "")
            module = getattr(called, "__module__", None) or getattr(owner, "__name__", "")
            if isinstance(owner, random.Random):
                touched.add(f"random.{name}")
            elif isinstance(owner, type) and issubclass(owner, date) and name in {"now", "utcnow", "today"}:
                touched.add(f"{owner.__name__}.{name}")
            elif module in _BUILTIN_MODULES or (name in _BUILTIN_NAMES and module in {"builtins", "io", "_io"}):
                touched.add(f"{module}.{name}")
        elif event == "call":
            module = str(frame.f_globals.get("__name__", "")).partition(".")[0]
            if module in _PYTHON_MODULES:
                touched.add(f"{module}.{frame.f_code.co_name}")

    before, collects = sys.getprofile(), gc.isenabled()
    gc.disable()  # others time the garbage collector with callbacks, which would be seen here
    sys.setprofile(hook)
    try:
        yield
    finally:
        sys.setprofile(before)
        if collects:
            gc.enable()


def _calls(subject: Subject, case: Case) -> dict[str, Callable[[], object]]:
    adapter, verified = subject.adapter, subject.verified(case, case.request.body)
    return {
        "key_wanted": lambda: adapter.key_wanted(case.request, case.source),
        "verify": lambda: adapter.verify(case.request, case.source, case.keys, case.now_ms),
        "normalise": lambda: adapter.normalise(verified),
        "sample": lambda: adapter.sample(case.name, 1),
        "sign": lambda: adapter.sign(case.request.body, case.source, case.now_ms),
    }


@clause(
    "An adapter touches no clock, no randomness, no file, no socket and no log.",
    mend="take the time from now_ms and freshness from seed; what else it needs belongs into its settings",
)
def pure(subject: Subject) -> Findings:
    """Each function is called once before, so that what Python imports on first use is not held against it."""
    for case in subject.cases:
        for name, call in _calls(subject, case).items():
            touched: set[str] = set()
            _swallow(call)
            with _watched(touched):
                _swallow(call)
            if touched:
                yield f"case {case.name}: {name} calls {', '.join(sorted(touched))}"


@clause(
    "The same request gives the same result, twice, and is not changed.",
    mend="keep nothing between two calls; decode the body anew in every call of normalise",
)
def repeatable(subject: Subject) -> Findings:
    """Except ``sign``, which may be salted."""
    for case in subject.cases:
        for name, call in _calls(subject, case).items():
            if name != "sign" and _swallow(call) != _swallow(call):
                yield f"case {case.name}: {name} gives another result the second time"


def _swallow(call: Callable[[], object]) -> object:
    try:
        return call()
    except Exception as error:
        return type(error), str(error)


@clause(
    "What sample makes for a case becomes what the case becomes.",
    mend="keep samples and fixtures of one name alike in everything that decides their type",
)
def samples_fit_their_cases(subject: Subject) -> Findings:
    """By the types of the events, or the outcome."""
    for case in subject.cases:
        if case.name not in subject.adapter.cases:
            continue
        wanted = subject.summary(case, case.request.body)
        for seed in _SEEDS:
            body = subject.adapter.sample(case.name, seed)
            if (got := subject.summary(case, body)) != wanted:
                yield f"case {case.name}: the sample {seed} becomes {got}, the recorded request {wanted}"


@clause(
    "sign proves what sample makes, and gives content-type.",
    mend="let sign make exactly the headers that the provider sends, names in lower case",
)
def signed_samples_are_proven(subject: Subject) -> Findings:
    """The path token and the address come from the case."""
    for case in subject.cases:
        if case.name not in subject.adapter.cases or case.proof.get("unsignable"):
            continue
        body = subject.adapter.sample(case.name, 1)
        try:
            headers = subject.adapter.sign(body, case.source, case.now_ms)
        except Exception as error:
            yield f"case {case.name}: sign raises {subject.told(error)}"
            continue
        if "content-type" not in headers or any(name != name.lower() for name in headers):
            yield f"case {case.name}: sign gives the headers {sorted(headers)}"
        signed = tuple((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items())
        request: Request = msgspec.structs.replace(case.request, headers=signed, body=body)
        if not subject.is_proven(case, request):
            yield f"case {case.name}: the signed sample is not proven"


@clause(
    "No more events come of one request than the pipeline keeps, and never none.",
    mend="return Ignored for a request with nothing in it that is worth an event",
)
def events_are_never_none(subject: Subject) -> Findings:
    """An empty list would be a request that nobody can find again."""
    for case in subject.cases:
        for words, body in (("as recorded", case.request.body), *subject.variations(case)):
            if _swallow(partial(subject.adapter.normalise, subject.verified(case, body))) == []:
                yield f"case {case.name}, {words}: normalise returns an empty list"
                break
