"""Backup and restore: a copy of a store at work, put elsewhere, has all that was acknowledged before it began."""

import contextlib
import hashlib
import json
import re
import shutil
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import redis

from adapters.enviaai import ADAPTER as ENVIAAI
from gateway.errors import BackupRefused
from gateway.intake.spool_file import SpoolFile, new_row
from gateway.intake.spool_folder import held_by
from gateway.store import backup
from gateway.store.embedded import socket_path
from gateway.store.log import Batch
from tests.cli.running import SECRET, SOURCE, WHSEC, Running, gateway, run, run_process

TOML = """
[store]
url = "embedded:./data"
spool = ""
[sources.br]
adapter = "enviaai"
secrets = ["env:S"]
"""


class Load:
    """Requests one after the other, as fast as they are answered; knows what was acknowledged."""

    def __init__(self, at: Running) -> None:
        self.acknowledged: list[str] = []
        self._at = at
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        with httpx.Client(base_url=self._at.url, trust_env=False) as client:
            seed = 0
            while not self._ended.is_set():
                seed += 1
                body = ENVIAAI.sample("message.read__documented", seed)
                answer = client.post("/in/br", content=body, headers=ENVIAAI.sign(body, SOURCE, 0))
                assert answer.status_code == 200
                self.acknowledged.append(answer.json()["events"][0]["id"])

    def reaches(self, number: int) -> None:
        """Wait until so many are acknowledged."""
        deadline_s = time.monotonic() + 20
        while len(self.acknowledged) < number:
            assert time.monotonic() < deadline_s
            time.sleep(0.005)

    @contextmanager
    def under_way(self) -> Iterator["Load"]:
        """While the block runs."""
        self._thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            self._thread.join(20)


def folder(at: Path) -> Path:
    """A folder with a configuration."""
    at.mkdir()
    (at / "gateway.toml").write_text(TOML)
    (at / ".env").write_text(f"S={SECRET}\nW={WHSEC}\n")
    (at / ".env").chmod(0o600)
    return at


