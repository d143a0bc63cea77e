"""One partition as the tests of this folder use it: short words for committing, leasing and settling."""

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.store.connection import Store
from gateway.store.firsts import First
from gateway.store.layout import Keys, key_hash
from gateway.store.lease import Lease
from gateway.store.ledger import Account, Ledger, make_ledger, read_account
from gateway.store.log import Batch, Entry, Kept, KeptRequest, NewEvent, PartitionLog
from gateway.store.parked import Change, Cursor, Parked, SubscriberStore
from gateway.store.subscribers import FORGETTING, StoredSubscribers
from schemas.timestamps import format_ms

NOW_MS = 1_770_120_000_000
SOURCE = "enviaai-br"


def event(
    name: str,
    *,
    source: str = SOURCE,
    key: str | None = None,
    received_ms: int = NOW_MS,
    pad_bytes: int = 0,
    seen_ttl_s: int = 3_600,
) -> NewEvent:
    """An event with the fields that the store and delivery read."""
    head = {
        "id": f"evt_{name}",
        "type": "message.received",
        "source": source,
        "ordering_key": key,
        "received_at": format_ms(received_ms),
    }
    return NewEvent(f"evt_{name}", source, seen_ttl_s, msgspec.json.encode(head), b'"' + b"x" * pad_bytes + b'"')


def kept(body: bytes, reason: str = "test") -> KeptRequest:
    """A request with its exact body."""
    meta = Kept(
        request="req_1",
        source=SOURCE,
        adapter="enviaai",
        received_at=format_ms(NOW_MS),
        reason=reason,
        headers=(("content-type", "application/json"),),
        client_ip=None,
    )
    return KeptRequest(meta, body)


class Partition:
    """A partition of a store, and one process's way to it."""

    def __init__(self, store: Store, tag: str = "0") -> None:
        self.store = store
        self.keys = Keys(tag)
        self.log = PartitionLog(store, self.keys)

    async def commit(
        self,
        *events: NewEvent,
        number: int | None = None,
        quarantined: tuple[KeptRequest, ...] = (),
        rejected: tuple[KeptRequest, ...] = (),
        counts: list[tuple[str, str, int]] | None = None,
    ) -> list[int]:
        """Commit a batch as the committer would: one request accepted an event, unless ``counts`` says otherwise."""
        if counts is None:
            counts = [(each.source, "accepted", 1) for each in events]
        batch = Batch(list(events), counts, list(quarantined), list(rejected))
        return await self.log.commit(self.log.next_batch() if number is None else number, batch)

    async def names(self) -> list[str]:
        """Of the events in the log, in order."""
        return [name_of(entry) for entry in await self.log.read(0, 10_000)]

    async def account(self) -> Account:
        """The partition's numbers with all subscribers it knows."""
        names = {name.decode() for name in await self.store.call("SMEMBERS", self.keys.subs)}
        return await read_account(self.store, self.keys, names)

    async def ledger(self) -> Ledger:
        """The account of a store that has only this partition."""
        return make_ledger([await self.account()], NOW_MS)

    async def subscriber(self, name: str = "crm", start: str | int = 0) -> "Subscriber":
        """A subscriber with its cursor and a lease to settle with."""
        held = await Lease(self.store, self.keys, "tester").take()
        assert held.ours
        made = Subscriber(self, name, held.epoch)
        made.cursor = (await made.store.subscribe(start, NOW_MS)).seq
        return made


async def forget(stored: StoredSubscribers, name: str) -> None:
    """Forget a subscriber as an operator does."""
    assert await stored.swap(name, None, FORGETTING, None)
    assert await stored.forget(name)


class Subscriber:
    """A subscriber of a partition, and where a test knows its cursor to be."""

    def __init__(self, partition: Partition, name: str, epoch: int) -> None:
        self.partition = partition
        self.store = SubscriberStore(partition.store, partition.keys, name)
        self.keys = self.store.keys
        self.epoch = epoch
        self.cursor = 0

    async def settle(
        self,
        to: int | None,
        *changes: Change,
        number: int | None = None,
        epoch: int | None = None,
        cursor: int | None = None,
        delivered: int = 0,
        filtered: int = 0,
        discarded: int = 0,
        firsts: Sequence[First] = (),
    ) -> list[str]:
        """Settle up to ``to`` (``None``: the cursor stays). What is not said is what a correct caller would say."""
        target = self.cursor if to is None else to
        freed = await self.store.settle(
            self.store.next_settle() if number is None else number,
            self.epoch if epoch is None else epoch,
            self.cursor if cursor is None else cursor,
            target,
            delivered=delivered,
            filtered=filtered,
            discarded=discarded,
            changes=changes,
            now_ms=NOW_MS,
            firsts=firsts,
        )
        self.cursor = target
        return freed

    async def line(self) -> dict[str, int]:
        """Its line of the ledger."""
        account = await self.partition.account()
        line: dict[str, int] = msgspec.to_builtins(account.subscribers[self.store.name].lines(account.seq))
        return line

    async def due(self, now_ms: int = NOW_MS) -> list[int]:
        """Sequence numbers whose time has come."""
        found, _ = await self.store.due(now_ms, 100, set())
        return [each.seq for each in found]

    async def again(self) -> Cursor:
        """Subscribe once more, as a restarted process does."""
        return await self.store.subscribe("now", NOW_MS)


def name_of(entry: Entry) -> str:
    """The name an event was made with."""
    identity: str = msgspec.json.decode(entry.event_json)["id"]
    return identity.removeprefix("evt_")


def hash_of(key: str) -> str:
    """The hash of an ordering key of the tests' source."""
    return key_hash(SOURCE, key)


def park(seq: int, *, key: str = "", at_ms: int = NOW_MS + 5_000, attempt: int = 1) -> Change:
    """A failed attempt, to be made again at ``at_ms``."""
    return Change("park", seq, key, at_ms, msgspec.json.encode(Parked(attempt=attempt, key=key)))


def again(seq: int, *, key: str = "", at_ms: int = NOW_MS + 9_000, attempt: int = 2) -> Change:
    """A failed attempt of a parked event."""
    return Change("again", seq, key, at_ms, msgspec.json.encode(Parked(attempt=attempt, key=key)))


def letter(seq: int, **fields: Any) -> bytes:
    """What is kept of a dead letter."""
    given = {"event_id": "evt_x", "event_type": "message.received", "subscriber": "crm", "cause": "http_500", **fields}
    rest = {"status": 500, "detail": "", "attempts": 3, "first_failed_ms": NOW_MS, "died_ms": NOW_MS}
    return msgspec.json.encode({"seq": seq, **rest, **given})


def dead(seq: int, answer: bytes = b"", *, key: str = "") -> Change:
    """A first attempt that no other follows."""
    return Change("dead", seq, "", NOW_MS, letter(seq, **({"key": key} if key else {})), answer)


def bury(seq: int, *, key: str = "", answer: bytes = b"") -> Change:
    """The last attempt of a parked event failed."""
    return Change("bury", seq, key, NOW_MS, letter(seq, **({"key": key} if key else {})), answer)
