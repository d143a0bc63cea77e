"""A disk that is full, and freed again: nothing acknowledged is lost, nothing unwritten is acknowledged."""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.config import StoreSettings
from gateway.errors import StoreUnavailable
from gateway.intake import committer as committer_module
from gateway.store.connection import Store
from gateway.store.embedded import EmbeddedStore
from gateway.store.opening import open_store
from tests.intake.served import SECRET, Served, eventually, fresh, serving, signed
from tests.store.partition import Partition, event
from tests.support.disks import small_disk

DISK_BYTES = 24 * 1024 * 1024
"""Too small for the ballast, which is made only where there is plenty."""
BACK_S = 5.0
PAD_BYTES = 40_000


@pytest.fixture
def disk() -> Iterator[Path]:
    """A file system of its own, in memory, that is full soon."""
    with tempfile.TemporaryDirectory(prefix="gateway-full-") as folder, ExitStack() as stack:
        try:
            made = stack.enter_context(small_disk(Path(folder), DISK_BYTES))
        except OSError as error:
            pytest.skip(f"mount: a tmpfs needs Linux and the right to mount it ({error})")
        yield made.folder


def test_a_full_disk_refuses_and_a_freed_one_goes_on(disk: Path) -> None:
    """Commits are refused while there is no room, each acknowledged one is there, and within five seconds of the
    space being free the store takes the next by itself."""

    async def check() -> None:
        hog = disk / "hog"
        embedded = EmbeddedStore(StoreSettings(url=f"embedded:{disk / 'data'}"))
        await embedded.start()
        store = Store(embedded.settings, embedded.url)
        partition = Partition(store)
        try:
            acknowledged = []

            async def commit(number: int) -> bool:
                try:
                    await partition.commit(event(f"{number}", pad_bytes=PAD_BYTES))
                except StoreUnavailable:
                    return False
                acknowledged.append(f"{number}")
                return True

            for number in range(20):
                assert await commit(number)
            fill(hog)
            refused = 0
            for number in range(100, 160):
                refused += not await commit(number)
                await asyncio.sleep(0.01)
            assert refused > 20, "the disk was full"
            hog.unlink()
            loop = asyncio.get_running_loop()
            freed_s, number = loop.time(), 1_000
            while not await commit(number):
                assert loop.time() - freed_s < BACK_S
                number += 1
                await asyncio.sleep(0.02)
            await open_store(store, [partition.keys], patience_s=BACK_S)
            names = await partition.names()
            assert set(acknowledged) <= set(names)
            assert len(names) == len(set(names))
            assert (await partition.ledger()).unaccounted == 0
            # Nothing of this was only in memory: a server that starts anew has the same.
            assert embedded.child is not None
            embedded.child.kill()
            await open_store(store, [partition.keys], patience_s=BACK_S)
            assert await partition.names() == names
        finally:
            await store.close()
            await embedded.stop()

    asyncio.run(check())


def fill(path: Path) -> None:
    """Take all the space there is."""
    with path.open("wb", buffering=0) as file:
        for piece in (1 << 16, 1):
            try:
                while True:
                    file.write(b"x" * piece)
            except OSError:
                continue


CONFIG = """
[store]
url = "embedded:{data}"
spool = "{spool}"
[sources.br]
adapter = "enviaai"
secrets = ["env:SECRET"]
"""


@pytest.mark.parametrize("spool", ["", "./spool"])
def test_a_gateway_on_a_full_disk_acknowledges_nothing_it_cannot_keep(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spool: str
) -> None:
    """As long as the store has no room: 503, or 200 from a spool on another disk. Within five seconds of the space
    being free the store takes events again; every event answered 200 is in the log once."""
    monkeypatch.setattr(committer_module, "GIVE_UP_S", 0.2)
    acknowledged: dict[str, str] = {}

    def send(gateway: Served) -> str:
        body = fresh()
        answer = gateway.post("/in/br", body, signed(body))
        if answer.status != 200:
            assert answer.problem() == "unavailable"
            return "503"
        (event,) = answer.json["events"]
        acknowledged[event["id"]] = event["status"]
        return str(event["status"])

    instead = "spooled" if spool else "503"
    with serving(tmp_path, CONFIG.format(data=disk / "data", spool=spool), {"SECRET": SECRET.decode()}) as gateway:
        assert [send(gateway) for _ in range(20)] == ["logged"] * 20
        hog = disk / "hog"
        fill(hog)
        eventually(lambda: send(gateway) == instead)
        assert {send(gateway) for _ in range(5)} == {instead}
        hog.unlink()
        freed_s = time.monotonic()
        eventually(lambda: send(gateway) == "logged")
        assert time.monotonic() - freed_s < BACK_S
        names = gateway.names()
    assert len(acknowledged) > 20
    assert set(acknowledged) <= set(names)
    assert len(names) == len(set(names))
