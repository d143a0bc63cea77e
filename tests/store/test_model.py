"""The store against a model of a few dictionaries: whatever is done in whatever order, both say the same.

The short run is part of every test run; the long one is ``pytest tests/store/test_model.py --hypothesis-profile=long``.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Literal, TypeVar

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from gateway.config import StoreSettings
from gateway.errors import LeaseLost
from gateway.store.connection import Store
from gateway.store.dead_letters import DeadLetters
from gateway.store.lease import Lease
from gateway.store.log import NewEvent
from gateway.store.parked import Change
from gateway.store.recount import recount
from tests.store.partition import NOW_MS, Partition, Subscriber, again, bury, dead, event, hash_of, park
from tests.support.stores import StoreServer

T = TypeVar("T")

NAMES = ("all", "keyed")
"""Two subscribers: one without order, one with order by key."""
KEYS = (None, "chat_1", "chat_2")
SOURCES = ("one", "two")
events = st.tuples(st.integers(0, 40), st.sampled_from(SOURCES))


class SubscriberModel:
    """What a subscriber's account must be."""

    def __init__(self, start: int) -> None:
        self.start = self.cursor = start
        self.delivered = self.filtered = self.discarded = 0
        self.parked: dict[int, str] = {}
        """Sequence number → key hash, or ''."""
        self.queues: dict[str, list[int]] = {}
        """Key hash → its events in log order, the parked one first."""
        self.pushed_back: dict[int, str] = {}
        """Of the held ones, those of which an attempt was made, or may run: sequence number → key hash."""
        self.dead: set[int] = set()

    def held(self) -> set[int]:
        """Events that wait behind a parked one."""
        return {seq for queue in self.queues.values() for seq in queue[1:]}

    def end(self, seq: int) -> list[str]:
        """A parked event is one no longer: the next of its key follows. Returns the key, if it is free now."""
        key = self.parked.pop(seq, "") or self.pushed_back.pop(seq, "")
        if not key:
            return []
        queue = self.queues[key]
        queue.remove(seq)
        if queue:
            self.parked[queue[0]] = key
            self.pushed_back.pop(queue[0], None)
            return []
        del self.queues[key]
        return [key]

    def retry(self, seq: int, key: str) -> None:
        """A dead letter is tried again: it takes its place, and if it is the first one it is parked."""
        queue = self.queues.setdefault(key, []) if key else []
        first = queue[:1]
        queue.append(seq)
        queue.sort()
        if queue[0] != seq:
            self.pushed_back[seq] = key
            return
        self.parked[seq] = key
        for each in first:
            self.pushed_back[each] = self.parked.pop(each)


