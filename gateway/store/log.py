"""One partition's log: append a batch, read it, look an event up."""

import secrets
from collections.abc import Sequence
from typing import Any

import msgspec
from redis.exceptions import ResponseError

from gateway.errors import BatchRefused, StoreRefuses, StoreUnavailable
from gateway.store.connection import Store
from gateway.store.layout import Keys
from schemas.timestamps import parse_iso_ms

COMMITTER_TTL_S = 30 * 86_400
"""How long a batch that was committed, and waits in the spool all the same, is known."""

PAGE_BYTES = 4 * 1024 * 1024
"""About how much of a log is looked at in one step: a few milliseconds, and no more memory than that."""

REJECTED_CAP_BYTES = 16 * 1024 * 1024


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """An event on its way into the log."""

    id: str
    source: str
    seen_ttl_s: int
    """How long its id is remembered."""
    event_json: bytes
    raw_json: bytes


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a request that is kept with its exact bytes, in quarantine or among the rejected."""

    request: str
    source: str
    adapter: str
    received_at: str
    reason: str
    headers: tuple[tuple[str, str], ...]
    """Latin-1 text of names and values, as received."""
    client_ip: str | None
    verified: str | None = None
    """How it was proven; ``None`` for a rejected one."""
    path_token: bool = False
    """Whether a path token came with it (never which)."""
    body_bytes: int | None = None
    """Of the body that follows it in the store: ``torn.py`` compares. Set by ``commit``."""


class KeptRequest(msgspec.Struct, frozen=True):
    """A request for quarantine or for the rejected: what is known, and the exact body."""

    meta: Kept
    body: bytes


class Batch(msgspec.Struct):
    """What many requests bring to one partition in one step."""

    events: list[NewEvent]
    counts: list[tuple[str, str, int]]
    """Source, one of accepted ignored quarantined rejected, how many requests."""
    quarantined: list[KeptRequest]
    rejected: list[KeptRequest]
    doubtful: list[tuple[str, str, int]] = []
    """As ``counts``: what went with an earlier batch of the same committer, and counts only if that one is not in."""
    doubtful_number: int = 0
    """The number of that batch."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One entry of the log."""

    seq: int
    event_json: bytes
    raw_json: bytes


class Extent(msgspec.Struct, frozen=True):
    """How much a log holds."""

    seq: int
    """The last sequence number given."""
    entries: int
    log_bytes: int


