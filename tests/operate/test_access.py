"""Tokens, login links and sessions, without HTTP."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.config import Token, hash_token
from gateway.errors import ConfigError
from gateway.operate.access import (
    LOGIN_TTL_S,
    MAX_SESSIONS,
    SESSION_TTL_S,
    Access,
    Identity,
    admin_token,
    all_tokens,
    may,
)


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def make(clock: Clock | None = None) -> Access:
    """An access with one token of each role."""
    return Access(
        [
            Token(name="grafana", role="read", secret_sha256=hash_token("reading")),
            Token(name="ops", role="operate", secret_sha256=hash_token("operating")),
        ],
        monotonic=clock or Clock(),
        secure_cookie=False,
    )


def test_a_token_is_known_by_its_secret_alone() -> None:
    """The secret gives name and role; a prefix, an empty text and other characters give nothing."""
    access = make()
    assert access.by_token("operating") == Identity(name="ops", role="operate")
    assert access.by_token("reading") == Identity(name="grafana", role="read")
    for wrong in ("", "operatin", "operating ", "öperating", "\udcff", hash_token("operating").hex()):
        assert access.by_token(wrong) is None


def test_operate_may_what_read_may_and_not_the_reverse() -> None:
    """The roles are ordered."""
    access = make()
    reader, operator = access.by_token("reading"), access.by_token("operating")
    assert reader is not None
    assert operator is not None
    assert [may(reader, "read"), may(reader, "operate"), may(operator, "read"), may(operator, "operate")] == [
        True, False, True, True,
    ]  # fmt: skip


def test_a_login_link_opens_one_session_however_often_it_is_looked_at() -> None:
    """Looking does not use it up; using it does."""
    access = make()
    nonce = access.new_login("http://127.0.0.1:8080/").removeprefix("http://127.0.0.1:8080/login/")
    assert len(nonce) >= 43
    assert all(access.is_login(nonce) for _ in range(3))
    secret = access.use_login(nonce)
    assert secret is not None
    identity = access.by_session(secret)
    assert identity is not None
    assert identity.role == "operate"
    assert not access.is_login(nonce)
    assert access.use_login(nonce) is None


def test_a_login_link_ends_after_fifteen_minutes() -> None:
    """Just before it is good, at the time it is not."""
    clock = Clock()
    access = make(clock)
    first, second = (access.new_login("http://h").rpartition("/")[2] for _ in range(2))
    clock.now_s += LOGIN_TTL_S - 1
    assert access.use_login(first) is not None
    clock.now_s += 1
    assert not access.is_login(second)
    assert access.use_login(second) is None


def test_a_session_ends_by_time_and_by_logging_out() -> None:
    """After twelve hours, or when closed, its secret means nobody."""
    clock = Clock()
    access = make(clock)
    kept, closed = (access.open_session(Identity(name="ops", role="read")) for _ in range(2))
    access.close_session(closed)
    assert access.by_session(closed) is None
    clock.now_s += SESSION_TTL_S - 1
    assert access.by_session(kept) is not None
    clock.now_s += 1
    assert access.by_session(kept) is None


def test_sessions_are_bounded_and_the_oldest_makes_room() -> None:
    """More logins than fit do not grow memory."""
    clock = Clock()
    access = make(clock)
    secrets = []
    for _ in range(MAX_SESSIONS + 1):
        clock.now_s += 1
        secrets.append(access.open_session(Identity(name="ops", role="operate")))
    assert access.by_session(secrets[0]) is None
    assert access.by_session(secrets[1]) is not None
    assert access.by_session(secrets[-1]) is not None


def test_the_admin_token_is_written_once_for_its_owner_alone(tmp_path: Path) -> None:
    """The file has mode 0600, is read again as it is, and holds what the token's hash is of."""
    path = tmp_path / "data" / "admin_token"
    token = admin_token(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secret = path.read_text().strip()
    assert token.secret_sha256 == hash_token(secret)
    assert token.role == "operate"
    assert len(secret) >= 43
    assert admin_token(path) == token
    assert [each.name for each in path.parent.iterdir()] == ["admin_token"]


def test_an_admin_token_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    """A file somebody wrote with a wide mode gets the narrow one."""
    path = tmp_path / "admin_token"
    path.write_text("a-token-somebody-wrote-himself\n")
    path.chmod(0o644)
    assert admin_token(path).secret_sha256 == hash_token("a-token-somebody-wrote-himself")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_admin_token_that_is_none_is_a_mistake_to_mend(tmp_path: Path) -> None:
    """An empty file would let everybody in who sends an empty token; a link or a folder is no file of ours."""
    path = tmp_path / "admin_token"
    path.write_text("\n")
    with pytest.raises(ConfigError, match="delete the file"):
        admin_token(path)
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(ConfigError, match="cannot be kept there"):
        admin_token(link)
    with pytest.raises(ConfigError, match="cannot be kept there"):
        admin_token(path / "admin_token")


def test_without_a_place_for_the_file_the_configured_tokens_do(tmp_path: Path) -> None:
    """A container with a store elsewhere may have no directory to write to. Whoever can operate there needs no file;
    a gateway nobody could operate does not start.

    Story: with redis:// and /config mounted read-only, as the Dockerfile says, the gateway refused to start."""
    path = tmp_path / "file" / "admin_token"
    path.parent.write_text("not a directory")
    read = Token(name="look", role="read", secret_sha256=b"r")
    operate = Token(name="ops", role="operate", secret_sha256=b"o")
    assert all_tokens([read, operate], path) == (read, operate)
    for configured in ([], [read]):
        with pytest.raises(ConfigError, match="cannot be kept there"):
            all_tokens(configured, path)
    path.parent.unlink()
    assert [token.name for token in all_tokens([read], path)] == ["look", "admin_token"]


def test_all_who_start_at_once_get_the_same_admin_token(tmp_path: Path) -> None:
    """Whoever loses the race reads the winner's token, never a half-written one."""
    path = tmp_path / "admin_token"
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(lambda _: admin_token(path), range(32)))
    assert len({token.secret_sha256 for token in tokens}) == 1