class StoreModel(RuleBasedStateMachine):
    """The log, the seen ids, and two subscribers."""

    server: StoreServer

    def __init__(self) -> None:
        super().__init__()
        server = self.server
        server.ask("FLUSHALL")
        self.runner = asyncio.Runner()
        self.store = Store(StoreSettings(url=server.url), server.url)
        self.partition = Partition(self.store)
        self.subscribers: dict[str, Subscriber] = {}
        self.epoch = self.run(Lease(self.store, self.partition.keys, "tester-0").take()).epoch
        self.log: list[str] = []
        """Names of all events ever logged, in order."""
        self.gone: set[int] = set()
        """Sequence numbers that were trimmed."""
        self.seen: set[str] = set()
        self.duplicates = 0
        self.requests = 0
        self.models: dict[str, SubscriberModel] = {}
        self.last_commit: tuple[int, list[NewEvent], list[int]] | None = None
        self.last_settle: dict[str, tuple[dict[str, Any], list[str]]] = {}

    def run(self, work: "Coroutine[Any, Any, T]") -> T:
        return self.runner.run(work)

    def teardown(self) -> None:
        self.run(self.store.close())
        self.runner.close()

    def key_of(self, name: str, seq: int) -> str:
        """The key hash an event has for a subscriber; a third of the events have none, and one of them no order."""
        key = KEYS[seq % 3] if name == "keyed" else None
        return hash_of(key) if key else ""

    # What can happen

    @rule(batch=st.lists(events, min_size=1, max_size=6))
    def commit(self, batch: list[tuple[int, str]]) -> None:
        """Some requests come, some of them again."""
        new = [event(f"{source}-{number}", source=source) for number, source in batch]
        wanted = []
        for each in new:
            if each.id in self.seen:
                self.duplicates += 1
                wanted.append(0)
            else:
                self.seen.add(each.id)
                self.log.append(each.id)
                wanted.append(len(self.log))
        self.requests += len(new)
        number = self.partition.log.next_batch()
        assert self.run(self.partition.commit(*new, number=number)) == wanted
        self.last_commit = (number, new, wanted)

    @precondition(lambda self: self.last_commit)
    @rule()
    def commit_repeated(self) -> None:
        """The reply was lost, and the committer asks again."""
        assert self.last_commit
        number, new, wanted = self.last_commit
        assert self.run(self.partition.commit(*new, number=number)) == wanted

    @rule()
    def committer_restarted(self) -> None:
        """Another process commits from here on, and numbers its batches from 1."""
        self.partition = Partition(self.store)
        self.last_commit = None

    @rule(name=st.sampled_from(NAMES), now=st.booleans())
    def subscribe(self, name: str, now: bool) -> None:
        """A subscriber comes, or comes back."""
        subscriber = Subscriber(self.partition, name, self.epoch)
        start = len(self.log) if now else 0
        model = self.models.setdefault(name, SubscriberModel(start))
        found = self.run(subscriber.store.subscribe("now" if now else 0, NOW_MS))
        assert found.seq == model.cursor
        if name not in self.subscribers:
            self.subscribers[name] = subscriber
            subscriber.cursor = found.seq

    @precondition(lambda self: self.subscribers)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        """Some of the events after the cursor have an outcome."""
        name, subscriber, model = self._pick(data)
        to = data.draw(st.integers(model.cursor, min(len(self.log), model.cursor + 8)), label="to")
        changes: list[Change] = []
        counts = {"delivered": 0, "filtered": 0, "discarded": 0}
        for seq in range(model.cursor + 1, to + 1):
            key = self.key_of(name, seq)
            if seq in self.gone:
                outcome = "discarded"
            elif key and key in model.queues:  # "park": its attempt ran when a dead letter came in front of it
                outcome = data.draw(st.sampled_from(["hold", "hold", "park", "filtered"]), label=f"outcome {seq}")
            else:
                outcome = data.draw(
                    st.sampled_from(["delivered", "filtered", "park", "dead", *(["hold"] if key else [])]),
                    label=f"outcome {seq}",
                )
            if outcome in counts:
                counts[outcome] += 1
                setattr(model, outcome, getattr(model, outcome) + 1)
            elif outcome == "dead":
                changes.append(dead(seq, key=key))
                model.dead.add(seq)
            else:
                changes.append(park(seq, key=key) if outcome == "park" else Change("hold", seq, key))
                if not (key and key in model.queues):  # one held behind nothing is parked
                    model.parked[seq] = key
                elif outcome == "park":
                    model.pushed_back[seq] = key
                if key:
                    model.queues.setdefault(key, []).append(seq)
        self._settle(name, subscriber, model, to, changes, counts, [])

    @precondition(lambda self: any(model.parked for model in self.models.values()))
    @rule(
        data=st.data(), operation=st.sampled_from(["done", "again", "bury", "drop"]), seqs=st.sets(st.integers(1, 60))
    )
    def end_parked(
        self, data: st.DataObject, operation: Literal["done", "again", "bury", "drop"], seqs: set[int]
    ) -> None:
        """Attempts of parked events end; and what is said of events that are not parked changes nothing."""
        name, subscriber, model = self._pick(data)
        if model.parked:
            tried = sorted({*model.parked, *model.pushed_back})
            seqs = {*seqs, data.draw(st.sampled_from(tried), label="parked")}
        changes, freed = [], []
        for seq in sorted(seqs):
            key = model.parked.get(seq, "") or model.pushed_back.get(seq, "")
            changes.append(
                again(seq, key=key)
                if operation == "again"
                else bury(seq, key=key)
                if operation == "bury"
                else Change(operation, seq, key)
            )
            if operation == "again" or not (seq in model.parked or key):
                continue
            freed += model.end(seq)
            if operation == "bury":
                model.dead.add(seq)
            else:
                attribute = "delivered" if operation == "done" else "discarded"
                setattr(model, attribute, getattr(model, attribute) + 1)
        self._settle(name, subscriber, model, model.cursor, changes, {}, freed)

    @precondition(lambda self: self.last_settle)
    @rule(data=st.data())
    def settle_repeated(self, data: st.DataObject) -> None:
        """The reply was lost, and the lane asks again."""
        name = data.draw(st.sampled_from(sorted(self.last_settle)), label="subscriber")
        arguments, freed = self.last_settle[name]
        assert self.run(self.subscribers[name].store.settle(**arguments)) == freed

    @precondition(lambda self: self.subscribers)
    @rule(data=st.data(), by=st.integers(-3, 3).filter(bool))
    def settle_from_elsewhere(self, data: st.DataObject, by: int) -> None:
        """Somebody thinks the cursor is where it is not."""
        _, subscriber, model = self._pick(data)
        with pytest.raises(LeaseLost):
            self.run(subscriber.settle(len(self.log), dead(1), cursor=model.cursor + by, delivered=3))

    @rule()
    def take_over(self) -> None:
        """Another process gets the partition; the former one can settle nothing more."""
        self.run(Lease(self.store, self.partition.keys, f"tester-{self.epoch - 1}").give_back())
        self.epoch = self.run(Lease(self.store, self.partition.keys, f"tester-{self.epoch}").take()).epoch
        for name, subscriber in self.subscribers.items():
            with pytest.raises(LeaseLost):
                self.run(subscriber.settle(None, Change("done", 1), delivered=1))
            successor = Subscriber(self.partition, name, self.epoch)
            successor.cursor = self.models[name].cursor
            self.subscribers[name] = successor
        self.last_settle.clear()

    @precondition(lambda self: any(model.dead for model in self.models.values()))
    @rule(data=st.data(), word=st.sampled_from(["retry", "drop"]))
    def move_dead(self, data: st.DataObject, word: Literal["retry", "drop"]) -> None:
        """An operator decides on dead letters."""
        name, _, model = self._pick(data)
        seqs = data.draw(st.sets(st.sampled_from(sorted(model.dead or {1})), min_size=1), label="seqs")
        moved = seqs & model.dead
        letters = DeadLetters(self.store, self.partition.keys, name)
        assert self.run(letters.move(word, sorted(seqs), NOW_MS)) == len(moved)
        model.dead -= moved
        if word == "drop":
            model.discarded += len(moved)
        else:
            for seq in moved:
                model.retry(seq, self.key_of(name, seq))

    @rule(seqs=st.sets(st.integers(1, 60), min_size=1))
    def trim(self, seqs: set[int]) -> None:
        """Retention wants these gone."""
        keys, partition = [], self.partition.keys
        for name in sorted(self.models):
            each = partition.subscriber(name)
            keys += [each.sub, each.parked, each.held, each.dead]
        free = {seq for seq in seqs if seq <= len(self.log)} - self.gone
        for model in self.models.values():
            free = {seq for seq in free if seq <= model.cursor} - set(model.parked) - model.held() - model.dead
        keys = [partition.state, partition.log, partition.subs, *keys]
        removed = self.run(self.store.script("trim", keys, [len(self.models), *sorted(seqs)]))
        assert removed == len(free)
        self.gone |= free

    # What always holds

    @invariant()
    def the_log_is_the_models(self) -> None:
        """Every event once, in order, until it is trimmed."""
        there = [name.removeprefix("evt_") for seq, name in enumerate(self.log, 1) if seq not in self.gone]
        assert self.run(self.partition.names()) == there

    @invariant()
    def the_account_is_the_models(self) -> None:
        """All terms, the equation, and the recount."""
        ledger = self.run(self.partition.ledger())
        assert ledger.unaccounted == 0
        assert (ledger.events.logged, ledger.events.duplicate) == (len(self.log), self.duplicates)
        assert ledger.requests.accepted == self.requests
        for name, model in self.models.items():
            line = msgspec.to_builtins(ledger.subscribers[name])
            assert line == {
                "offered": len(self.log) - model.start,
                "delivered": model.delivered,
                "filtered": model.filtered,
                "dead": len(model.dead),
                "discarded": model.discarded,
                "pending": len(self.log) - model.cursor + len(model.parked) + len(model.held()),
                "unaccounted": 0,
            }
        found = self.run(recount(self.store, self.partition.keys, set(self.models), len(self.log)))
        for name, model in self.models.items():
            each = found.subscribers[name]
            assert (each.parked, each.held, each.dead) == (len(model.parked), len(model.held()), len(model.dead))
            assert (each.broken, each.lost_references) == ((), ())

    @invariant()
    def what_waits_is_the_models(self) -> None:
        """The same events are parked and will come due, and the same keys are held."""
        for name, model in self.models.items():
            subscriber = self.subscribers[name]
            assert set(self.run(subscriber.due(NOW_MS * 2))) == set(model.parked)
            assert self.run(subscriber.store.held_keys()) == set(model.queues)
            for key, queue in model.queues.items():
                assert self.run(self.store.call("LRANGE", subscriber.keys.key_prefix + key, 0, -1)) == [
                    str(seq).encode() for seq in queue
                ]

    def _pick(self, data: st.DataObject) -> tuple[str, Subscriber, SubscriberModel]:
        name = data.draw(st.sampled_from(sorted(self.subscribers)), label="subscriber")
        return name, self.subscribers[name], self.models[name]

    def _settle(
        self,
        name: str,
        subscriber: Subscriber,
        model: SubscriberModel,
        to: int,
        changes: list[Change],
        counts: dict[str, int],
        freed: list[str],
    ) -> None:
        arguments: dict[str, Any] = {
            "number": subscriber.store.next_settle(),
            "epoch": self.epoch,
            "cursor_from": model.cursor,
            "cursor_to": to,
            "delivered": 0,
            "filtered": 0,
            "discarded": 0,
            **counts,
            "changes": changes,
            "now_ms": NOW_MS,
        }
        assert self.run(subscriber.store.settle(**arguments)) == freed
        model.cursor = subscriber.cursor = to
        self.last_settle[name] = (arguments, freed)


@pytest.mark.long
def test_the_store_does_what_the_model_says(server: StoreServer) -> None:
    """Commits, settles, retries, takeovers, dead letters and trimming in any order leave exactly what they should."""
    run_state_machine_as_test(
        type("StoreModel", (StoreModel,), {"server": server}),
        settings=settings(max_examples=max(1, settings().max_examples // 2), stateful_step_count=25, deadline=None),
    )
