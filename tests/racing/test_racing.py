"""The race, short; and that a commit which could count twice is noticed.

A long run, with its result: ``tests/racing/__init__.py``.
"""

import importlib.resources
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import msgspec
import pytest

from gateway.store.connection import Store
from gateway.store.log import Batch, PartitionLog
from tests.intake.served import SECRET, fresh, serving, signed
from tests.racing.run import Done, Plan, run
from tests.racing.verdict import Facts, judge
from tests.support.stores import running

COPIES = 50


def race(events: int = 120) -> Done:
    """A short one."""
    return run(Plan(events=events, copies=COPIES, seed=3), lambda _: None)


def wrong(done: Done) -> list[str]:
    """What is wrong with it."""
    return [line.what for leg in done.legs for line in judge(leg) if line.wrong]


def test_no_copy_makes_a_second_entry() -> None:
    """Fifty copies of each event at once over four committers whose replies are lost: one entry, one ``logged``."""
    done = race()
    assert wrong(done) == []
    assert done.lost_replies > 3
    assert sum(done.legs[0].copies.values()) == 120 * COPIES


def test_a_repeated_batch_without_its_number_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a new number for each attempt a lost reply makes a batch count twice, and nobody hears ``logged``."""
    commit = PartitionLog.commit

    async def anew(self: PartitionLog, number: int, batch: Batch) -> list[int]:
        return await commit(self, self.next_batch(), batch)

    monkeypatch.setattr(PartitionLog, "commit", anew)
    try:
        found = wrong(race())
    except AssertionError as error:  # a sender that is never told anything notices as well
        found = [str(error).split(" ", 1)[1]]
    assert {"events never answered 'logged'", "events counted beyond the copies", "was never answered"} & set(found)


def test_a_mark_that_does_not_ask_first_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without NX each copy makes an entry of its own."""

    async def without(self: Store, name: str) -> Any:
        text = (importlib.resources.files("gateway.store") / "lua" / f"{name}.lua").read_text("utf-8")
        weaker = text.replace("'NX', ", "")
        assert (weaker != text) == (name == "commit")
        sha = (await self.call("SCRIPT", "LOAD", weaker)).decode()
        self._scripts[name] = sha
        return sha

    monkeypatch.setattr(Store, "_load", without)
    assert "second entries in the log" in wrong(race(events=5))


def facts(**changed: Any) -> Facts:
    """A race of two events in which nothing went wrong, but for what is ``changed``."""
    good = Facts(
        copies={"a": 3, "b": 3},
        logged=Counter(a=1, b=1),
        numbers={"a": {1}, "b": {2}},
        unanswered=set(),
        log=[(1, "a"), (2, "b")],
        counted_logged=2,
        counted_duplicate=4,
        counted_accepted=6,
        unaccounted=0,
    )
    return msgspec.structs.replace(good, **changed)


def test_a_good_race_is_good() -> None:
    """The control of the cases below; a copy that was told to come again may leave an event without ``logged``."""
    assert [line for line in judge(facts()) if line.wrong] == []
    again = facts(unanswered={"a"}, logged=Counter(b=1), numbers={"b": {2}}, counted_accepted=7, counted_duplicate=5)
    assert [line for line in judge(again) if line.wrong] == []


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"log": [(1, "a"), (2, "b"), (3, "a")]}, "second entries in the log"),
        ({"log": [(1, "a")]}, "not in the log"),
        ({"log": [(1, "a"), (2, "b"), (3, "c")]}, "in the log, never sent"),
        ({"log": [(1, "a"), (3, "b")]}, "holes in the sequence"),
        ({"logged": Counter(a=2, b=1)}, "events answered 'logged' twice"),
        ({"logged": Counter(b=1)}, "events never answered 'logged'"),
        ({"numbers": {"a": {1, 2}, "b": {2}}}, "answered with another's number"),
        ({"unaccounted": 1}, "unaccounted"),
        ({"counted_logged": 3}, "counted as logged beyond the log"),
        ({"counted_accepted": 7}, "copies counted beyond those answered"),
        ({"counted_duplicate": 5}, "events counted beyond the copies"),
    ],
)
def test_each_fault_of_a_race_is_seen(changed: dict[str, Any], what: str) -> None:
    """One thing is wrong, and the line for it says so."""
    assert what in [line.what for line in judge(facts(**changed)) if line.wrong]


CONFIG = """
[gateway]
log_level = "warning"
[store]
url = "{url}"
[sources.br]
adapter = "enviaai"
secrets = ["env:S"]
"""


def test_fifty_senders_at_once_get_one_accepted(tmp_path: Path) -> None:
    """Over real connections: of fifty copies sent at the same moment one is ``accepted``, 49 are ``duplicate``."""
    with (
        running("valkey") as server,
        serving(tmp_path, CONFIG.format(url=server.url), {"S": SECRET.decode()}) as served,
        ThreadPoolExecutor(COPIES) as pool,
    ):
        for _ in range(8):
            body = fresh()
            together = Barrier(COPIES)

            def send(_: int, body: bytes = body, together: Barrier = together) -> tuple[int, str]:
                together.wait(20)
                answer = served.post("/in/br", body, signed(body))
                return answer.status, answer.json["status"]

            answers = Counter(pool.map(send, range(COPIES)))
            assert answers == {(200, "accepted"): 1, (200, "duplicate"): COPIES - 1}
        assert len(served.names()) == 8
        assert served.ledger().unaccounted == 0
