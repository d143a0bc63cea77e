"""Whether a round may be believed: the 200s the client counted against the log, and what the store says of itself."""

from collections.abc import Collection, Sequence

from bench.load import Sent
from bench.subject import StoreFacts


class RefusedError(Exception):
    """A round must not be believed."""

    def __init__(self, why: str, store: str = "") -> None:
        super().__init__(why)
        self.store = store


def problem_with(runs: Collection[Sent], facts: StoreFacts) -> str | None:
    """Why a round must not be believed, or ``None``: the client's own trouble, a log of another length, no fsync."""
    for run in runs:
        if (problem := run.problem()) is not None:
            return problem
    acknowledged = sum(run.ok for run in runs)
    if facts.log_length != acknowledged:
        return f"the log holds {facts.log_length} events, the client counted {acknowledged} answers of 200"
    if facts.appendfsync != "always":
        return f"the store's live appendfsync is {facts.appendfsync}, so nothing durable was measured"
    return None


def believable(sent: Sent) -> Sent:
    """``sent``, unless something else than 200 was answered. Raises ``RefusedError``."""
    problem = sent.problem()
    if problem is not None:
        raise RefusedError(problem)
    return sent


def check(runs: Sequence[Sent], facts: StoreFacts) -> None:
    """Raise ``RefusedError`` if the log's length differs from the 200s, or the like."""
    problem = problem_with(runs, facts)
    if problem is not None:
        raise RefusedError(problem, about(facts))


def about(facts: StoreFacts) -> str:
    """The store, as a result names it."""
    return f"{facts.version}, appendfsync {facts.appendfsync}"
