"""What only one process knows, put together from all of them.

The store knows the account. How often a process answered what, which attempts it has on the wire, how much memory it
takes, only the process itself knows. With several workers the one that is asked asks the others
(``workers/exchange.py``), so that it does not matter which one that is; one that does not answer is named.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
from prometheus_client import ProcessCollector
from prometheus_client.core import Metric


class Process(msgspec.Struct, kw_only=True):
    """What one process knows. Counts are from its start."""

    pid: int
    worker: int = 0
    """Its number, from 0; a worker that is started again has the number of the one before."""
    answers: dict[int, int] = {}
    """At ``/in``: HTTP status → number."""
    received_bytes: int = 0
    """Of the bodies answered 200."""
    limited: dict[str, int] = {}
    """Source → requests answered 429."""
    connections: int = 0
    """Open now."""
    refused_connections: int = 0
    refused_changes: dict[str, int] = {}
    """Code of the refusal → changes that were asked for and refused."""
    lanes: dict[str, list[dict[str, Any]]] = {}
    """Subscriber → ``Lane.status`` of each partition."""
    resources: dict[str, float] = {}
    """Name as in ``resources`` → CPU seconds, bytes of memory, open files."""

    def attempts(self, subscriber: str) -> dict[str, int]:
        """Delivered, or the cause of failure → number."""
        total: Counter[str] = Counter()
        for lane in self.lanes.get(subscriber, ()):
            total.update(lane.get("attempts", {}))
        return dict(total)

    def sum(self, subscriber: str, field: str) -> int:
        """A number of all its lanes of a subscriber."""
        return sum(int(lane.get(field, 0)) for lane in self.lanes.get(subscriber, ()))


class Processes(msgspec.Struct):
    """All of them at one moment."""

    found: list[Process]
    missing: list[int]
    """Workers that did not answer in time: what they know is in no sum."""

    def attempts(self, subscriber: str) -> dict[str, int]:
        """Of all that answered: delivered, or the cause of failure → number."""
        total: Counter[str] = Counter()
        for each in self.found:
            total.update(each.attempts(subscriber))
        return dict(total)

    def sum(self, subscriber: str, field: str) -> int:
        """A number of all lanes of a subscriber."""
        return sum(each.sum(subscriber, field) for each in self.found)


def resources() -> dict[str, float]:
    """What this process uses, by the names of the metrics."""
    return {family.name: family.samples[0].value for family in resource_families()}


def resource_families() -> Iterable[Metric]:
    """The metrics of this process's resources; their names, kinds and words are the same for every process."""
    return [family for family in ProcessCollector(namespace="gateway", registry=None).collect() if family.samples]
