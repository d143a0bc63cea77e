"""A spool that was filled with another number of partitions: every event comes where its key leads now, once."""

import asyncio
import json
import shutil
from pathlib import Path

import msgspec
import pytest

from gateway.intake import draining, repeating
from gateway.intake.parting import parts_of
from gateway.intake.spool_file import SpoolFile, new_row
from gateway.store.layout import partition_of
from gateway.store.ledger import make_ledger, read_account
from gateway.store.log import Batch, NewEvent
from gateway.store.spooled import Tallies, encode_tally, lines_of, tally_of
from tests.intake.drained import processes
from tests.intake.served import Served, eventually, serving
from tests.store.partition import NOW_MS, Partition, event, kept
from tests.support.stores import StoreServer

SOURCE = "many"
ADAPTER = Path(__file__).parent / "adapters_for_tests.py"
EVENTS = [event(f"{number}", source=SOURCE, key=f"chat_{number % 5}" if number % 3 else None) for number in range(40)]


def key_of(item: NewEvent) -> str | None:
    """The event's ordering key."""
    key: str | None = msgspec.json.decode(item.event_json)["ordering_key"]
    return key


def fill(path: Path, partitions: int, *, is_known: bool = True) -> None:
    """A file of a process that has ended, which had so many partitions: requests of one or of two events."""
    file = SpoolFile.create(path, partitions if is_known else 0)
    numbers = [0] * partitions
    for at in range(0, len(EVENTS), 2):
        places: dict[int, list[NewEvent]] = {}
        for each in EVENTS[at : at + 2]:
            places.setdefault(partition_of(SOURCE, key_of(each), each.id, partitions), []).append(each)
        for order, (number, events) in enumerate(places.items()):
            numbers[number] += 1
            counts = [(SOURCE, "accepted", 1)] if order == 0 else []
            file.append([new_row(number, f"c{number}", numbers[number], Batch(events, counts, [], []), at)])
    quarantined = Batch([], [(SOURCE, "quarantined", 1)], [kept(b"?")], [])
    file.append([new_row(partitions - 1, "q", 1, quarantined, 99)])
    file.close()


