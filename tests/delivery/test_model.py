"""The stateful model (``tests/support/pipeline_model.py``) on the gateway as it is, and on broken ones it must catch.

``MODEL_EXAMPLES=2000 pytest tests/delivery/test_model.py -k finds_nothing -s`` runs it long and prints what it did;
``MODEL_SHRINK=1`` looks for the shortest failing run, which takes minutes.
"""

import os
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from gateway.delivery import dispatcher, lane
from gateway.delivery.breaker import BreakerState
from gateway.delivery.key_order import KeyOrder
from gateway.store.parked import Change, DueEvent
from tests.support.pipeline_model import PipelineModel
from tests.support.scripted import ScriptedLane
from tests.support.stores import StoreServer, running

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "12"))
STEPS = 14
PHASES = [Phase.generate, Phase.shrink] if os.environ.get("MODEL_SHRINK") else [Phase.generate]


@pytest.fixture(scope="module")
def model_server() -> Iterator[StoreServer]:
    """A store for the model."""
    with running("valkey") as server:
        yield server


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real waits are short; the waits that matter are on the model's clock."""
    monkeypatch.setattr(lane, "TICK_S", 0.01)
    monkeypatch.setattr(lane, "SETTLE_WAIT_S", 0.001)
    monkeypatch.setattr(dispatcher, "STOP_S", 0.3)


def model_of(server: StoreServer, kind: type[ScriptedLane] = ScriptedLane) -> type[PipelineModel]:
    """The model on this store, with this kind of lane."""
    return type("Model", (PipelineModel,), {"server": server, "lane": kind, "runs": Counter()})


def short(examples: int, **other: object) -> settings:
    """Settings for a machine whose steps take real time."""
    return settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=PHASES,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        **other,  # type: ignore[arg-type]  # as hypothesis has them
    )


@pytest.mark.long
@pytest.mark.timeout(0)
def test_the_model_finds_nothing_lost_unexpected_twice_or_out_of_order(model_server: StoreServer) -> None:
    """Whatever comes in whatever order, the account adds up in the end."""
    model = model_of(model_server)
    run_state_machine_as_test(model, settings=short(EXAMPLES))
    print(dict(model.runs))
    assert model.runs["delivered"] > 0
    assert model.runs["examples"] >= EXAMPLES


# Positive controls: gateways with one defect each


class Losing(ScriptedLane):
    """Counts what failed as delivered and forgets it."""

    async def _settle_surely(
        self, cursor_to: int, delivered: int, filtered: int, discarded: int, changes: list[Change]
    ) -> list[str]:
        kept = [change for change in changes if change.operation != "park"]
        delivered += len(changes) - len(kept)
        return await super()._settle_surely(cursor_to, delivered, filtered, discarded, kept)


class Forgetting(ScriptedLane):
    """Parks nothing, and counts nothing for it."""

    async def _settle_surely(
        self, cursor_to: int, delivered: int, filtered: int, discarded: int, changes: list[Change]
    ) -> list[str]:
        kept = [change for change in changes if change.operation != "park"]
        return await super()._settle_surely(cursor_to, delivered, filtered, discarded, kept)


class Overtaking(ScriptedLane):
    """Knows no order."""

    def _reset(self, epoch: int, breaker: BreakerState, held: set[str]) -> None:
        super()._reset(epoch, breaker, held)
        self._keys = KeyOrder(set(), on=False)


class Repeating(ScriptedLane):
    """Takes what is due twice."""

    async def _take_back(self, due: list[DueEvent]) -> None:
        await super()._take_back([*due, *due])


@pytest.mark.parametrize(
    ("kind", "finding"),
    [
        (Losing, "lost"),
        (Forgetting, "the account is off"),
        (Overtaking, "out of order"),
        (Repeating, "more than once"),
    ],
)
def test_the_model_catches(model_server: StoreServer, kind: type[ScriptedLane], finding: str) -> None:
    """A gateway with this defect does not pass."""
    model = model_of(model_server, kind)
    with pytest.raises((AssertionError, Flaky), match=finding):
        run_state_machine_as_test(model, settings=short(100, derandomize=True))