class PartitionLog:
    """The log of one partition, as one process writes and reads it."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self.keys = keys
        self.committer = secrets.token_hex(8)
        """Who numbers the batches."""
        self._batch_number = 0

    def next_batch(self) -> int:
        """A number for a batch; repeat it to ask again after a lost reply, never use it for another batch."""
        self._batch_number += 1
        return self._batch_number

    def renew(self) -> None:
        """Number the batches under another id from now on: of the old one nothing more is committed but its spool."""
        self.committer = secrets.token_hex(8)

    async def commit(self, number: int, batch: Batch, *, committer: str | None = None) -> list[int]:
        """Append a batch durably. Returns a sequence number an event, 0 for a duplicate.

        ``committer``: who gave the number, where it was another process. Raises ``StoreUnavailable``: then the batch
        may be in or not, and the same number may be sent again; ``BatchRefused``.
        """
        try:
            reply = await self._store.script("commit", *self._call(committer or self.committer, number, batch))
        except ResponseError as error:
            raise _refusal(error) from None
        return _sequence(reply, batch)

    async def repeat(
        self, committer: str, batches: Sequence[tuple[int, Batch]]
    ) -> tuple[int, StoreUnavailable | BatchRefused | None]:
        """Append numbered batches that waited in the spool, each unless it is in, in their order and in one step.

        Returns how many of them are in, from the first, and why the next one is not; with no reason given the rest is
        to be asked for again. No later one is in before that: each goes only behind the one before it. Raises
        ``StoreUnavailable``: then nobody knows how many are in.
        """
        calls: list[tuple[list[str], list[Any]]] = []
        before: int | None = None
        for number, batch in batches:
            calls.append(self._call(committer, number, batch, before))
            before = number
        try:
            answers = await self._store.scripts("commit", calls)
        except ResponseError as error:
            raise _waiting(error) from None
        for at, ((_, batch), answer) in enumerate(zip(batches, answers, strict=True)):
            try:
                if not isinstance(answer, ResponseError):
                    _sequence(answer, batch)
                elif str(answer).startswith("GAP"):
                    return at, None
                elif not str(answer).startswith("LATE"):  # repeated in their order: one that comes late has been in
                    return at, _refusal(answer)
            except BatchRefused as error:
                return at, error
        return len(batches), None

    def _call(
        self, committer: str, number: int, batch: Batch, before: int | None = None
    ) -> tuple[list[str], list[Any]]:
        """Keys and arguments of a commit; with ``before``, one only behind the batch of that number."""
        keys, events = self.keys, batch.events
        sources = list(dict.fromkeys([event.source for event in events]))
        index = {source: at for at, source in enumerate(sources, 1)}
        must_be_in = "" if before is None else before
        args: list[Any] = [number, must_be_in, COMMITTER_TTL_S, REJECTED_CAP_BYTES, len(batch.counts)]
        args += _counters(batch.counts)
        args.append(len(sources))
        args += sources
        for event in events:
            args += (index[event.source], event.seen_ttl_s, event.event_json, event.raw_json)
        for kept in (batch.quarantined, batch.rejected):
            args.append(len(kept))
            for request in kept:
                meta = msgspec.structs.replace(request.meta, body_bytes=len(request.body))
                args += (msgspec.json.encode(meta), request.body)
        args += (batch.doubtful_number, len(batch.doubtful))
        args += _counters(batch.doubtful)
        own, prefix = keys.committer_prefix + committer, keys.seen_prefix
        fixed = [keys.state, keys.log, own, keys.quarantine, keys.rejected]
        return fixed + [prefix + event.id for event in events], args

    async def read(self, after: int, limit: int, *, block_ms: int | None = None) -> list[Entry]:
        """The next entries after a sequence number, oldest first; waits up to ``block_ms`` for the first one."""
        if block_ms is None:
            return _entries(await self._store.call("XRANGE", self.keys.log, f"{after + 1}-0", "+", "COUNT", limit))
        reply = await self._store.call(
            "XREAD", "COUNT", limit, "BLOCK", block_ms, "STREAMS", self.keys.log, f"{after}-0"
        )
        if not reply:
            return []
        return [entry for _, found in reply for entry in _entries(found)]

    async def read_back(self, before: int | None, limit: int) -> list[Entry]:
        """The entries before a sequence number (``None``: from the end), newest first."""
        start = "+" if before is None else f"({before}-0"
        return _entries(await self._store.call("XREVRANGE", self.keys.log, start, "-", "COUNT", limit))

    async def pick(self, seqs: Sequence[int]) -> dict[int, Entry]:
        """The entries with these sequence numbers; one that is no longer there is missing from the answer."""
        key = self.keys.log
        replies = await self._store.many([("XRANGE", key, f"{seq}-0", f"{seq}-0") for seq in seqs])
        return {entry.seq: entry for reply in replies for entry in _entries(reply)}

    async def find(self, event_id: str) -> Entry | None:
        """The entry of an event, or ``None`` if the log does not hold it (any more)."""
        seq = await self._store.call("GET", self.keys.seen_prefix + event_id)
        if seq is None:
            return None
        return (await self.pick([int(seq)])).get(int(seq))

    async def last_before(self, before_ms: int) -> int:
        """The last sequence number of an event received before a time; found by halving, as the log is in that order.

        Clocks may step back a little between processes; a subscriber that starts at a time may get a few events more.
        """
        low, high = 0, await self.last()
        while low < high:
            middle = (low + high) // 2
            entries = await self.read(middle, 1)
            if not entries:
                high = middle
                continue
            if received_ms(entries[0].event_json) < before_ms:
                low = entries[0].seq
            else:
                high = middle
        return low

    async def start_of(self, start: str) -> str | int:
        """Where a subscriber's ``start`` (``now``, ``beginning``, a time) lies: ``now``, or the sequence number before
        the first event it wants."""
        if start == "now":
            return "now"
        last = await self.last()  # asked first: what comes in between is read, not passed over
        first = await self.read(0, 1)
        if not first:
            return last
        if start == "beginning":
            return first[0].seq - 1
        wanted_ms = parse_iso_ms(start)
        assert wanted_ms is not None  # the configuration was checked
        return await self.last_before(wanted_ms)

    async def extent(self) -> "Extent":
        """How much there is."""
        (seq, log_bytes), entries = await self._store.many(
            [("HMGET", self.keys.state, "seq", "log_bytes"), ("XLEN", self.keys.log)]
        )
        return Extent(int(seq or 0), entries, int(log_bytes or 0))

    async def last(self) -> int:
        """The last sequence number given."""
        return int(await self._store.call("HGET", self.keys.state, "seq") or 0)


def _counters(counts: list[tuple[str, str, int]]) -> list[str | int]:
    return [each for source, outcome, count in counts for each in (f"q:{source}:{outcome}", count)]


def _sequence(reply: bytes, batch: Batch) -> list[int]:
    """The numbers in a reply. Raises ``BatchRefused`` where they are not this batch's."""
    sequence = [int(seq) for seq in reply.split(b",")] if reply else []
    if len(sequence) != len(batch.events):
        raise BatchRefused(f"a batch of {len(batch.events)} events was answered with {len(sequence)} numbers")
    return sequence


def _refusal(error: ResponseError) -> StoreUnavailable | BatchRefused:
    """What a refused commit means. About the batch itself are only words of our own script."""
    return BatchRefused(str(error)) if str(error).startswith(("EVENT", "LATE")) else _waiting(error)


def _waiting(error: ResponseError) -> StoreRefuses:
    """Everything else: rights, settings, a key of another kind. An operator can mend it, and then it goes on."""
    return StoreRefuses(f"the store refuses: {error}")


async def page_of(store: Store, keys: Keys, most: int) -> int:
    """How many entries make a page of about ``PAGE_BYTES``, at most ``most``: events can be large, all of them."""
    size, entries = await store.many([("HGET", keys.state, "log_bytes"), ("XLEN", keys.log)])
    mean = int(size or 0) // max(1, int(entries))
    return max(1, min(most, PAGE_BYTES // max(1, mean)))


class _Received(msgspec.Struct):
    received_at: str


_decode_received = msgspec.json.Decoder(_Received).decode


def received_ms(event_json: bytes) -> int:
    """When an event was received, in milliseconds since the epoch."""
    return parse_iso_ms(_decode_received(event_json).received_at) or 0


def _entries(reply: Any) -> list[Entry]:
    return [
        Entry(int(entry_id.partition(b"-")[0]), fields[1], fields[3])
        for entry_id, fields in reply
        if fields is not None
    ]
