"""The audit over HTTP: right about a healthy store, a damaged one, and one that is being worked on."""

import asyncio
import contextlib
from typing import Any

import msgspec

from gateway.config import StoreSettings
from gateway.operate.auditing import Look, reconcile, shaky_in
from gateway.store.ledger import Account, SubscriberAccount
from gateway.store.parked import Change, Parked, SubscriberStore
from gateway.store.recount import Recount, SubscriberRecount
from tests.operate.office import NOW_MS, Office, office


async def audit(at: Office) -> tuple[int, list[str]]:
    """What it says: unaccounted, and findings."""
    answer = (await at.reader.get("/api/audit")).json()
    assert set(answer) == {"ledger", "findings"}
    return answer["ledger"]["unaccounted"], answer["findings"]


def test_a_healthy_store_has_no_findings_and_a_deleted_entry_is_one(store_settings: StoreSettings) -> None:
    """0 before, 1 after one entry was deleted behind the gateway's back, with its number."""

    async def run() -> None:
        async with office(store_settings) as at:
            await at.subscribe("crm")
            for number in range(10):
                await at.log_event(number)
            await at.settle("crm", 10, delivered=10)
            assert await audit(at) == (0, [])
            await at.store.call("XDEL", at.keys[0].log, "4-0")
            unaccounted, findings = await audit(at)
            assert unaccounted == 1
            assert findings[0] == "partition 0: 1 of 10 log entries are gone, for one 4"

    asyncio.run(run())


def test_a_parked_event_that_lost_its_due_time_is_found(store_settings: StoreSettings) -> None:
    """Structures that contradict each other are a finding, though no count shows it."""

    async def run() -> None:
        async with office(store_settings) as at:
            await at.subscribe("crm")
            await at.log_event(0)
            info = msgspec.json.encode(Parked(attempt=1))
            await at.settle("crm", 1, Change("park", 1, at_ms=NOW_MS, info=info))
            assert await audit(at) == (0, [])
            await at.store.call("DEL", at.keys[0].subscriber("crm").due)
            _, findings = await audit(at)
            assert findings == ["crm: 1 parked without a due time, or the reverse"]

    asyncio.run(run())


def test_the_gateway_may_work_on_while_it_counts(store_settings: StoreSettings) -> None:
    """With events coming, being parked, delivered and trimmed all the time, a dozen audits in a row find nothing."""

    async def run() -> None:
        async with office(store_settings) as at:
            await at.subscribe("crm")
            keys = at.keys[0]
            crm = SubscriberStore(at.store, keys, "crm")
            lease = await at.store.script("lease", [keys.state], ["test/host/0/1/1/x", 60_000, ""])
            info = msgspec.json.encode(Parked(attempt=1, cause="http_500"))
            sub = keys.subscriber("crm")
            done = 0

            async def work() -> None:
                nonlocal done
                seq = 0
                while True:
                    await at.log_event(seq)
                    seq += 1
                    park = [Change("park", seq, at_ms=NOW_MS, info=info)] if seq % 2 else []
                    unpark = [Change("done", seq - back) for back in (7, 5, 3, 1)] if seq % 8 == 0 else []
                    await crm.settle(
                        crm.next_settle(), int(lease[1]), seq - 1, seq,
                        delivered=1 - len(park), filtered=0, discarded=0, changes=[*park, *unpark], now_ms=NOW_MS,
                    )  # fmt: skip
                    if seq > 10:
                        wanted = [keys.state, keys.log, keys.subs, sub.sub, sub.parked, sub.held, sub.dead]
                        await at.store.script("trim", wanted, [1, seq - 10])
                    done = seq

            worker = asyncio.create_task(work())
            try:
                audits = 0
                while audits < 12 or done < 50:
                    assert await audit(at) == (0, [])
                    audits += 1
            finally:
                worker.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await worker
            await at.store.call("XDEL", keys.log, f"{done - 1}-0")
            unaccounted, _ = await audit(at)
            assert unaccounted == 1

    asyncio.run(run())


def account(**numbers: int) -> Account:
    """A partition with one subscriber, ``crm``."""
    crm = SubscriberAccount(
        start=0, cursor=10, delivered=8, filtered=0, discarded=0, parked=numbers.pop("parked", 2), held=0, dead=0
    )
    given = {"seq": 10, "entries": 10, "trimmed": 0, "log_bytes": 0, "quarantined_now": 0} | numbers
    return Account(sources={}, latest={}, subscribers={"crm": crm}, **given)


def look(before: Account, after: Account, *, entries: int = 10, **found: Any) -> Look:
    """One look at it."""
    given: dict[str, Any] = {"parked": 2, "held": 0, "dead": 0, "lost_references": (), "broken": ()}
    crm = SubscriberRecount(**(given | found))
    return Look(before, Recount(entries=entries, missing=(), subscribers={"crm": crm}), after)


def test_what_came_after_the_count_began_is_no_lost_reference() -> None:
    """A parked event beyond the last sequence number counted is not missing from the log; one before it is."""
    same = account()
    _, found = reconcile(0, look(same, same, lost_references=(4, 11)), set())
    assert found.subscribers["crm"].lost_references == (4,)


def test_what_retention_removed_meanwhile_is_no_hole() -> None:
    """Up to the number trimmed between the looks; what is missing beyond that stays missing."""
    for entries, left in ((10, 0), (7, 0), (6, 1)):
        before, found = reconcile(0, look(account(), account(trimmed=3), entries=entries), set())
        assert before.seq - before.trimmed - found.entries == left


def test_a_contradiction_while_it_moves_counts_only_if_it_is_there_at_every_look() -> None:
    """Seen once in passing it is dropped, seen every time it stays; where nothing moves it counts at once."""
    still, moving = look(account(), account(), broken=("x",)), look(account(), account(parked=3), broken=("x",))
    assert shaky_in([still]) == set()
    assert shaky_in([moving]) == {(0, "crm")}
    assert reconcile(0, still, set())[1].subscribers["crm"].broken == ("x",)
    assert reconcile(0, moving, set())[1].subscribers["crm"].broken == ()
    assert reconcile(0, moving, {(0, "crm")})[1].subscribers["crm"].broken == ("x",)


def test_counts_of_a_moving_subscriber_come_from_one_step() -> None:
    """What was recounted while it moved belongs to another moment than its counters, so it is not mixed with them."""
    _, found = reconcile(0, look(account(), account(parked=3), parked=3), set())
    assert found.subscribers["crm"].parked == 2
    _, found = reconcile(0, look(account(), account(), parked=3), set())
    assert found.subscribers["crm"].parked == 3
