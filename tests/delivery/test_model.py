"""The stateful model (``tests/support/pipeline_model.py``) on the gateway as it is, and on broken ones it must catch.

``MODEL_EXAMPLES=300 pytest tests/delivery/test_model.py -k finds_nothing -s`` runs it for some five minutes and prints
what it did;
``MODEL_SHRINK=1`` looks for the shortest failing run, which takes minutes.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from gateway.delivery import dispatcher, lane, replay_run, settling
from gateway.delivery.key_order import KeyOrder
from gateway.store import dead_letters
from gateway.store.dead_letters import DeadLetter
from gateway.store.parked import Change, DueEvent, SubscriberStore
from tests.support.pipeline_model import PipelineModel
from tests.support.scripted import ScriptedLane
from tests.support.stores import StoreServer, running

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "8"))
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
    monkeypatch.setattr(settling, "SETTLE_WAIT_S", 0.001)
    monkeypatch.setattr(dispatcher, "STOP_S", 0.3)
    monkeypatch.setattr(replay_run, "GRACE_S", 0.1)
    monkeypatch.setattr(replay_run, "SAVE_S", 0.02)
    monkeypatch.setattr(replay_run, "LOOK_S", 0.01)


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


class LosingStore(SubscriberStore):
    """Counts what failed as delivered and forgets it."""

    async def settle(self, *args: Any, delivered: int, changes: Sequence[Change], **more: Any) -> list[str]:
        """Without what is to be parked."""
        kept = [change for change in changes if change.operation != "park"]
        return await super().settle(*args, delivered=delivered + len(changes) - len(kept), changes=kept, **more)


class ForgettingStore(SubscriberStore):
    """Parks nothing, and counts nothing for it."""

    async def settle(self, *args: Any, changes: Sequence[Change], **more: Any) -> list[str]:
        """Without what is to be parked."""
        return await super().settle(*args, changes=[each for each in changes if each.operation != "park"], **more)


class RepeatingStore(SubscriberStore):
    """Gives what is due twice."""

    async def due(self, now_ms: int, limit: int, skip: set[int]) -> tuple[list[DueEvent], int | None]:
        """Everything twice."""
        due, next_ms = await super().due(now_ms, limit, skip)
        return [*due, *due], next_ms


class Losing(ScriptedLane):
    """Loses what failed."""

    store = LosingStore


class Forgetting(ScriptedLane):
    """Forgets what failed."""

    store = ForgettingStore


class Repeating(ScriptedLane):
    """Takes what is due twice."""

    store = RepeatingStore


class Overtaking(ScriptedLane):
    """Knows no order."""

    def _reset(self, epoch: int, cursor: int, held: set[str]) -> None:
        super()._reset(epoch, cursor, held)
        self._keys = KeyOrder(set(), on=False)


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


class Unaware(ScriptedLane):
    """Does not care which keys are held by retried dead letters."""

    def _hold_new(self, keys: set[str]) -> None:
        """Nothing."""


def retry_and_go_on(model: type[PipelineModel]) -> None:
    """Two events of a key die and are retried; both fail once more while a third one comes."""
    machine = model()
    try:
        machine.begin([("a", ["422"] * 5, []), ("a", ["422"] * 2, [])], 1)
        machine.let_it_work(30)
        machine.retry_dead("ordered")
        machine.accept([("a", [], [])])
        machine.let_it_work(4)
    finally:
        machine.teardown()


def test_retried_dead_letters_and_what_comes_after_them_are_in_order(model_server: StoreServer) -> None:
    """The one run of the model that the next two tests spoil."""
    model = model_of(model_server)
    retry_and_go_on(model)
    assert (model.runs["dead letters: retry"], model.runs["delivered"]) == (2, 6)


def test_the_model_catches_dead_letters_that_forget_their_key(
    model_server: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it was once: retried ones were parked without order, overtook each other and were overtaken."""

    def forgetful(value: bytes) -> tuple[DeadLetter, bytes]:
        letter, answer = whole(value)
        return msgspec.structs.replace(letter, key=""), answer

    whole = dead_letters.split
    monkeypatch.setattr(dead_letters, "split", forgetful)
    with pytest.raises(AssertionError, match="out of order"):
        retry_and_go_on(model_of(model_server))


def test_the_model_catches_a_lane_that_does_not_ask_which_keys_are_held(model_server: StoreServer) -> None:
    """What comes later would overtake what was retried."""
    with pytest.raises(AssertionError, match="out of order"):
        retry_and_go_on(model_of(model_server, Unaware))
