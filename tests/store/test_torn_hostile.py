"""The end of the store's log where senders wrote protocol into what is kept as it came: still torn, or still damaged.

Story: the marker that ends a transaction was looked for in the bytes behind a torn write. Anybody can send it, without
any proof, in a body that is kept among the rejected: a power cut in that very write, and the store waited for a person.
"""

import asyncio
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hiredis
import pytest

from gateway.config import StoreSettings
from gateway.delivery.outcome import answered
from gateway.delivery.parcel import Delivery
from gateway.delivery.records import dead_change
from gateway.delivery.schedule import Dead
from gateway.store.connection import Store
from gateway.store.embedded import EmbeddedStore, server_binary
from gateway.store.firsts import First, pack
from gateway.store.log import Entry
from gateway.store.parked import Parked
from gateway.store.torn import cut_torn_end, is_torn, newest_log
from tests.store.partition import NOW_MS, Partition, event, kept

EXEC = b"*1\r\n$4\r\nEXEC\r\n"
WORDS = b"*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n"
HOSTILE = [EXEC, b'{"text": "\r\n' + EXEC + WORDS + EXEC + b'"}', b"x\r\n$1\r\ny\r\n" + EXEC, b"*3\r\n$1\r\n" + WORDS]


@pytest.fixture(scope="module")
def log() -> Iterator[bytes]:
    """The log of a store that was sent each hostile body, to each of the places where one is kept as it came."""
    with tempfile.TemporaryDirectory(prefix="gateway-torn-") as folder:

        async def fill() -> bytes:
            embedded = EmbeddedStore(StoreSettings(url=f"embedded:{folder}"))
            await embedded.start()
            try:
                store = Store(embedded.settings, embedded.url)
                partition = Partition(store)
                for number, body in enumerate(HOSTILE):
                    await partition.commit(event(f"{number}"), rejected=(kept(body), kept(b"plain")))
                    await partition.commit(event(f"{number}-b"), quarantined=(kept(body),))
                crm = await partition.subscriber("crm")
                for seq, body in enumerate(HOSTILE, 1):
                    outcome = answered(500, None, body, 0.1, NOW_MS)
                    delivery = Delivery(Entry(seq, b"{}", b"{}"), f"evt_{seq}", "message.received", "")
                    await crm.settle(
                        None, dead_change("dead", "crm", delivery, Parked(attempt=0), outcome, Dead("x"), NOW_MS)
                    )
                # Numbers as they happen to be, of which two side by side are CRLF.
                await crm.settle(1, delivered=1, firsts=[First(1, NOW_MS, 13, 210)])
                await store.close()
                return newest_log(Path(folder)).read_bytes()
            finally:
                await embedded.stop()

        yield asyncio.run(fill())


def transactions(text: bytes) -> list[tuple[int, int]]:
    """Where each transaction begins and ends, as another reader of the protocol sees it."""
    reader, found, begins = hiredis.Reader(), [], 0
    for at in range(len(text)):
        reader.feed(text[at : at + 1])
        if (command := reader.gets()) is False:
            continue
        if command == [b"MULTI"]:
            begins = at + 1 - len(EXEC) - 1
        elif command == [b"EXEC"]:
            found.append((begins, at + 1))
    return found


def test_wherever_a_transaction_breaks_off_it_is_torn(log: bytes) -> None:
    """At every byte of every transaction, whatever protocol stands in what senders wrote."""
    assert b"\r\n" in pack([First(1, NOW_MS, 13, 210)])
    assert pack([First(1, NOW_MS, 13, 210)]) in log
    misled = 0
    for begins, ends in transactions(log):
        for cut in range(begins, ends):
            assert is_torn(log[:cut], begins), log[begins:cut]
            misled += EXEC in log[begins:cut]
        assert not is_torn(log[:ends], begins), "a whole one is no beginning"
    assert misled > 3 * len(HOSTILE), "positive control: the marker alone would have misled"


def test_no_damaged_length_passes_for_a_torn_end(log: bytes) -> None:
    """Each number of each line of the transactions made larger, and each made to run past the end: what follows was
    acknowledged, and is never cut off."""
    tried = 0
    for begins, ends in transactions(log):
        for line in re.finditer(rb"[*$]([0-9]+)\r\n", log[begins:ends]):
            at = begins + line.start(1)
            if _is_free(log, begins, at):
                continue  # the senders' own, no line of the log
            number = line[1]
            for wrong in (b"9" + number, number + b"0", b"%d" % (int(number) + 1), b"%d" % (int(number) + 2)):
                for follows in (len(log), ends):  # as the last transaction of the log too
                    damaged = log[:at] + wrong + log[at + len(number) : follows]
                    assert not is_torn(damaged, begins), (log[begins:ends], at - begins, wrong)
                    tried += 1
    assert tried > 1_000


def _is_free(log: bytes, begins: int, at: int) -> bool:
    """Whether a place lies in one of the bodies."""
    return any(start <= at < start + len(body) for body in HOSTILE for start in _places(log, begins, body))


def _places(log: bytes, begins: int, body: bytes) -> list[int]:
    found = []
    for announced in (b"$1\r\nb\r\n$%d\r\n%b\r\n" % (len(body), body), b"}\n%b\r\n" % body):
        at = log.find(announced, begins)
        if at >= 0:
            found.append(at + len(announced) - len(body) - 2)
    return found


def test_a_record_that_does_not_state_its_length_is_left_to_a_person(log: bytes) -> None:
    """Of an earlier version, with the marker in its body: it may be a damaged one, and nothing is guessed."""
    (begins, _), *_ = (each for each in transactions(log) if HOSTILE[1] in log[each[0] : each[1]])
    old = re.sub(
        rb"\$([0-9]+)\r\n(\{[^\r]*),\"body_bytes\":[0-9]+\}",
        lambda found: b"$%d\r\n%b}" % (len(found[2]) + 1, found[2]),
        log[begins:],
        count=1,
    )
    breaks_off = old.index(HOSTILE[1]) + HOSTILE[1].index(EXEC)
    assert is_torn(old[:breaks_off], 0)
    assert not is_torn(old[: breaks_off + len(EXEC)], 0)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_store_s_own_checker_leads_to_the_same_place(log: bytes, place: int, tmp_path: Path) -> None:
    """With the real checker, at the end of a body of each kind: exactly the broken transaction is cut off."""
    body = HOSTILE[1]
    begins = [begins for begins, ends in transactions(log) if body in log[begins:ends]][place]
    breaks_off = log.index(body, begins) + len(body) - place
    folder = tmp_path / "appendonlydir"
    folder.mkdir()
    (folder / "appendonly.aof.manifest").write_text("file a.incr.aof seq 1 type i\n")
    (folder / "a.incr.aof").write_bytes(log[:breaks_off])
    assert cut_torn_end(tmp_path, server_binary()) == breaks_off - begins
    assert (folder / "a.incr.aof").read_bytes() == log[:begins]
