"""The power cut, short: the shim loses what was not fsynced and nothing else; the gateway loses nothing acknowledged.

The long run takes some minutes: ``python -m tests.power --cuts 200 --rate 1000 --seed 1``.
"""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import redis

from gateway.config import StoreSettings
from gateway.store.embedded import EmbeddedStore, socket_path
from tests.crashes.verdict import judge
from tests.power.disk import Cut, build, cut, environment, kill_all
from tests.power.run import run

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the shim is for Linux"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="cc is not installed (Debian: build-essential)"),
]

WRITES = 400


class Disk:
    """A watched disk, and the environment of those who run on it."""

    def __init__(self, folder: Path, shim: Path) -> None:
        self.disk, self.undo = folder / "disk", folder / "undo"
        self.disk.mkdir()
        self.env: Mapping[str, str] = environment(shim, self.disk, self.undo)

    def run(self, *lines: str) -> str:
        """Run Python statements on it: what they print. The process is dead when this returns, as after SIGKILL."""
        text = "\n".join(("import os", f"os.chdir({str(self.disk)!r})", *lines, "os.kill(os.getpid(), 9)"))
        done = subprocess.run(
            [sys.executable, "-c", text], env={**os.environ, **self.env}, check=False, capture_output=True, text=True
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        return done.stdout

    def cut(self, chance: random.Random | None = None) -> Cut:
        """The power goes."""
        return cut(self.disk, self.undo, chance)

    def files(self) -> dict[str, bytes]:
        """What is on it."""
        return {str(each.relative_to(self.disk)): each.read_bytes() for each in self.disk.rglob("*") if each.is_file()}


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled shim."""
    return build(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def disk(shim: Path) -> Iterator[Disk]:
    """An empty disk under a short path, as sockets want it; nobody runs on it any more at the end."""
    with tempfile.TemporaryDirectory(prefix="gateway-disk-") as folder:
        made = Disk(Path(folder), shim)
        yield made
        kill_all(made.undo)


SYNC = "d = os.open('.', os.O_RDONLY); os.fsync(d)"


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        (("f = open('a', 'wb'); f.write(b'one'); f.flush()",), {}),
        (("f = open('a', 'wb'); f.write(b'one'); f.flush(); os.fsync(f.fileno())",), {}),
        (("f = open('a', 'wb'); f.write(b'one'); f.flush()", SYNC), {"a": b""}),
        (("f = open('a', 'wb'); f.write(b'one'); f.flush(); os.fsync(f.fileno())", SYNC), {"a": b"one"}),
        (("os.rename('old', 'new')",), {"old": b"was here"}),
        (("os.rename('old', 'new')", SYNC), {"new": b"was here"}),
        (("open('t', 'w').write('x')", SYNC, "os.rename('t', 'old')"), {"old": b"was here", "t": b""}),
        (("os.unlink('old')",), {"old": b"was here"}),
        (("os.unlink('old')", SYNC), {}),
        (("open('old', 'wb').write(b'other')",), {"old": b"was here"}),
        (("os.truncate('old', 3)",), {"old": b"was"}),  # by name: not looked at
        (("os.ftruncate(os.open('old', os.O_RDWR), 3)",), {"old": b"was here"}),
        (("f = os.open('old', os.O_RDWR); os.pwrite(f, b'is', 0); os.fdatasync(f)",), {"old": b"iss here"}),
        (("f = os.open('old', os.O_RDWR); os.pwrite(f, b'is', 0); os.pwrite(f, b'!', 99)",), {"old": b"was here"}),
        (("os.mkdir('d')", "f = open('d/x', 'w'); f.write('x'); f.flush(); os.fsync(f.fileno())"), {}),
        (("f = os.open('old', os.O_RDWR | os.O_APPEND); os.writev(f, [b' and', b' gone'])",), {"old": b"was here"}),
    ],
)
def test_what_is_not_synced_is_lost(disk: Disk, lines: tuple[str, ...], left: dict[str, bytes]) -> None:
    """Bytes last once their file is synced, names once their folder is; all else is as it was before."""
    (disk.disk / "old").write_bytes(b"was here")
    disk.run(*lines)
    disk.cut()
    expected = dict(left)
    if not any("old" in line for line in lines):
        expected["old"] = b"was here"
    assert disk.files() == expected


def test_a_part_of_what_is_not_synced_may_stay(disk: Disk) -> None:
    """By chance the first of the changes are on disk, and a piece of the next: never another order, never what was
    not written, never less than was synced."""
    text = [f"f.write(b'{number:03d}'); f.flush()" for number in range(20)]
    whole = "".join(f"{number:03d}" for number in range(20)).encode()
    lengths = set()
    for seed in range(12):
        (disk.disk / "a").unlink(missing_ok=True)
        disk.run("f = open('a', 'wb')", SYNC, text[0], "os.fsync(f.fileno())", *text[1:])
        disk.cut(random.Random(seed))
        found = disk.files()["a"]
        assert whole.startswith(found)
        lengths.add(len(found))
    assert min(lengths) == 3
    assert len(lengths) > 3
    assert any(length % 3 for length in lengths), "one write is torn"


def served(disk: Disk, monkeypatch: pytest.MonkeyPatch, fsync: str, *, write: int) -> int:
    """Start the embedded store on the disk, count its keys, add some; then it is killed at once."""
    for name, value in disk.env.items():
        monkeypatch.setenv(name, value)

    async def use() -> int:
        store = EmbeddedStore(StoreSettings(url=f"embedded:{disk.disk / 'data'}"))
        await store.start()
        try:
            with redis.Redis(unix_socket_path=str(socket_path(store.directory))) as client:
                client.config_set("appendfsync", fsync)
                found = int(client.dbsize())
                for number in range(write):
                    client.set(f"key-{number}", "acknowledged")
                assert store.child is not None
                store.child.kill()  # first: until all processes are found, ``everysec`` may have synced
            return found
        finally:
            kill_all(disk.undo)
            await store.stop()

    try:
        return asyncio.run(use())
    finally:
        monkeypatch.undo()


@pytest.mark.parametrize(("fsync", "whole"), [("always", True), ("everysec", False)])
def test_a_store_that_fsyncs_always_keeps_all(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, fsync: str, whole: bool
) -> None:
    """Everything acknowledged under our own setting is there after a power cut, on a directory that was new.

    The control: under ``everysec`` some of it is not; a cut just after the second is up takes nothing, so it has more
    than one try."""
    for _ in range(1 if whole else 5):
        assert served(disk, monkeypatch, fsync, write=WRITES) == 0
        disk.cut()
        found = served(disk, monkeypatch, "always", write=0)
        if (found == WRITES) is whole:
            return
        for folder in (disk.disk / "data", disk.undo):
            shutil.rmtree(folder)
        disk.undo.mkdir()
    pytest.fail(f"{found} of {WRITES} were there")


@pytest.mark.parametrize(
    ("make", "left"),
    [("lasting_folder(p)", {"new/data/file": b"x"}), ("p.mkdir(parents=True)", {})],  # the second is the control
)
def test_a_new_data_directory_outlives_a_power_cut(disk: Disk, make: str, left: dict[str, bytes]) -> None:
    """The names of our folders are synced when they are made.

    Story: the first power cut after the first start took the whole data directory, with 1 326 acknowledged events: each
    file in it was fsynced, the names of ``data`` and ``appendonlydir`` were not."""
    disk.run(
        f"import sys; sys.path[:0] = {sys.path!r}",
        "from pathlib import Path; from gateway.store.embedded import lasting_folder",
        f"p = Path('new/data'); {make}",
        "f = open(p / 'file', 'wb'); f.write(b'x'); f.flush(); os.fsync(f.fileno())",
        "os.fsync(os.open(p, os.O_RDONLY))",
    )
    disk.cut()
    assert disk.files() == left


@pytest.mark.long
@pytest.mark.timeout(600)  # a bound for hopeless runs
def test_nothing_acknowledged_is_lost_in_a_power_cut() -> None:
    """A cut under load: everything answered 200 is in the log once and was delivered, and the account adds up."""
    found = run(cuts=1, rate=200, seed=5, fsync="always", say=lambda _: None)
    wrong = [line for line in judge(found.done.facts) if line.wrong]
    assert wrong == [], found.done.log[-2_000:]
    assert found.done.facts.kills_s
