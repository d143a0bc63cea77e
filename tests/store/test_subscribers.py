"""Subscribers made through the API, as the store keeps them; and what is left of one that is forgotten."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.store.changes import Change as Told
from gateway.store.changes import Changes
from gateway.store.layout import Keys
from gateway.store.parked import Change, Parked, SubscriberStore
from gateway.store.subscribers import FORGETTING, StoredSubscribers
from tests.store.partition import forget
from tests.support.delivering import Rig, rig
from tests.support.stores import StoreServer

CHANGE = Told(at_ms=1, who="ops", role="operate", what="subscriber.change", subject="crm")


def test_a_change_counts_only_if_nobody_was_faster(tmp_path: Path) -> None:
    """Create, change and delete name what they replace; each one that is done counts the version up."""

    async def run() -> None:
        async with rig(tmp_path) as at:
            stored = StoredSubscribers(at.store, [at.keys])
            assert (await stored.read()).version == 0
            assert await stored.swap("crm", None, b'{"a":1}', CHANGE)
            assert not await stored.swap("crm", None, b'{"a":2}', CHANGE), "it was there already"
            assert await stored.swap("crm", b'{"a":1}', b'{"a":3}', CHANGE)
            assert not await stored.swap("crm", b'{"a":1}', None, CHANGE), "it was changed meanwhile"
            found = await stored.read()
            assert (found.version, found.settings) == (2, {"crm": b'{"a":3}'})
            assert await stored.swap("crm", b'{"a":3}', None, CHANGE)
            assert (await stored.version(), await stored.get("crm")) == (3, None)
            told = await Changes(at.store, at.keys).list(None, 10)
            assert [each.change for each in told] == [CHANGE] * 3, "told of what was done, and of nothing else"

    asyncio.run(run())


async def _leave_traces(at: Rig, name: str) -> None:
    """A cursor, a parked event with one held behind it, and a dead letter."""
    state = await at.store.script("lease", [at.keys.state], ["test/host/0/1/1/x", 10_000, ""])
    subscriber = SubscriberStore(at.store, at.keys, name)
    await subscriber.subscribe(0, 1)
    parked = msgspec.json.encode(Parked(attempt=1, key="abc", detail='"key":"def"'))
    changes = [
        Change("park", 1, "abc", 5_000, parked),
        Change("hold", 2, "abc"),
        Change("dead", 3, at_ms=1, info=b"{}", answer=b"no"),
    ]
    await subscriber.settle(1, int(state[1]), 0, 3, delivered=0, filtered=0, discarded=0, changes=changes, now_ms=1)


def test_forgetting_leaves_nothing_of_one_and_everything_of_the_others(tmp_path: Path) -> None:
    """No key of the subscriber is left, nor its line in the account; its neighbour's are untouched."""

    async def run() -> None:
        async with rig(tmp_path) as at:
            await at.append(3)
            await _leave_traces(at, "crm")
            await _leave_traces(at, "crm-2")
            stored = StoredSubscribers(at.store, [at.keys])
            before = await at.store.call("KEYS", "{0}:sub:crm-2*")
            assert len(await at.store.call("KEYS", "{0}:sub:crm*")) == 2 * len(before) == 14
            await forget(stored, "crm")
            assert sorted(await at.store.call("KEYS", "{0}:sub:*")) == sorted(before)
            assert set((await at.ledger()).subscribers) == {"crm-2"}
            assert (await at.audited())[0] == 0

    asyncio.run(run())


@pytest.mark.parametrize("done", [0, 1, 2])
def test_forgetting_ends_where_somebody_takes_it_back(
    server: StoreServer, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    """Whatever partition it comes to, it looks before; what the others know of the subscriber stays."""

    async def check() -> None:
        async with server.store() as store:
            keys = [Keys("0"), Keys("1"), Keys("2")]
            stored = StoredSubscribers(store, keys)
            for each in keys:
                await SubscriberStore(store, each, "crm").subscribe(0, 1)
            await stored.swap("crm", None, FORGETTING, CHANGE)
            script, begun = store.script, 0

            async def taking_back(name: str, *rest: Any) -> Any:
                nonlocal begun
                if name == "forget" and begun == done == 0:
                    await store.call("HDEL", keys[0].subscribers, "crm")
                reply = await script(name, *rest)
                begun += name == "forget"
                if name == "forget" and begun == done:
                    await store.call("HDEL", keys[0].subscribers, "crm")
                return reply

            monkeypatch.setattr(store, "script", taking_back)
            assert not await stored.forget("crm")
            left = [await store.call("SMEMBERS", each.subs) for each in keys]
            assert left == [[]] * done + [[b"crm"]] * (3 - done)

    asyncio.run(check())