def test_a_backup_under_load_holds_all_that_was_acknowledged_before(tmp_path: Path) -> None:
    """Five backups while events come in and the log is rewritten; the first and the last, restored, pass the audit."""
    with gateway(folder(tmp_path / "one"), TOML) as at:
        made = at.gateway(
            *("subscribers", "create", "crm", "http://127.0.0.1:9/", "--set", 'allow_networks=["127.0.0.0/8"]'),
            "--json",
        )
        secret = made.objects[0]["secret"]
        before = []
        with Load(at).under_way() as load, redis.Redis(unix_socket_path=str(socket_path(at.folder / "data"))) as store:
            for number in range(5):
                load.reaches(len(load.acknowledged) + 40)
                with contextlib.suppress(redis.ResponseError):  # one is under way already
                    store.bgrewriteaof()
                before.append(list(load.acknowledged))
                done = run("backup", str(tmp_path / f"b{number}"), "--json", cwd=at.folder)
                assert done.code == 0, done.err
                (found,) = done.objects
                assert "appendonlydir/appendonly.aof.manifest" in found["files"]
    for number in (0, 4):
        acknowledged = before[number]
        target, copy = folder(tmp_path / f"r{number}"), str(tmp_path / f"b{number}")
        assert not any(stat.S_IMODE(each.stat().st_mode) & 0o077 for each in Path(copy).rglob("*")), "for us alone"
        assert run("restore", copy, "--yes", cwd=target).code == 0
        with gateway(target, TOML) as again:
            audit = again.gateway("audit", "--json")
            assert audit.code == 0, audit.err
            assert audit.objects[0]["unaccounted"] == 0
            logged = {each["id"] for each in again.gateway("events", "--limit", "1000000", "--json").objects}
            assert len(acknowledged) > 0
            assert not set(acknowledged) - logged, "an acknowledged event is not in the backup"
            if number == 4:  # the secret that was made came along: what is delivered is signed as before
                assert secret in next((target / "data" / "secrets").iterdir()).read_text()
                item = again.gateway("subscribers", "show", "crm", "--json").objects[0]
                assert item["mistakes"] == []


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of a gateway that had one event."""
    base = tmp_path_factory.mktemp("backup")
    with gateway(folder(base / "one"), TOML) as at:
        at.send("message.read__documented", 1)
        done = run("backup", str(base / "copy"), cwd=at.folder)
        assert done.code == 0, done.err
        assert f"not in it: {at.folder}/gateway.toml and its .env" in done.out
        again = run("backup", str(base / "copy"), cwd=at.folder)
        assert (again.code, "is there already" in again.err) == (1, True)
        inside = run("restore", str(base / "copy"), "--yes", cwd=at.folder)
        assert (inside.code, "a gateway runs on" in inside.err) == (1, True)
    return base / "copy"


@pytest.mark.parametrize("damage", ["a byte", "cut", "missing", "contents", "outside"])
def test_a_damaged_backup_is_refused_and_nothing_is_written(tmp_path: Path, made: Path, damage: str) -> None:
    """Whatever is wrong with a file is seen before the first is put into its place."""
    copy = shutil.copytree(made, tmp_path / "copy")
    target = folder(tmp_path / "new")
    victim = next(iter((copy / "appendonlydir").glob("*.incr.aof")))
    content = bytearray(victim.read_bytes())
    if damage == "a byte":
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
    elif damage == "cut":
        victim.write_bytes(content[:-1])
    elif damage == "missing":
        victim.unlink()
    elif damage == "contents":
        (copy / "backup.json").write_text("{")
    else:
        contents = json.loads((copy / "backup.json").read_text())
        contents["files"][0]["path"] = "../elsewhere"
        (copy / "backup.json").write_text(json.dumps(contents))
    done = run("restore", str(copy), "--yes", cwd=target)
    assert (done.code, "is damaged" in done.err) == (1, True), done.err
    assert not (target / "data").exists()
    assert run("restore", str(made), "--yes", cwd=target).code == 0, "positive control: the whole one is taken"


def test_a_restore_shows_first_and_wants_an_empty_directory(tmp_path: Path, made: Path) -> None:
    """A dry run writes nothing, without a yes nothing is written, and what is there is never mixed with what comes."""
    target = folder(tmp_path / "new")
    for more in (["--dry-run"], []):
        done = run("restore", str(made), *more, cwd=target)
        assert done.code == (0 if more else 1)
        assert "appendonlydir/appendonly.aof.manifest" in done.out
        assert not (target / "data").exists()
    assert run("restore", str(made), "--yes", cwd=target).code == 0
    again = run("restore", str(made), "--yes", cwd=target)
    assert (again.code, "is not empty" in again.err) == (1, True)
    nothing = run("restore", str(tmp_path / "nothing"), "--dry-run", cwd=target)
    assert (nothing.code, "is no backup" in nothing.err) == (1, True)


def test_a_restore_that_was_killed_is_no_store_and_can_be_repeated(tmp_path: Path, made: Path) -> None:
    """What lies half-way is refused by the store itself; the same restore again makes it whole."""
    target = folder(tmp_path / "new")
    stage = target / "data" / backup.STAGE
    stage.mkdir(parents=True)
    (stage / "appendonlydir").mkdir()
    (target / "data" / "admin_token").write_text("half-way-but-long-enough")
    refused = run("serve", "--listen", "127.0.0.1:0", cwd=target)
    assert (refused.code, "was not finished" in refused.err) == (4, True), refused.err
    assert run("restore", str(made), "--yes", cwd=target).code == 0
    with gateway(target, TOML) as at:
        assert at.gateway("audit").code == 0
        assert len(at.gateway("events", "--json").objects) == 1


@pytest.mark.parametrize("more", [[], ["--workers", "2"]])
def test_nothing_begins_beside_a_half_way_restore(tmp_path: Path, made: Path, more: list[str]) -> None:
    """A spool that is there in part is neither drained nor called damaged, nor does it take webhooks: the start is
    refused, and the same restore again makes all of it whole."""
    copy = shutil.copytree(made, tmp_path / "copy")
    batch = Batch([], [("br", "ignored", 1)], [], [])
    (copy / "spool").mkdir()
    file = SpoolFile.create(copy / "spool" / "1.spool")
    file.append([new_row(0, "c", 1, batch, 0)])
    file.close()
    whole = (copy / "spool" / "1.spool").read_bytes()
    contents = json.loads((copy / "backup.json").read_text())
    row = {"path": "spool/1.spool", "bytes": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}
    (copy / "backup.json").write_text(json.dumps({**contents, "files": [*contents["files"], row]}))
    target = folder(tmp_path / "new")
    toml = TOML.replace('spool = ""', 'spool = "./spool"')
    (target / "gateway.toml").write_text(toml)
    (target / "data" / backup.STAGE).mkdir(parents=True)
    (target / "spool").mkdir()
    (target / "spool" / "1.spool").write_bytes(whole[: len(whole) // 2])
    refused = run_process("serve", "--listen", "127.0.0.1:0", *more, cwd=target)
    assert (refused.code, "was not finished" in refused.err) == (4, True), refused.err
    assert [each.name for each in (target / "spool").iterdir()] == ["1.spool"]
    again = run("restore", str(copy), "--yes", cwd=target)
    assert again.code == 0, again.err
    with gateway(target, toml) as at:
        assert at.gateway("audit").code == 0
        assert at.ledger()["requests"]["ignored"] == 1, "the spool was drained"


def test_a_store_elsewhere_is_told_its_own_way(tmp_path: Path, made: Path) -> None:
    """Both verbs refuse, and name what to do instead."""
    (folder(tmp_path / "new") / "gateway.toml").write_text(TOML.replace("embedded:./data", "redis://127.0.0.1:1/0"))
    for words in (["backup", "there"], ["restore", str(made), "--yes"]):
        done = run(*words, cwd=tmp_path / "new")
        assert (done.code, "BGSAVE" in done.err) == (3, True)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("/proc/x", "/proc/x cannot be made ("),
        ("data/x", "lies in the data directory"),
        ("data", "lies in the data directory"),
        ("spool/x", "lies in the spool"),
        ("link/x", "lies in the spool"),
        ("gateway.toml/x", "x cannot be made ("),
    ],
)
def test_a_backup_goes_where_it_can_be_kept_and_is_in_nobody_s_way(tmp_path: Path, target: str, words: str) -> None:
    """Not where nothing can be written, nor inside what a restore must find empty; each is told in a sentence."""
    data, spool = tmp_path / "data", tmp_path / "spool"
    (data / backup.LOG_FOLDER).mkdir(parents=True)
    (data / backup.LOG_FOLDER / backup.MANIFEST).touch()
    spool.mkdir()
    (tmp_path / "link").symlink_to(spool)
    (tmp_path / "gateway.toml").touch()

    def make(target: Path) -> None:
        backup.make_backup(
            *(data, spool, target), made_at="", version="1", config=Path("gateway.toml"), progress=lambda _: None
        )

    with pytest.raises(BackupRefused, match=re.escape(words)):
        make(tmp_path / target)
    assert not list(spool.iterdir())
    make(tmp_path / "data.bak")  # the control: a neighbour, whose name only begins in the same way


def test_files_of_two_manifests_are_never_mixed(tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that is rewritten while its files are opened is looked at again; one that never rests is refused."""
    data = tmp_path / "data"
    shutil.copytree(made / "appendonlydir", data / "appendonlydir")
    manifest = data / "appendonlydir" / backup.MANIFEST
    real, looks = Path.open, [0]

    def rewriting(path: Path, *given: object, **more: object) -> object:
        if path.name.endswith(".incr.aof") and looks[0] < limit:
            looks[0] += 1
            manifest.write_bytes(manifest.read_bytes() + b"\n")
        return real(path, *given, **more)  # type: ignore[call-overload]  # passed on as it came

    monkeypatch.setattr(Path, "open", rewriting)

    def make(name: str) -> None:
        backup.make_backup(
            data, None, tmp_path / name, made_at="", version="", config=Path("c"), progress=lambda _: None
        )

    limit = 3
    make("rests")
    assert looks[0] == 3
    limit = 1_000_000
    with pytest.raises(BackupRefused, match="changes all the time"):
        make("never")
    assert not list(tmp_path.glob("*never*")), "nothing is left of it"


