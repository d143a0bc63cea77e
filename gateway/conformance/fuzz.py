"""Hypothesis, as the clauses use it: a few examples, the same ones every time, no database on disk."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

T = TypeVar("T")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=24),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
"""Any JSON value, not a large one."""


class _Found(Exception):
    """No error: it carries a finding through hypothesis."""


def fuzz(inputs: st.SearchStrategy[T], check: Callable[[T], str | None], examples: int) -> Iterator[str]:
    """Try ``check`` on ``examples`` inputs; yield what it says of the smallest input it finds a fault with.

    ``check`` says what is wrong and for which input, or returns ``None``.
    """

    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=True,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def run(drawn: Any) -> None:
        if (fault := check(drawn)) is not None:
            raise _Found(fault)

    try:
        run()
    except _Found as found:
        yield str(found)