def story(folder: Path, store: StoreServer, partitions: int) -> list[list[str]]:
    """Start a gateway on what waits there, let it drain, and see that the account adds up: the ids in each log."""
    config = f"""
    [store]
    url = "{store.url}"
    partitions = {partitions}
    [sources.{SOURCE}]
    adapter = "{ADAPTER}"
    unauthenticated = true
    """
    with serving(folder, config, {}) as gateway:
        eventually(lambda: is_drained(gateway))
        ledger = gateway.ledger()
        assert (ledger.requests.accepted, ledger.requests.quarantined) == (len(EVENTS) // 2, 1)
        assert (ledger.events.logged, ledger.events.duplicate, ledger.events.spooled) == (len(EVENTS), 0, 0)
        assert ledger.unaccounted == 0
        logs = [gateway.run(log.read(0, 1_000)) for log in gateway.gateway.logs]
        return [[json.loads(entry.event_json)["id"] for entry in found] for found in logs]


def is_drained(gateway: Served) -> bool:
    """Whether nothing waits any more, and the old file is gone."""
    spool = gateway.gateway.spool
    assert spool is not None
    return not spool.diverts and not (spool.folder / "old.spool").exists()


@pytest.mark.parametrize(("before", "now", "is_known"), [(1, 4, True), (4, 1, True), (4, 3, False)])
def test_the_spool_of_another_number_of_partitions_is_drained(
    tmp_path: Path, valkey: StoreServer, before: int, now: int, is_known: bool
) -> None:
    """To more, to one, to fewer, also where the file does not say how many there were: each event is where its key
    leads, each key in order, each request counted once; the same file once more, as after a crash before its rows were
    removed, changes nothing."""
    spool = tmp_path / "spool"
    spool.mkdir()
    fill(spool / "old.spool", before, is_known=is_known)
    shutil.copy(spool / "old.spool", tmp_path / "again")
    logs = story(tmp_path, valkey, now)
    for each in EVENTS:
        assert each.id in logs[partition_of(SOURCE, key_of(each), each.id, now)]
    for key in {key_of(each) for each in EVENTS} - {None}:
        wanted = [each.id for each in EVENTS if key_of(each) == key]
        assert [each for log in logs for each in log if each in wanted] == wanted
    shutil.copy(tmp_path / "again", spool / "old.spool")
    assert story(tmp_path, valkey, now) == logs


def test_without_it_events_stay_where_their_key_does_not_lead(
    tmp_path: Path, valkey: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the above: what comes later for the same key would be in another partition."""
    monkeypatch.setattr(repeating, "parts_of", lambda *_: None)
    (tmp_path / "spool").mkdir()
    fill(tmp_path / "spool" / "old.spool", 1)
    assert [len(log) for log in story(tmp_path, valkey, 4)] == [len(EVENTS), 0, 0, 0]


def test_a_batch_that_is_where_it_belongs_stays_whole() -> None:
    """With the number it was made for, nothing is taken apart; what is, is all there, once."""
    assert parts_of(0, Batch(EVENTS, [], [], []), 1) is None
    place = partition_of(SOURCE, "chat_1", "", 4)
    of_key = [each for each in EVENTS if key_of(each) == "chat_1"]
    assert parts_of(place, Batch(of_key, [(SOURCE, "accepted", 1)], [], []), 4) is None
    parts = parts_of(0, Batch(EVENTS, [(SOURCE, "accepted", 20)], [kept(b"?")], [kept(b"!")]), 4)
    assert parts is not None
    assert sorted(each.id for part in parts.values() for each in part.events) == sorted(each.id for each in EVENTS)
    assert [(len(part.counts), len(part.quarantined), len(part.rejected)) for part in parts.values()] == [
        *[(0, 0, 0)] * (len(parts) - 1),
        (1, 1, 1),
    ]


def test_a_batch_in_parts_is_spooled_until_the_last_of_them_is_in(valkey: StoreServer) -> None:
    """Then no term of the account has it twice, also while its row is still there; nor does the doubt it carries."""

    async def check() -> None:
        async with valkey.store() as store:
            there = [Partition(store, f"{number}-0") for number in range(3)]
            # The row lay in the last of four, and is counted in the last of three.
            await there[2].log.repeat("c", [(6, Batch([], [(SOURCE, "rejected", 7)], [], []))])
            counts, doubtful = [(SOURCE, "accepted", 20)], [(SOURCE, "rejected", 7)]
            batch = Batch(EVENTS, counts, [], [], doubtful, 6)
            parts = parts_of(3, batch, 3)
            assert parts is not None
            [row] = lines_of([(3, "c", 7, encode_tally(tally_of(batch)))], Tallies())
            for number, part in parts.items():
                assert (await read_account(store, there[2].keys, (), [row])).sources[SOURCE].events.spooled == 40
                assert await there[number].log.repeat("c", [(7, part)]) == (1, None)
            accounts = [await read_account(store, each.keys, (), [row] if each is there[2] else []) for each in there]
            ledger = make_ledger(accounts, NOW_MS)
            assert (ledger.events.produced, ledger.events.logged, ledger.events.spooled) == (40, 40, 0)
            assert (ledger.requests.accepted, ledger.requests.rejected, ledger.unaccounted) == (20, 7, 0)

    asyncio.run(check())


@pytest.mark.parametrize("made_for", [1, 0])
def test_no_event_is_looked_at_where_the_number_of_partitions_is_the_same(
    tmp_path: Path, valkey: StoreServer, monkeypatch: pytest.MonkeyPatch, made_for: int
) -> None:
    """The file says for how many it was made, also after it was made small; where it does not, each batch is."""
    looked_at: list[int] = []
    monkeypatch.setattr(repeating, "parts_of", lambda partition, *_: looked_at.append(partition))
    file = SpoolFile.create(tmp_path / "old.spool", made_for)
    file.shrink()
    file.append([new_row(0, "c", 1, Batch(EVENTS, [], [], []), 0)])
    file.close()

    async def check() -> None:
        async with processes(valkey, tmp_path, 1) as ((one,), partition):
            await one.put("a")
            await one.drain()
            assert len(await partition.names()) == len(EVENTS) + 1
            assert looked_at == [0] * (made_for == 0)

    asyncio.run(check())


def test_what_waits_for_a_partition_that_is_gone_is_in_the_account(
    tmp_path: Path, valkey: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is drained, it is spooled as everything else that waits."""

    async def never(_drainer: draining.Drainer) -> bool:
        return False

    monkeypatch.setattr(draining.Drainer, "_drain_some", never)
    (tmp_path / "spool").mkdir()
    fill(tmp_path / "spool" / "old.spool", 4)
    config = f'[store]\nurl = "{valkey.url}"\n[sources.{SOURCE}]\nadapter = "{ADAPTER}"\nunauthenticated = true\n'
    with serving(tmp_path, config, {}) as gateway:
        ledger = gateway.ledger_of_desk()
        assert (ledger.events.produced, ledger.events.spooled, ledger.unaccounted) == (len(EVENTS), len(EVENTS), 0)
        assert ledger.requests.received == len(EVENTS) // 2 + 1
