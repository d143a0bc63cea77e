"""Which partitions a process wants: fair shares, few moves, no waiting for the dead."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from gateway.config import StoreSettings
from gateway.delivery import sharing as sharing_module
from gateway.delivery.sharing import Sharing, share
from gateway.store.connection import Store
from gateway.store.deliverers import Deliverers, Holdings
from gateway.store.layout import Keys, tags
from gateway.store.lease import Lease, owner_name
from tests.support.delivering import until
from tests.support.stores import StoreServer

OWNERS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True)


@given(OWNERS, st.data())
def test_shares_are_fair_and_no_partition_is_wanted_twice_or_by_nobody(owners: list[str], data: st.DataObject) -> None:
    """From any state all partitions are wanted, each once, in shares that differ by one at most."""
    holders = data.draw(st.lists(st.sampled_from([*owners, ""]), min_size=1, max_size=16))
    shares = {owner: share(holders, owners, owner) for owner in owners}
    # What one gives back is free only for the next look, so it need not be wanted at this one.
    surplus = {at for at, holder in enumerate(holders) if holder and at not in shares[holder]}
    wanted = [at for each in shares.values() for at in each]
    assert sorted([*wanted, *surplus]) == list(range(len(holders)))
    after = ["" if at in surplus else next(o for o in owners if at in shares[o]) for at in range(len(holders))]
    settled = {owner: share(after, owners, owner) for owner in owners}
    sizes = [len(each) for each in settled.values()]
    assert max(sizes) - min(sizes) <= 1
    assert sorted(at for each in settled.values() for at in each) == list(range(len(holders)))
    for owner in owners:
        assert {at for at, holder in enumerate(after) if holder == owner} <= settled[owner], "what is fair stays"


def test_one_partition_stays_where_it_is() -> None:
    """Whoever came first keeps it, whatever the names; the others wait."""
    for holder, other in (("a", "b"), ("b", "a")):
        assert share([holder], {"a", "b"}, holder) == {0}
        assert share([holder], {"a", "b"}, other) == set()


class Wish:
    """A reader that remembers what it was told."""

    def __init__(self) -> None:
        self.wanted = True

    def want(self, wanted: bool) -> None:
        """Remember."""
        self.wanted = wanted


def test_who_is_gone_has_no_share_and_who_leaves_needs_not_be_waited_for(server: StoreServer) -> None:
    """A process of this machine that died counts no longer, though its lease runs; one that left neither; one of
    another machine, of which nothing is known, does until its time is over."""

    async def run() -> None:
        store = Store(StoreSettings(url=server.url), server.url)
        await store.call("FLUSHALL")
        keys = [Keys(tag) for tag in tags(4)]
        me = owner_name()
        parts = me.split("/")
        dead = "/".join([*parts[:3], "4194304", "1", "ab"])
        elsewhere = "/".join(["another-machine", *parts[1:]])
        try:
            for each in keys:
                assert (await Lease(store, each, dead).take()).ours
            await Deliverers(store, keys, dead).look()
            wishes = [Wish() for _ in keys]
            sharing = Sharing(Deliverers(store, keys, me), wishes)
            await sharing.start()
            assert [each.wanted for each in wishes] == [True] * 4
            other = Deliverers(store, keys, elsewhere)
            await other.look()
            await sharing._look()
            assert sum(each.wanted for each in wishes) == 2
            await other.leave()
            await sharing._look()
            assert [each.wanted for each in wishes] == [True] * 4
            await sharing.stop()
            found = await other.look()
            assert found.owners == {elsewhere}
            assert found.holders == [""] * 4
        finally:
            await store.close()

    asyncio.run(run())


def test_a_store_that_is_away_changes_no_share() -> None:
    """At the start each wants all, and the leases decide; later it keeps what it had."""

    async def run() -> None:
        store = Store(StoreSettings(url="embedded:"), "unix:///nowhere/valkey.sock")
        keys = [Keys(tag) for tag in tags(2)]
        wishes = [Wish(), Wish()]
        sharing = Sharing(Deliverers(store, keys, owner_name()), wishes)
        await sharing.start()
        assert [each.wanted for each in wishes] == [True, True]
        await sharing.stop()
        await store.close()

    asyncio.run(run())


def test_a_look_that_ends_in_a_defect_is_not_the_last(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the store says to one look, the next one comes, and the share follows."""
    monkeypatch.setattr(sharing_module, "LOOK_S", 0.01)

    async def run() -> None:
        async with server.store() as store:
            keys = [Keys(tag) for tag in tags(2)]
            wishes = [Wish(), Wish()]
            deliverers, refused = Deliverers(store, keys, owner_name()), 0
            look = deliverers.look

            async def watched() -> Holdings:
                nonlocal refused
                try:
                    return await look()
                except ResponseError:
                    refused += 1
                    raise

            monkeypatch.setattr(deliverers, "look", watched)
            sharing = Sharing(deliverers, wishes)
            await sharing.start()
            await store.call("DEL", keys[0].deliverers)
            await store.call("SET", keys[0].deliverers, "somebody else's")  # WRONGTYPE, which is none of ours
            await until(lambda: refused > 1)
            await store.call("DEL", keys[0].deliverers)
            await Deliverers(store, keys, "another-machine/b/0/1/1/x").look()
            await until(lambda: sum(each.wanted for each in wishes) == 1)
            await sharing.stop()

    asyncio.run(run())