def test_the_spool_is_copied_while_it_is_written(tmp_path: Path, made: Path) -> None:
    """What a process holds open is copied as SQLite copies it, damaged files as they are; it goes into the spool again,
    and never into one that has something else."""
    data, spool, copy = tmp_path / "data", tmp_path / "spool", tmp_path / "copy"
    shutil.copytree(made / "appendonlydir", data / "appendonlydir")
    spool.mkdir()
    (spool / "old.unreadable").write_bytes(b"damaged")
    with contextlib.closing(sqlite3.connect(spool / "1.spool")) as writer:
        writer.execute("PRAGMA journal_mode = wal")
        writer.execute("PRAGMA user_version = 7")
        writer.execute("CREATE TABLE batches (id INTEGER)")
        writer.executemany("INSERT INTO batches VALUES (?)", [(number,) for number in range(1_000)])
        writer.commit()
        assert (spool / "1.spool-wal").stat().st_size > 0, "positive control: the file alone would not do"
        contents = backup.make_backup(
            data, spool, copy, made_at="", version="", config=Path("c"), progress=lambda _: None
        )
    assert {"spool/1.spool", "spool/old.unreadable"} < {each.path for each in contents.files}
    with pytest.raises(BackupRefused, match="the configuration has none"):
        backup.restore_backup(copy, tmp_path / "new", None, lambda _: None)
    other = tmp_path / "other"
    other.mkdir()
    (other / "2.spool").touch()
    with pytest.raises(BackupRefused, match="would be mixed"):
        backup.restore_backup(copy, tmp_path / "new", other, lambda _: None)
    backup.restore_backup(copy, tmp_path / "new", tmp_path / "again", lambda _: None)
    with contextlib.closing(sqlite3.connect(tmp_path / "again" / "1.spool")) as read:
        assert read.execute("SELECT COUNT(*) FROM batches").fetchone() == (1_000,)
        assert read.execute("PRAGMA user_version").fetchone() == (7,)
    assert (tmp_path / "again" / "old.unreadable").read_bytes() == b"damaged"


def test_a_spool_s_path_may_have_any_name(tmp_path: Path) -> None:
    """SQLite is told it as a URI, in which some characters mean something else."""
    spool, stage = tmp_path / "a?b%20c#d", tmp_path / "stage"
    spool.mkdir()
    (stage / "spool").mkdir(parents=True)
    file = SpoolFile.create(spool / "1.spool")
    file.append([new_row(0, "c", 1, Batch([], [("br", "ignored", 1)], [], []), 0)])
    assert [each.path for each in backup._copy_spool(spool, stage)] == ["spool/1.spool"]
    assert held_by(stage / "spool" / "1.spool") == file.held()
    file.close()
