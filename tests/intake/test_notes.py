"""Counts of rejected requests: none is counted twice, whatever became of the batch it went with, and few get lost."""

import asyncio
from pathlib import Path

import pytest

from gateway.errors import StoreUnavailable
from gateway.intake import committer as committer_module
from gateway.intake import notes as notes_module
from gateway.intake.committer import Committer
from gateway.intake.notes import Doubt, Notes
from tests.intake.committing import Room, room
from tests.intake.drained import until
from tests.store.partition import SOURCE, kept
from tests.support.stores import StoreServer

REJECTED = (SOURCE, "rejected")


async def given_up(made: Room, *, is_in: bool) -> None:
    """A batch with a note that neither store nor spool was seen to take."""
    await made.ask("warm")
    limit_bytes, made.spool.limit_bytes = made.spool.limit_bytes, 0
    if is_in:
        made.proxy.lose_replies = committer_module.SPOOL_TRIES
    else:
        made.proxy.refuse = True
        made.proxy.cut()
    made.committer.note(*REJECTED, number=3)
    with pytest.raises(StoreUnavailable):
        await made.ask("b")
    made.proxy.refuse = False
    made.spool.limit_bytes = limit_bytes


@pytest.mark.parametrize("through_spool", [False, True])
@pytest.mark.parametrize("is_in", [True, False])
def test_what_went_with_a_batch_that_was_given_up_is_counted_once(
    valkey: StoreServer, tmp_path: Path, is_in: bool, through_spool: bool
) -> None:
    """It was in and its reply lost, or it was not; the next batch goes to the store, or through the spool."""

    async def check() -> None:
        async with room(valkey, tmp_path) as made:
            await given_up(made, is_in=is_in)
            assert await made.rejected() == (3 if is_in else 0)
            made.committer.note(*REJECTED)  # waits behind the doubt
            made.spool.must_wait = through_spool
            assert await made.ask("c") == [committer_module.SPOOLED if through_spool else 3 if is_in else 2]
            made.spool.must_wait = False
            await made.process.drain()
            async with asyncio.timeout(20):
                while await made.rejected() != 4:
                    await asyncio.sleep(0.01)
            assert (await made.partition.ledger()).unaccounted == 0
        assert not made.committer._notes.counts_wait

    asyncio.run(check())


def test_without_the_doubt_it_is_counted_twice(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: what went with the failed batch is taken for new."""

    def again(notes: Notes, _committer: str, _number: int, counts: notes_module.Counts) -> None:
        for (source, outcome), number in counts.items():
            notes.add(source, outcome, None, number)

    monkeypatch.setattr(Notes, "failed", again)

    async def check() -> None:
        async with room(valkey, tmp_path) as made:
            await given_up(made, is_in=True)
            await made.ask("c")
            assert await made.rejected() == 6

    asyncio.run(check())


def test_a_doubt_outlives_another_failure(valkey: StoreServer, tmp_path: Path) -> None:
    """The batch that took it along was not in either: it goes again, alone, and at a stop at the latest."""

    async def check() -> None:
        async with room(valkey, tmp_path) as made:
            await given_up(made, is_in=False)
            limit_bytes, made.spool.limit_bytes = made.spool.limit_bytes, 0
            made.proxy.refuse = True
            made.proxy.cut()
            with pytest.raises(StoreUnavailable):
                await made.ask("c")
            assert made.committer.batches == 1
            made.proxy.refuse = False
            made.spool.limit_bytes = limit_bytes
            await made.committer.close()
            assert await made.rejected() == 3

    asyncio.run(check())


def test_at_a_stop_everything_goes_also_what_waits_behind_a_doubt(valkey: StoreServer, tmp_path: Path) -> None:
    """The doubtful first, then the rest."""

    async def check() -> None:
        async with room(valkey, tmp_path) as made:
            await given_up(made, is_in=True)
            made.committer.note(*REJECTED)
            await made.committer.close()
            assert await made.rejected() == 4

    asyncio.run(check())


def test_counts_alone_go_to_the_spool_now_and_then(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash costs those of a few seconds; a flood of them is a row now and then, and its bodies stay in memory."""
    monkeypatch.setattr(committer_module, "NOTES_AGAIN_S", 0.01)
    asked: list[bool] = []
    may = Committer._may_spool_notes

    def watched(committer: Committer) -> bool:
        asked.append(may(committer))
        return asked[-1]

    monkeypatch.setattr(Committer, "_may_spool_notes", watched)

    async def check() -> None:
        async with room(valkey, tmp_path) as made:
            made.spool.must_wait = True
            for round_ in (1, 2):
                for _ in range(100):
                    made.committer.note(*REJECTED, kept(b"r" * 50_000))
                await until(lambda wanted=round_: made.spool.own.rows == wanted)  # type: ignore[misc]  # no type for it
                assert made.spool.own.requests == 100 * round_
                made.committer.note(*REJECTED, number=0)
                await until(lambda: asked[-3:] == [False] * 3)
                assert made.spool.own.rows == round_, "not before its time"
                made.ahead_s += committer_module.NOTES_SPOOLED_S
            await until(lambda: made.spool.own.rows == 3)
            assert made.spool.own.bytes < 2_000
            made.spool.must_wait = False
            await made.process.drain()
            async with asyncio.timeout(20):
                while await made.partition.store.call("XLEN", made.partition.keys.rejected) < notes_module.MAX_BODIES:
                    await asyncio.sleep(0.01)
            assert await made.rejected() == 200

    asyncio.run(check())


def test_one_doubt_is_remembered_and_newer_ones_wait() -> None:
    """It ends when its counts arrived, or when their committer is gone."""
    notes = Notes()
    assert notes.take("c") == ({}, None)
    notes.add("s", "rejected", None, 2)
    assert notes.take("c") == ({("s", "rejected"): 2}, None)
    notes.failed("c", 7, {("s", "rejected"): 2})
    notes.failed("c", 8, {})
    notes.add("s", "rejected", None, 1)
    doubt = Doubt("c", 7, {("s", "rejected"): 2})
    assert notes.take("c") == ({}, doubt)
    notes.arrived(None)
    assert (notes.in_doubt, notes.take("c")) == (True, ({}, doubt))
    notes.arrived(doubt)
    assert notes.take("c") == ({("s", "rejected"): 1}, None)
    notes.failed("c", 9, {("s", "rejected"): 5})
    assert notes.take("d") == ({("s", "rejected"): 5}, None)
    assert not notes.counts_wait
