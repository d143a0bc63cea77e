"""Fuzzing of every adapter, led by coverage and by hypothesis: whatever comes, two errors and valid events.

The long run, with its result: ``tests/adapters/fuzz.py``.
"""

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings, target
from hypothesis import strategies as st

from adapters.contract import Adapter
from adapters.registry import bundled
from gateway.conformance.fuzz import JSON
from gateway.conformance.subject import ODD
from tests.adapters.coverage_guided import Found, Watch, mutate
from tests.adapters.coverage_guided import fuzz as guided
from tests.adapters.fuzz import Subject, as_request, subjects

RUNS = 200
quick = settings(
    max_examples=20, database=None, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.mark.parametrize("subject", subjects(), ids=lambda subject: subject.name)
def test_bodies_found_by_coverage(subject: Subject) -> None:
    """``normalise`` raises only ``Unmappable``, and what it maps fits the schema, comes back as it was, and is the
    same when asked again."""
    edges, corpus = guided(subject.check_body, subject.bodies(), runs=RUNS, chance=Random(1))
    assert edges > 40
    assert corpus


@pytest.mark.parametrize("subject", subjects(), ids=lambda subject: subject.name)
def test_headers_found_by_coverage(subject: Subject) -> None:
    """``key_wanted`` and ``verify`` raise only ``NotProven``, whatever the headers hold and however often."""
    edges, _ = guided(subject.check_headers, subject.headers(), runs=RUNS, chance=Random(2))
    assert edges > 5


@pytest.mark.parametrize("subject", subjects(), ids=lambda subject: subject.name)
def test_events_of_any_json(subject: Subject) -> None:
    """The fields a provider has, with any values whatever in them: events that fit, or quarantine."""
    names = st.sampled_from(subject.field_names())
    values = st.sampled_from([*subject.texts(), *ODD]) | JSON
    inner = st.dictionaries(names, values, max_size=6)

    @quick
    @given(st.dictionaries(names, values | inner | st.dictionaries(names, inner, max_size=3), max_size=8))
    def run(document: dict[str, object]) -> None:
        target(float(subject.check_document(document)))

    run()


def test_every_adapter_is_a_subject() -> None:
    """Nobody has to be added by hand."""
    assert {subject.adapter.name for subject in subjects()} == set(bundled())
    assert all(isinstance(subject.adapter, Adapter) for subject in subjects())


def trap(data: bytes) -> None:
    """Fails behind some conditions, each of which is a step that only coverage rewards."""
    wanted = (b"null", b"\\u0000", b"sha256=", b"true", b"t=")
    if not data.startswith(b"{"):
        return
    if wanted[0] not in data:
        return
    if wanted[1] not in data:
        return
    if wanted[2] not in data:
        return
    if wanted[3] not in data:
        return
    if wanted[4] in data:
        raise IndexError("found")


def test_a_defect_that_lies_deep_is_found() -> None:
    """The control: an exception behind five conditions; without coverage as many runs do not find it."""
    with pytest.raises(Found, match="IndexError"):
        guided(trap, [b"{}"], runs=20_000, chance=Random(1), watched=(__file__,))
    guided(trap, [b"{}"], runs=20_000, chance=Random(1), watched=("nowhere",))


def test_coverage_is_what_is_watched() -> None:
    """Lines of adapters are seen, and no others."""
    subject = subjects()[0]
    with Watch() as watch:
        subject.check_body(subject.bodies()[0])
    assert watch.edges
    assert {name for name, _, _ in watch.edges if "/adapters/" not in name and "/schemas/" not in name} == set()
    assert mutate(b"abc", [b"abc"], Random(1)) != mutate(b"abc", [b"abc"], Random(2))


def test_headers_are_read_from_bytes() -> None:
    """What the fuzzer writes is what the adapter gets: names in lower case, repeats kept."""
    request = as_request(b"X-A: 1\nx-a: 2\nno colon\n\nbody")
    assert (request.headers, request.body) == (((b"x-a", b"1"), (b"x-a", b"2")), b"body")
