"""A committer that has a spool: when it goes there, with what, and what it says where neither takes a batch."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from gateway.errors import StoreUnavailable
from gateway.intake import committer as committer_module
from gateway.intake.committer import SPOOL_TRIES, SPOOLED
from gateway.intake.draining import EVER_MS
from gateway.intake.spool_file import Row
from gateway.store.log import PartitionLog
from tests.intake.committing import ACCEPTED, Room, room
from tests.store.partition import SOURCE, event, kept
from tests.support.stores import StoreServer


def rows(made: Room) -> list[Row]:
    """What waits in the spool."""
    assert made.spool.file is not None
    return made.spool.file.read(set(), EVER_MS, 99, 1 << 30)[0]


def away(made: Room) -> None:
    """Take the store away."""
    made.proxy.refuse = True
    made.proxy.cut()


def test_what_the_store_does_not_take_goes_to_the_spool_as_it_is(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the number it was sent with, asked for so many times and no more; without the bodies of the rejected."""
    asked: list[int] = []
    commit = PartitionLog.commit

    async def watched(log: PartitionLog, number: int, batch: object, **named: object) -> object:
        asked.append(number)
        return await commit(log, number, batch, **named)  # type: ignore[arg-type]  # handed on as it came

    monkeypatch.setattr(PartitionLog, "commit", watched)

    async def check() -> None:
        async with room(valkey, tmp_path) as made:
            assert await made.ask("a") == [1]
            away(made)
            made.committer.note(SOURCE, "rejected", kept(b"r" * 50_000))
            quarantined = made.committer.submit([], count=(SOURCE, "quarantined"), quarantined=kept(b"q"))
            assert await made.ask("b", "c") == [SPOOLED, SPOOLED]
            assert SPOOLED < 0, "neither a duplicate nor in the log"
            assert await quarantined == []
            assert asked == [1] + [2] * SPOOL_TRIES
            (row,) = rows(made)
            assert (row.committer, row.number, row.partition) == (made.process.log.committer, 2, 0)
            assert [each.id for each in row.batch.events] == ["evt_b", "evt_c"]
            assert row.batch.rejected == []
            assert [each.body for each in row.batch.quarantined] == [b"q"]
            assert sorted(row.batch.counts) == [
                (SOURCE, "accepted", 1),
                (SOURCE, "quarantined", 1),
                (SOURCE, "rejected", 1),
            ]
            assert "did not answer" in made.spool.away_why
            assert (made.committer.batches, made.committer.committed) == (2, 3)

    asyncio.run(check())


def test_as_long_as_something_waits_there_the_store_is_not_asked(valkey: StoreServer, tmp_path: Path) -> None:
    """Each goes behind it, after it has let the drainer get ahead; and then back to the store."""
    paced: list[int] = []

    async def check() -> None:
        async with room(valkey, tmp_path) as made:

            async def pace() -> None:
                paced.append(made.spool.own.rows)

            made.spool.pace = pace  # type: ignore[method-assign]  # it looks, and does not wait
            made.spool.must_wait = True
            scripts = made.proxy.scripts
            assert [await made.ask(name) for name in "ab"] == [[SPOOLED], [SPOOLED]]
            assert (made.proxy.scripts, paced) == (scripts, [0, 1])
            made.spool.must_wait = False
            assert await made.ask("c") == [SPOOLED]
            await made.process.drain()
            assert await made.ask("d") == [4]
            assert paced == [0, 1, 2]
            assert await made.partition.names() == ["a", "b", "c", "d"]

    asyncio.run(check())


def test_where_neither_takes_it_both_reasons_are_said(valkey: StoreServer, tmp_path: Path) -> None:
    """The provider gets a 503 and comes again; the next batch is tried anew."""

    async def check() -> None:
        async with room(valkey, tmp_path) as made:
            limit_bytes, made.spool.limit_bytes = made.spool.limit_bytes, 0
            away(made)
            with pytest.raises(StoreUnavailable, match=r"did not answer.*; the spool holds 0 bytes"):
                await made.ask("a")
            made.spool.must_wait = True
            with pytest.raises(StoreUnavailable, match="the store cannot be used; the spool holds 0 bytes"):
                await made.ask("a")
            made.spool.limit_bytes = limit_bytes
            assert await made.ask("a") == [SPOOLED]

    asyncio.run(check())


def test_a_batch_that_the_store_never_takes_is_not_taken_over(valkey: StoreServer, tmp_path: Path) -> None:
    """It would be answered 200 and then lie aside for ever; the store is not called away for it."""

    async def check() -> None:
        async with room(valkey, tmp_path) as made:
            ill = msgspec.structs.replace(event("a"), seen_ttl_s=-1)
            with pytest.raises(StoreUnavailable, match="not committed: EVENT"):
                await made.committer.submit([ill], count=ACCEPTED)
            assert rows(made) == []
            assert made.spool.away_since_ms is None
            assert await made.ask("b") == [1]

    asyncio.run(check())


def test_a_store_without_a_spool_is_asked_until_the_time_is_up(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not so many times, but so long, with pauses."""
    monkeypatch.setattr(committer_module, "RETRY_PAUSE_S", 0.01)

    async def check() -> None:
        async with room(valkey, tmp_path) as made:
            made.committer._spool = None
            monkeypatch.setattr(committer_module, "GIVE_UP_S", 5.0)
            made.proxy.lose_replies = SPOOL_TRIES + 2
            assert await made.ask("a") == [1]
            assert (await made.partition.ledger()).requests.accepted == 1

    asyncio.run(check())
