"""The end of the embedded store's log: torn is cut off, damaged is refused in words."""

import asyncio
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config import StoreSettings
from gateway.errors import StoreUnavailable
from gateway.store.connection import Store
from gateway.store.embedded import EmbeddedStore, server_binary
from gateway.store.recount import recount
from gateway.store.torn import cut_torn_end, newest_log
from tests.store.partition import Partition, event

EVENTS = 12
TAIL_BYTES = 200
SAMPLES = 12


@pytest.fixture(scope="module")
def killed() -> Iterator[Path]:
    """The directory of a store that was killed after so many acknowledged batches of two events."""
    with tempfile.TemporaryDirectory(prefix="gateway-torn-") as folder:
        data = Path(folder) / "data"

        async def fill() -> None:
            embedded = EmbeddedStore(StoreSettings(url=f"embedded:{data}"))
            await embedded.start()
            store = Store(embedded.settings, embedded.url)
            partition = Partition(store)
            for number in range(EVENTS):
                await partition.commit(event(f"{number}"), event(f"{number}-b"))
            await store.close()
            assert embedded.child is not None
            embedded.child.kill()
            await embedded.stop()

        asyncio.run(fill())
        yield data


@pytest.fixture
def data(killed: Path) -> Iterator[Path]:
    """A copy of it for one test."""
    with tempfile.TemporaryDirectory(prefix="gateway-torn-") as folder:
        copy = Path(folder) / "data"
        shutil.copytree(killed, copy, ignore=shutil.ignore_patterns("valkey.sock", "ballast"))
        yield copy


def names(data: Path) -> tuple[list[str], int]:
    """Start the store on the directory: the events in the log, and how many its counters know."""

    async def read() -> tuple[list[str], int]:
        embedded = EmbeddedStore(StoreSettings(url=f"embedded:{data}"))
        try:
            await embedded.start()
            store = Store(embedded.settings, embedded.url)
            try:
                partition = Partition(store)
                account = await partition.account()
                assert (await partition.ledger()).unaccounted == 0
                counted = await recount(store, partition.keys, set(), account.seq)
                return await partition.names(), counted.entries
            finally:
                await store.close()
        finally:
            await embedded.stop()

    return asyncio.run(read())


def written(batches: int) -> list[str]:
    """The names of the events of so many batches."""
    return [name for number in range(batches) for name in (f"{number}", f"{number}-b")]


def test_a_torn_end_costs_only_what_was_not_acknowledged(data: Path) -> None:
    """Wherever in its last bytes the last record ends, the store starts by itself, with all batches before it and
    nothing of the torn one: never half a batch."""
    path = newest_log(data)
    whole = path.read_bytes()
    chance = random.Random(7)
    for missing in sorted({1, 14, TAIL_BYTES, *chance.sample(range(1, TAIL_BYTES), SAMPLES)}):
        path.write_bytes(whole[:-missing])
        assert cut_torn_end(data, server_binary()) > 0
        path.write_bytes(whole[:-missing])
        if missing % 3 == 1:  # the whole way takes a while
            assert names(data) == (written(EVENTS - 1), 2 * (EVENTS - 1))


def test_a_whole_end_stays_whole(data: Path) -> None:
    """The control: nothing is cut from a log that nothing interrupted."""
    assert cut_torn_end(data, server_binary()) == 0
    assert names(data) == (written(EVENTS), 2 * EVENTS)


@pytest.mark.parametrize("part", [0.3, 0.9, 1.0])
def test_a_damaged_length_is_refused_in_words(data: Path, part: float) -> None:
    """What follows it was acknowledged: the store does not start, says where and what to do, and changes nothing.

    Story: Valkey takes everything behind a length that is too large for a torn end. With its default it loaded what
    stood before it, cut the rest off, and started as if nothing was: the control below."""
    path = newest_log(data)
    text = path.read_bytes()
    at = text.rindex(b"$3\r\n", 0, int(len(text) * part))
    damaged = text[:at] + b"$9999999\r\n" + text[at + 4 :]
    path.write_bytes(damaged)
    with pytest.raises(StoreUnavailable, match=r"is damaged: .*at byte [\d,]+ of .*Restore a backup.*truncate -s"):
        names(data)
    assert path.read_bytes() == damaged


def test_the_servers_own_way_drops_what_was_acknowledged(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the refusal: with ``aof-load-truncated yes`` the damaged log loads, short, without a word."""
    path = newest_log(data)
    text = path.read_bytes()
    at = text.rindex(b"$3\r\n", 0, len(text) // 2)
    path.write_bytes(text[:at] + b"$9999999\r\n" + text[at + 4 :])
    launch = subprocess.Popen

    def careless(words: list[str], **rest: Any) -> "subprocess.Popen[bytes]":
        words[words.index("--aof-load-truncated") + 1] = "yes"
        return launch(words, **rest)

    monkeypatch.setattr(subprocess, "Popen", careless)
    found, _ = names(data)
    assert 0 < len(found) < EVENTS * 2


@pytest.mark.parametrize("garbage", [b"\0" * 64, b"x" * 64])
def test_a_hole_is_refused(data: Path, garbage: bytes) -> None:
    """Bytes that are no record, in the middle: the server ends, and its own words are repeated."""
    path = newest_log(data)
    text = path.read_bytes()
    middle = text.index(b"*", len(text) // 2)
    path.write_bytes(text[:middle] + garbage + text[middle + len(garbage) :])
    with pytest.raises(StoreUnavailable, match="Bad file format"):
        names(data)
    assert len(path.read_bytes()) == len(text)
